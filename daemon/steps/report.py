"""Step 3, for one destination: match the patient there, make the document, seal it into the outbox.

The only step that learns who the patient is; the vault audits that (DESIGN §2.4). A patient that does not match without
doubt is never guessed: the delivery is held for a person.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from adapters.fhir import Dead, Held, ReportError, ReportRequest, ReportStatus, Retry, Stamp, build_report
from daemon.audit import AuditEvent, Id, Kind, Name
from daemon.queue import Task
from daemon.settings import ReportDestination
from daemon.steps.heatmaps import open_heatmaps
from daemon.steps.outbox import (
    ENGINE,
    DeliveryStep,
    delivery_with_result,
    held,
    prepared,
    previous_document,
    wants_document,
)
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import IdentityContradiction, Purpose, open_column, seal_column
from pipelines.results import StudyResult

KIND: Final = "report"


class Report(DeliveryStep):
    """Delivery: pending → prepared or held; the revision follows (`outbox.settle`)."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make the document for one destination."""
        node = context.node
        delivery_id = str(task.payload["delivery"])
        with node.database.read() as connection:
            row = delivery_with_result(connection, delivery_id)
            previous = previous_document(connection, row)
        if not wants_document(row, row.revision_state):
            return nothing
        destination = context.destinations.get(row.destination)
        if destination is None:
            raise GiveUp("no destination of reports has this name in the settings any more")
        settings = node.settings.destination(row.destination)
        assert isinstance(settings, ReportDestination)
        entry = node.keys.patient(row.patient_id)
        try:
            identity, study = node.vault.reidentify(row.revision_id, Purpose.REPORT, ENGINE)
        except IdentityContradiction as error:
            return held(context, row, str(error))
        match = destination.match_patient(identity)
        if isinstance(match, Retry):
            reason = f"matching the patient: {match.reason}"
            raise TryAgain(reason, seconds_until(match.not_before), maximum_attempts=settings.maximum_attempts)
        if isinstance(match, Dead):
            raise GiveUp(f"matching the patient: {match.reason}")
        if isinstance(match, Held):
            return held(context, row, match.reason)
        result = StudyResult.from_json(open_column(entry, "result", row.result_id, row.sealed_result))
        request = ReportRequest(
            stamp=Stamp(UUID(row.report_id), row.number, datetime.now(UTC).replace(microsecond=0), study),
            status=ReportStatus(settings.status),
            result=result,
            subject=match,
            heatmaps=open_heatmaps(node, result) if settings.heatmaps else (),
            previous=open_column(entry, "delivery", previous.id, previous.sealed_document) if previous else None,
        )
        try:
            document = build_report(request)
        except ReportError as error:
            return held(context, row, str(error))
        made = AuditEvent(
            Kind.REPORTED, actor=ENGINE, details={"delivery": Id(row.id), "destination": Name(row.destination)}
        )
        return prepared(context, row, row.priority, seal_column(entry, "delivery", delivery_id, document), made)


def seconds_until(moment: datetime | None) -> float | None:
    """How long a destination asked us to wait, if it did."""
    return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())
