"""Fictitious patients, studies and results that the FHIR tests share."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adapters.fhir import Heatmap, MatchedPatient, ReportRequest, ReportStatus, Stamp, Subject, build_report
from pipelines.identity import PatientIdentity, StudyDescription
from pipelines.results import Coding, Finding, InstanceOutcome, ModelIdentity, StudyResult

ISSUER = "KENT-HASTANESI"
SYSTEM = "http://hastane.example/hasta-no"
REPORT_ID = UUID("0f8d4c9a-6f0e-4a53-9a4e-0a4b7b1f2c3d")
ISSUED = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)

AYSE = PatientIdentity("70013377", ISSUER, "ÖRNEKOĞLU^AYŞEGÜL", "19710203", "F")
STUDY = StudyDescription("1.2.826.0.1.3680043.8.498.1", "ACC-4711", "2026-03-01T11:58:07+03:00", "AKCİĞER PA")
MATCHED = MatchedPatient("Patient/ayse", SYSTEM, AYSE.patient_id)
PLANTED = ("70013377", "ÖRNEKOĞLU", "AYŞEGÜL", "19710203", "1971-02-03", "ACC-4711", "1.2.826.0.1.3680043.8.498.1")

MODEL = ModelIdentity(
    "chest-xray", "1.0.0", "c0ffee" * 10 + "beef", "Triage of frontal chest radiographs", True, "CC-BY"
)
PNEUMONIA = Coding("http://snomed.info/sct", "233604007", "Pneumonia")
NORMAL = Coding("http://snomed.info/sct", "17621005", "Normal")
COVID = Coding("http://snomed.info/sct", "840539006", "COVID-19")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""One pixel."""
HEATMAP = Heatmap("Pneumonia", PNEUMONIA, 1, 1, PNG)


def finding(coding: Coding, probability: float, threshold: float = 0.5) -> Finding:
    return Finding(coding.display, coding, probability, threshold)


def image(*findings: Finding, number: int = 1) -> InstanceOutcome:
    return InstanceOutcome(f"2.25.{number}", findings, None, "ab" * 32)


def unusable(reason: str, number: int = 9) -> InstanceOutcome:
    return InstanceOutcome(f"2.25.{number}", (), reason)


def result(*outcomes: InstanceOutcome, forced: bool = False, model: ModelIdentity = MODEL) -> StudyResult:
    outcomes = outcomes or (image(finding(NORMAL, 0.08), finding(PNEUMONIA, 0.87), finding(COVID, 0.05)),)
    return StudyResult("chest-xray", model, outcomes, len(outcomes), forced)


def request(
    study_result: StudyResult | None = None,
    *,
    revision: int = 1,
    subject: Subject = MATCHED,
    previous: bytes | None = None,
    report_id: UUID = REPORT_ID,
    study: StudyDescription = STUDY,
    status: ReportStatus = ReportStatus.PARTIAL,
    heatmaps: tuple[Heatmap, ...] = (),
) -> ReportRequest:
    stamp = Stamp(report_id, revision, ISSUED, study)
    return ReportRequest(stamp, status, study_result or result(), subject, previous, heatmaps)


def resources(document: bytes, kind: str) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in json.loads(document)["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def the_report(document: bytes) -> dict[str, Any]:
    (report,) = resources(document, "DiagnosticReport")
    return report


def document(**changes: Any) -> bytes:
    return build_report(request(**changes))


def patient(identity: PatientIdentity = AYSE, **changes: Any) -> dict[str, Any]:
    """The Patient at the server that `identity` is."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": SYSTEM, "value": identity.patient_id}],
        "name": [{"family": "Örnekoğlu", "given": ["Ayşegül"]}],
        "birthDate": "1971-02-03",
        **changes,
    }
