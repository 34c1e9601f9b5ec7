"""What a report is made of, checked once."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.fhir.codes import ReportStatus
from adapters.fhir.errors import ReportError
from adapters.fhir.subjects import Subject
from adapters.fhir.wording import ENGLISH, Wording
from pipelines.identity import StudyDescription
from pipelines.results import Coding, StudyResult


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which revision of which report about which study, and when it was made. `issued` carries an offset.

    `report_id` is the same for every revision of a study and pipeline; revisions count from 1.
    """

    report_id: UUID
    revision: int
    issued: datetime
    study: StudyDescription

    def __post_init__(self) -> None:
        if self.revision < 1:
            raise ReportError(f"revision {self.revision}: revisions count from 1")
        if self.issued.utcoffset() is None:
            raise ReportError("the time of issue has no offset from UTC; give one")


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A picture of what spoke for one finding on one image: a PNG of `rows` by `columns` pixels that names nobody."""

    label: str
    coding: Coding
    rows: int
    columns: int
    png: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """All that a report is made of.

    `status` is PARTIAL or PRELIMINARY, as the destination wants it until a person signs off. `previous` is the document
    made last for this report and this destination, delivered or not; its findings and heatmaps that the new one lacks
    are marked as entered in error.
    """

    stamp: Stamp
    status: ReportStatus
    result: StudyResult
    subject: Subject
    previous: bytes | None = field(default=None, repr=False)
    heatmaps: tuple[Heatmap, ...] = ()
    wording: Wording = ENGLISH

    def __post_init__(self) -> None:
        if self.status not in (ReportStatus.PARTIAL, ReportStatus.PRELIMINARY):
            raise ReportError("a report's status is partial or preliminary until a person signs off")
