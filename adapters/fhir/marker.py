"""What tells one report from another at a destination: which report, which revision of it, and exactly which content.

The marker travels inside the DiagnosticReport as its identifiers, so that looking at the server answers whether a
document is there (DESIGN §2.6). Its digest goes nowhere that the document does not go: never into a log or a database
column.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from adapters.fhir.codes import REVISION_SYSTEM, URI_SYSTEM
from adapters.fhir.errors import DocumentError

_REVISION_VALUE = re.compile(r"r([1-9][0-9]{0,8})-([0-9a-f]{64})", re.ASCII)


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class ReportMarker:
    """`report_id` stays the same for all revisions; `digest` is the SHA-256 (hex) of the Bundle without this marker."""

    report_id: UUID
    revision: int
    digest: str = field(repr=False)

    @property
    def identifiers(self) -> list[dict[str, Any]]:
        """DiagnosticReport.identifier: the report's own first, then revision and content."""
        return [
            report_identifier(self.report_id),
            {"use": "secondary", "system": REVISION_SYSTEM, "value": f"r{self.revision}-{self.digest}"},
        ]

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> "ReportMarker | None":
        """The marker in a DiagnosticReport as a server returns it; None where it has none of ours."""
        report_id = _report_id(report)
        for value in _values(report, REVISION_SYSTEM):
            if report_id and (found := _REVISION_VALUE.fullmatch(value)):
                return cls(report_id, int(found[1]), found[2])
        return None

    @classmethod
    def of_document(cls, document: bytes) -> "ReportMarker":
        """The marker of a Bundle that `build_report` made. Raises `DocumentError` for anything else."""
        reports = [r for r in resources_of(document) if r["resourceType"] == "DiagnosticReport"]
        marker = cls.of_report(reports[0]) if len(reports) == 1 else None
        if marker is None:
            raise DocumentError("a stored document is not a report with a marker; make the report anew")
        return marker


def report_identifier(report_id: UUID) -> dict[str, Any]:
    """The Identifier of a report, the same in every revision."""
    return {"use": "official", "system": URI_SYSTEM, "value": report_id.urn}


def digest_of(bundle: Mapping[str, Any]) -> str:
    """The digest for a Bundle that has no marker yet."""
    return hashlib.sha256(canonical_json(bundle)).hexdigest()


def resources_of(document: bytes) -> list[dict[str, Any]]:
    """The resources of a stored transaction Bundle, in its order. Raises `DocumentError`."""
    try:
        bundle = json.loads(document)
        found = [entry["resource"] for entry in bundle["entry"]]
        types = [resource["resourceType"] for resource in found]
    except (ValueError, TypeError, KeyError, RecursionError):
        types = []
    if not types or bundle.get("type") != "transaction":
        raise DocumentError("a stored document is not a FHIR transaction Bundle; make the report anew")
    return found


def _values(resource: Mapping[str, Any], system: str) -> list[str]:
    identifiers = resource.get("identifier")
    if not isinstance(identifiers, list):
        return []
    return [i["value"] for i in identifiers if isinstance(i, dict) and i.get("system") == system and _is_text(i)]


def _is_text(identifier: Mapping[str, Any]) -> bool:
    return isinstance(identifier.get("value"), str)


def _report_id(report: Mapping[str, Any]) -> UUID | None:
    for value in _values(report, URI_SYSTEM):
        if value.startswith("urn:uuid:"):
            try:
                return UUID(value)
            except ValueError:
                continue
    return None
