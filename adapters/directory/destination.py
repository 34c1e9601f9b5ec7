"""Writes reports into a folder so that a name stands for a whole file, and finds and removes them again.

Files are named for the report's id alone, which is random: never for the patient. The page is in place before the JSON,
so the JSON's presence tells that both are there. A later revision is never replaced by an earlier one. A folder that
had reports is never made anew: its disk may not be mounted, and what were written now would be hidden once it is.
"""

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from adapters.directory.html import render
from adapters.durable_files import fsync_directory, make_directory, overwrite_and_remove, write_synced
from adapters.fhir import (
    Delivered,
    DeliveryOutcome,
    DocumentError,
    EmbeddedPatient,
    ReportMarker,
    Retry,
    Superseded,
)
from pipelines.identity import PatientIdentity

_OURS = re.compile(r"\.?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:json|html)(?:\.partial)?", re.ASCII)
_MARK: Final = ".kopru"  # an empty file: the folder is the one that reports are written to
_NOT_THERE: Final = Retry(
    "the folder is not there or is empty, and reports were written to it before: is its disk mounted? If it is to begin"
    f" anew, make the file {_MARK} in it",
    settled=True,
)


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report in the folder; `document` is the FHIR JSON, `page` the HTML. Either can be missing after a crash."""

    report_id: UUID
    document: Path
    page: Path


class DirectoryDestination:
    """A folder that reports are written to. `patient_systems` is as for a FHIR server; an issuer may be missing there.

    `has_reports`: some were delivered to it before, so it must be there; else the first delivery makes it. The caller
    sees to it that no two deliveries of one report run at once (DESIGN §2.6).
    """

    def __init__(self, path: Path, patient_systems: Mapping[str, str], *, has_reports: bool = False) -> None:
        self.path = path
        self._systems = patient_systems
        self._has_reports = has_reports

    def match_patient(self, identity: PatientIdentity) -> EmbeddedPatient:
        """The patient as the PACS told it: there is nobody here to match with, and nobody to mistake."""
        return EmbeddedPatient(identity, self._systems.get(identity.issuer))

    def deliver(self, document: bytes) -> DeliveryOutcome:
        """Write a document of `build_report` and its page. Raises `DocumentError` for other bytes."""
        marker = ReportMarker.of_document(document)
        stored = self._stored(marker.report_id)
        try:
            if not self._is_there():
                return _NOT_THERE
            there = _marker_of(stored.document)
            if there == marker:
                return Delivered(already=True)
            if there and there.revision > marker.revision:
                return Superseded(there.revision)
            _replace(stored.page, render(document).encode())
            _replace(stored.document, document)
            fsync_directory(self.path)
            self._has_reports = True
        except OSError as error:
            return Retry(f"the folder cannot be written ({errno.errorcode.get(error.errno or 0, 'unknown error')})")
        return Delivered()

    def reports(self) -> tuple[StoredReport, ...]:
        """All reports in the folder, in the order of their ids; also what a crash left half written."""
        if not self.path.is_dir():
            return ()
        ids = {UUID(found[1]) for file in self.path.iterdir() if (found := _OURS.fullmatch(file.name))}
        return tuple(self._stored(report_id) for report_id in sorted(ids))

    def clear(self, report_ids: Iterable[UUID]) -> None:
        """Overwrite and remove these reports, durably; one that is not there is fine. Raises `OSError`.

        What is left of the bytes on a copying file system or a flash disk is beyond a program's reach.
        """
        if not self.path.is_dir():
            return
        for report_id in report_ids:
            stored = self._stored(report_id)
            for file in (stored.document, stored.page):
                overwrite_and_remove(file)
                overwrite_and_remove(_partial(file))

    def _is_there(self) -> bool:
        """Whether it is the folder of before; one that never had a report is made."""
        if not self._has_reports:
            make_directory(self.path)
            (self.path / _MARK).touch(0o600)
            fsync_directory(self.path)
        return (self.path / _MARK).exists() or bool(self.reports())

    def _stored(self, report_id: UUID) -> StoredReport:
        return StoredReport(report_id, self.path / f"{report_id}.json", self.path / f"{report_id}.html")


def _marker_of(file: Path) -> ReportMarker | None:
    """The marker of what lies there; None for nothing, and for what is no report and may be replaced."""
    try:
        return ReportMarker.of_document(file.read_bytes())
    except (FileNotFoundError, DocumentError):
        return None


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


def _replace(file: Path, content: bytes) -> None:
    """Give the file this content under its name at once; durable when the folder is fsynced."""
    partial = _partial(file)
    partial.unlink(missing_ok=True)  # left by a crash
    write_synced(partial, [content])
    partial.replace(file)
