"""The protocol of delivering a report: look, write, check; and when in doubt, look again (DESIGN §2.6).

Before each write the server is asked what it has of this report. So a repeated delivery changes nothing even at a
server that makes a new version of everything it is sent, an answer that got lost is not followed by a second write,
an old revision never replaces a newer one, and a report that a person has signed is never touched.
"""

import json
from collections.abc import Mapping
from typing import Any

from adapters.fhir.codes import ReportStatus
from adapters.fhir.exchanges import Answer, Flow, NoAnswer, Search, Transaction
from adapters.fhir.marker import ReportMarker, report_identifier
from adapters.fhir.operation_outcome import element_names, scrubbed
from adapters.fhir.retry import failure, is_success, is_transient
from adapters.fhir.searchset import matches
from adapters.outcomes import Dead, Delivered, DeliveryOutcome, Held, Retry, Superseded

_OURS = frozenset(status.value for status in ReportStatus) | {"registered"}


def delivery_flow(document: bytes) -> Flow[DeliveryOutcome]:
    """Deliver a document of `build_report`; ends with how it went. Raises `DocumentError` for other bytes."""
    marker = ReportMarker.of_document(document)
    names = element_names(document)
    settled = yield from _look(marker, names)
    if settled is not None:
        return settled
    reply = yield Transaction(document)
    failed = failure(reply, names)
    if isinstance(reply, Answer) and failed is None:
        failed = _failure_within(reply, _entries(document), names)
    if failed is None:
        assert isinstance(reply, Answer)
        return Delivered(reply.status)
    if _may_have_been_written(reply, failed):
        settled = yield from _look(marker, names)
        return settled if isinstance(settled, Delivered) else failed
    return failed


def _look(marker: ReportMarker, names: frozenset[str]) -> Flow[DeliveryOutcome | None]:
    """What the server has of this report; None where the document is to be written."""
    identifier = report_identifier(marker.report_id)
    token = f"{identifier['system']}|{identifier['value']}"
    reply = yield Search("DiagnosticReport", {"identifier": token})
    if failed := failure(reply, names):
        return failed
    assert isinstance(reply, Answer)
    found = matches(reply, "DiagnosticReport", identifier["system"], identifier["value"])
    if found is None:
        return Retry("the server answered a search with something else than a searchset", reply.status)
    if len(found) > 1:
        return Held("the server has several reports with this report's identifier; leave one of them")
    return _compared(found[0], marker) if found else None


def _compared(report: Mapping[str, Any], marker: ReportMarker) -> DeliveryOutcome | None:
    there = ReportMarker.of_report(report)
    if there == marker:
        return Delivered(already=True)
    if there and there.revision > marker.revision:
        return Superseded(there.revision)
    if report.get("status") not in _OURS:
        return Held("the report was signed or changed by a person at the destination; it is not overwritten")
    return None


def _may_have_been_written(reply: Answer | NoAnswer, failed: Retry | Dead) -> bool:
    """Whether looking can turn a failure into a success: the answer is missing, or says nothing certain."""
    if isinstance(reply, NoAnswer):
        return reply.may_have_arrived
    return isinstance(failed, Retry) and (is_success(reply.status) or reply.status >= 500)


def _entries(document: bytes) -> int:
    return len(json.loads(document)["entry"])


def _failure_within(answer: Answer, expected: int, names: frozenset[str]) -> Retry | Dead | None:
    """The failure inside an answer that says yes: some servers answer 200 to a transaction of which entries failed."""
    body = answer.body or {}
    entries = body.get("entry")
    if body.get("resourceType") != "Bundle" or not isinstance(entries, list) or len(entries) != expected:
        return Retry("the server answered yes, but not with a response for each entry", answer.status)
    responses = [entry.get("response") if isinstance(entry, Mapping) else None for entry in entries]
    statuses = [_status(response) for response in responses]
    failed = [status for status in statuses if status is None or not is_success(status)]
    if not failed:
        return None
    if all(status is None or is_transient(status) for status in failed):
        return Retry(f"{len(failed)} of {expected} entries were not written", answer.status)
    outcomes = [response.get("outcome") for response in responses if isinstance(response, Mapping)]
    return Dead(f"{len(failed)} of {expected} entries were refused", answer.status, scrubbed(outcomes, names))


def _status(response: Any) -> int | None:
    """The number at the start of Bundle.entry.response.status, such as "201 Created" (FHIR R4 2.36.5)."""
    text = response.get("status") if isinstance(response, Mapping) else None
    digits = text[:3] if isinstance(text, str) else ""
    return int(digits) if len(digits) == 3 and digits.isascii() and digits.isdigit() else None
