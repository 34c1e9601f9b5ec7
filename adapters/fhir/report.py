"""Makes the report of a study: a FHIR R4 transaction Bundle, as the bytes that are stored in the outbox and sent.

Pure: the same request gives the same bytes. It never makes a report final, never names an image by its pseudonymous
UID, and leaves no finding of an earlier revision standing that the new one does not have. FHIR R4 (4.0.1):
conditional create and update (3.1.0.8.1, 3.1.0.4.3), transaction (3.1.0.11).
"""

import json
from datetime import datetime
from typing import Final
from urllib.parse import quote

from adapters.fhir import codes
from adapters.fhir.datatypes import Resource
from adapters.fhir.errors import ReportError
from adapters.fhir.findings import study_findings
from adapters.fhir.marker import ReportMarker, canonical_json, digest_of, resources_of
from adapters.fhir.request import ReportRequest, Stamp
from adapters.fhir.resources import (
    device,
    diagnostic_report,
    full_url,
    measures_of,
    observation,
    own_identifier,
    pictures,
    provenance,
    provenance_tag,
    withdrawn_media,
    withdrawn_observation,
    withdrawn_report,
)
from adapters.fhir.wording import ENGLISH, Wording
from pipelines.identity import StudyDescription
from pipelines.results import Coding

_WITHDRAWALS: Final = {"Observation": withdrawn_observation, "Media": withdrawn_media}


def build_report(request: ReportRequest) -> bytes:
    """The transaction Bundle, canonical JSON. Raises `ReportError`, or `DocumentError` for a damaged `previous`.

    Entries: the Device (created unless the server has it), Observations, Media and the DiagnosticReport (updated or
    created by identifier), the Provenance (one a revision). The DiagnosticReport is the last to be written, so that
    on a server that does not keep the transaction whole its presence still tells that all else is there.
    """
    words, findings = request.wording, study_findings(request.result)
    algorithm = device(request.result.model, words)
    observations = []
    for finding in findings:
        measures = measures_of(request, finding, algorithm)
        observations += [observation(request, finding, algorithm, measures), *measures]
    media = pictures(request, algorithm)
    reported = {own_identifier(resource) for resource in observations + media}
    earlier = resources_of(request.previous) if request.previous else []
    gone = [resource for resource in _said(earlier) if own_identifier(resource) not in reported]
    report = diagnostic_report(request, findings, observations, media)
    activity = codes.CREATE if request.stamp.revision == 1 else codes.UPDATE
    said = [*observations, *media, *_withdrawn(gone, words)]
    return _document(request.stamp, algorithm, said, report, activity)


def build_withdrawal(
    previous: bytes, revision: int, issued: datetime, study: StudyDescription, words: Wording = ENGLISH
) -> bytes:
    """A document that takes back `previous` and all it says, as `revision`: for a study that went to the wrong patient.

    The subject stays who it was. Raises `ReportError`, `DocumentError`.
    """
    stamp = Stamp(ReportMarker.of_document(previous).report_id, revision, issued, study)
    before = resources_of(previous)
    algorithm = next(resource for resource in before if resource["resourceType"] == "Device")
    report = next(resource for resource in before if resource["resourceType"] == "DiagnosticReport")
    said = _withdrawn(_said(before), words)
    return _document(stamp, algorithm, said, withdrawn_report(report, stamp, words), codes.NULLIFY)


def _said(resources: list[Resource]) -> list[Resource]:
    """What says something about the patient beside the report itself."""
    return [resource for resource in resources if resource["resourceType"] in _WITHDRAWALS]


def _withdrawn(resources: list[Resource], words: Wording) -> list[Resource]:
    return [_WITHDRAWALS[resource["resourceType"]](resource, words) for resource in resources]


def _document(stamp: Stamp, algorithm: Resource, said: list[Resource], report: Resource, activity: Coding) -> bytes:
    """Put the entries together, validate them as R4B classes, and add the marker."""
    from fhir.resources.R4B.bundle import Bundle  # here, since of all processes only the one that reports needs it

    trace = provenance(stamp, algorithm, [report, *said], activity)
    entries = [
        _entry(algorithm, "POST", "Device", ifNoneExist=f"identifier={_token(own_identifier(algorithm))}"),
        *(_entry(r, "PUT", f"{r['resourceType']}?identifier={_token(own_identifier(r))}") for r in said),
        _entry(trace, "POST", "Provenance", ifNoneExist=f"_tag={_token(provenance_tag(trace)['code'])}"),
        _entry(report, "PUT", f"DiagnosticReport?identifier={_token(own_identifier(report))}"),
    ]
    unmarked = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    try:
        bundle = json.loads(Bundle.model_validate(unmarked).model_dump_json())
    except ValueError:
        # Pydantic's message quotes the values, which the reader of an error may not see.
        raise ReportError("the report makes no valid FHIR; look for an empty text in the model package") from None
    marker = ReportMarker(stamp.report_id, stamp.revision, digest_of(bundle))
    bundle["entry"][-1]["resource"]["identifier"] = marker.identifiers
    return canonical_json(bundle)


def _entry(resource: Resource, method: str, url: str, **conditions: str) -> Resource:
    request = {"method": method, "url": url, **conditions}
    return {"fullUrl": full_url(resource), "resource": resource, "request": request}


def _token(value: str) -> str:
    """system|value for a search in a URL; both are URIs that we made, so nothing needs FHIR's own escapes."""
    return quote(f"{codes.URI_SYSTEM}|{value}", safe=":")
