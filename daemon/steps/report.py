"""Step 3, for one destination: match the patient there, make the document, seal it into the outbox.

The only step that learns who the patient is; the vault audits that (DESIGN §2.4). A patient that does not match without
doubt is never guessed: the delivery is held for a person.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from adapters.fhir import Dead, Held, ReportError, ReportRequest, ReportStatus, Retry, Stamp, build_report
from daemon import queue
from daemon.audit import AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.states import DeliveryState, RevisionState
from daemon.steps.outbox import settle
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import IdentityContradiction, Purpose, open_column, seal_column
from pipelines.results import StudyResult

KIND: Final = "report"
ENGINE: Final = "engine"
_WITHOUT_DOCUMENT: Final = (DeliveryState.PENDING, DeliveryState.DEAD)  # dead: a person has let the task run again
_MAY_BE_REPORTED: Final = (
    RevisionState.INFERRED,
    RevisionState.REPORTED,
    RevisionState.UNDELIVERED,
    RevisionState.HELD,
)


class Report:
    """Delivery: pending → prepared or held; the revision follows (`outbox.settle`)."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make the document for one destination."""
        node = context.node
        delivery_id = str(task.payload["delivery"])
        with node.database.read() as connection:
            row = _load(connection, delivery_id)
            previous = _previous_document(connection, row)
        waits = row.state in _WITHOUT_DOCUMENT and row.sealed_document is None
        if not waits or row.revision_state not in _MAY_BE_REPORTED:
            return nothing
        destination = context.destinations.get(row.destination)
        if destination is None:
            raise GiveUp("the destination is not in the settings any more")
        settings = node.settings.destination(row.destination)
        entry = node.keys.patient(row.patient_id)
        try:
            identity, study = node.vault.reidentify(row.revision_id, Purpose.REPORT, ENGINE)
        except IdentityContradiction as error:
            return _hold(context, delivery_id, row.revision_id, str(error))
        match = destination.match_patient(identity)
        if isinstance(match, Retry):
            reason = f"matching the patient: {match.reason}"
            raise TryAgain(reason, seconds_until(match.not_before), maximum_attempts=settings.maximum_attempts)
        if isinstance(match, Dead):
            raise GiveUp(f"matching the patient: {match.reason}")
        if isinstance(match, Held):
            return _hold(context, delivery_id, row.revision_id, match.reason)
        request = ReportRequest(
            stamp=Stamp(UUID(row.report_id), row.number, datetime.now(UTC).replace(microsecond=0), study),
            status=ReportStatus(settings.status),
            result=StudyResult.from_json(open_column(entry, "result", row.result_id, row.sealed_result)),
            subject=match,
            previous=open_column(entry, "delivery", previous.id, previous.sealed_document) if previous else None,
        )
        try:
            document = build_report(request)
        except ReportError as error:
            return _hold(context, delivery_id, row.revision_id, str(error))
        return _commit(context, row, seal_column(entry, "delivery", delivery_id, document))

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The delivery is dead, and the revision undelivered once the others have ended."""
        bury(connection, context.node.audit, str(task.payload["delivery"]), reason)


def _load(connection: sa.Connection, delivery_id: str) -> sa.Row[Any]:
    return connection.execute(
        sa.select(
            t.delivery,
            t.revision.c.number,
            t.revision.c.study_id,
            t.revision.c.priority,
            t.revision.c.state.label("revision_state"),
            t.result.c.id.label("result_id"),
            t.result.c.sealed_result,
        )
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .join(t.result, t.result.c.revision_id == t.revision.c.id)
        .where(t.delivery.c.id == delivery_id)
    ).one()


def _previous_document(connection: sa.Connection, row: sa.Row[Any]) -> sa.Row[Any] | None:
    """The document made last for this report and destination, whether or not it got there."""
    return connection.execute(
        sa.select(t.delivery.c.id, t.delivery.c.sealed_document)
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(
            t.delivery.c.report_id == row.report_id,
            t.delivery.c.destination == row.destination,
            t.delivery.c.sealed_document.is_not(None),
            t.revision.c.number < row.number,
        )
        .order_by(t.revision.c.number.desc())
    ).first()


def _commit(context: Context, row: sa.Row[Any], sealed: bytes) -> Commit:
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        changed = connection.execute(
            sa.update(t.delivery)
            .where(t.delivery.c.id == row.id, t.delivery.c.state.in_(_WITHOUT_DOCUMENT))
            .values(state=DeliveryState.PREPARED, sealed_document=sealed, updated_at=database_now())
        )
        if not changed.rowcount:
            return  # superseded while we worked
        details: dict[str, Detail] = {"delivery": Id(row.id), "destination": Name(row.destination)}
        audit.record(connection, AuditEvent(Kind.REPORTED, actor=ENGINE, details=details))
        payload = {"delivery": row.id}
        queue.enqueue(connection, "deliver", row.id, payload, priority=row.priority)
        settle(connection, audit, row.revision_id)

    return commit


def _hold(context: Context, delivery_id: str, revision_id: str, reason: str) -> Commit:
    def commit(connection: sa.Connection) -> None:
        end_delivery(connection, delivery_id, DeliveryState.HELD, reason)
        settle(connection, context.node.audit, revision_id)

    return commit


def bury(connection: sa.Connection, audit: AuditWriter, delivery_id: str, reason: str) -> None:
    """End a delivery as dead, with its audit event, and let the revision follow; one that has ended stays as it is."""
    revision_id = end_delivery(connection, delivery_id, DeliveryState.DEAD, reason)
    if revision_id is None:
        return
    audit.record(connection, AuditEvent(Kind.DELIVERY_DEAD, actor=ENGINE, details={"delivery": Id(delivery_id)}))
    settle(connection, audit, revision_id)


def end_delivery(
    connection: sa.Connection, delivery_id: str, state: DeliveryState, outcome: str | None, status: int | None = None
) -> str | None:
    """Give a delivery its last state; gives the id of its revision, None where it had ended otherwise before."""
    ended = (DeliveryState.DELIVERED, DeliveryState.SUPERSEDED)
    revision_id: str | None = connection.execute(
        sa.update(t.delivery)
        .where(t.delivery.c.id == delivery_id, t.delivery.c.state.not_in(ended))
        .values(state=state, outcome=outcome[:2000] if outcome else None, status=status, updated_at=database_now())
        .returning(t.delivery.c.revision_id)
    ).scalar_one_or_none()
    return revision_id


def seconds_until(moment: datetime | None) -> float | None:
    """How long a destination asked us to wait, if it did."""
    return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())
