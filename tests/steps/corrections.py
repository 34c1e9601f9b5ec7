"""Patients of whom one is another's correction, and what stands about them at a destination."""

import copy
import json
from typing import Any

import pytest
from pydicom import Dataset

from adapters.directory import DirectoryDestination
from tests.steps.installation import Installation
from tests.system.radiographs import MadeUpPatient

A, B, C = MadeUpPatient(1), MadeUpPatient(2), MadeUpPatient(3)
WITH_ANY_DATABASE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what turns on no lock and no transaction."""
TAKEN_BACK = {A.family: "entered-in-error", B.family: "partial"}
"""The reports, once the study is B's that was A's."""


def of(patient: MadeUpPatient, sent: Dataset) -> Dataset:
    """The same instance, as a PACS sends it after its patient was corrected."""
    made = copy.deepcopy(sent)
    made.PatientID, made.PatientName = patient.patient_id, f"{patient.family}^{patient.given}"
    made.PatientBirthDate = patient.birth_date
    return made


def reports(installation: Installation, destination: str = "reports") -> dict[str, str]:
    """By the patient's family name: the status of the report that lies at a destination."""
    folder = installation.destinations[destination].real
    assert isinstance(folder, DirectoryDestination)
    found = {}
    for stored in folder.reports():
        entries = [entry["resource"] for entry in json.loads(stored.document.read_bytes())["entry"]]
        (report,) = (entry for entry in entries if entry["resourceType"] == "DiagnosticReport")
        found[report["contained"][0]["name"][0]["family"]] = report["status"]
    return found


def keys_of(installation: Installation) -> dict[str, Any]:
    """The patients' entries in the key store, by the pseudonym."""
    return {entry.pseudonym: entry for entry in installation.node.keys.patients()}


def settle(installation: Installation) -> None:
    """Let the indexer look once more, and do what is to be done."""
    for _ in range(3):
        installation.indexer.pass_once()
        installation.work()
        installation.hurry()
