"""Step 4, for one destination: send the stored bytes, and know afterwards whether they are there (DESIGN §2.6).

At most one write for a destination and report is in flight: the row says so before the first byte is sent, and a unique
index keeps it. A delivery whose answer was lost stays `sending`, and the next attempt begins by looking.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from adapters.fhir import Dead, Delivered, Held, Retry, Superseded
from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.states import DeliveryState, RevisionState, move
from daemon.steps.outbox import settle
from daemon.steps.report import ENGINE, bury, end_delivery, seconds_until
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import open_column

KIND: Final = "deliver"
_WAITS: Final = 1000  # attempts: for the other revision's delivery to end, one way or another
_D = DeliveryState


class Deliver:
    """Delivery: prepared → sending → delivered, held, dead or superseded; the revision follows."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make one attempt."""
        node = context.node
        delivery_id = str(task.payload["delivery"])
        with node.database.read() as connection:
            row = connection.execute(sa.select(t.delivery).where(t.delivery.c.id == delivery_id)).one()
        destination = context.destinations.get(row.destination)
        if destination is None:
            raise GiveUp("the destination is not in the settings any more")
        if not self._begin(context, task, delivery_id):
            return nothing
        entry = node.keys.patient(row.patient_id)
        outcome = destination.deliver(open_column(entry, "delivery", delivery_id, row.sealed_document))
        if isinstance(outcome, Retry):
            _note_failure(context, task, delivery_id, outcome)
            most = node.settings.destination(row.destination).maximum_attempts
            raise TryAgain(outcome.reason, seconds_until(outcome.not_before), maximum_attempts=most)
        if isinstance(outcome, Dead):
            raise GiveUp(_said(outcome))
        return _commit(context, delivery_id, row.revision_id, row.destination, outcome)

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The delivery is dead, and the revision undelivered once the others have ended."""
        bury(connection, context.node.audit, str(task.payload["delivery"]), reason)

    def _begin(self, context: Context, task: Task, delivery_id: str) -> bool:
        """Say in the database that a write is in flight; False if this delivery is not to be made any more."""
        database, audit = context.node.database, context.node.audit

        def begin(connection: sa.Connection) -> bool:
            queue.extend(connection, task, lease_seconds=context.node.settings.engine.lease_seconds)
            row = connection.execute(
                sa.select(t.delivery.c.state, t.delivery.c.revision_id, t.revision.c.state.label("revision_state"))
                .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
                .where(t.delivery.c.id == delivery_id)
                .with_for_update()
            ).one()
            if row.state not in (_D.PREPARED, _D.SENDING, _D.DEAD):
                return False
            if row.revision_state in (RevisionState.UNDELIVERED, RevisionState.HELD):  # a person has put the task back
                move(connection, audit, row.revision_id, RevisionState.REPORTED)
            elif row.revision_state not in (RevisionState.REPORTED, RevisionState.INFERRED):
                return False
            connection.execute(
                sa.update(t.delivery)
                .where(t.delivery.c.id == delivery_id)
                .values(state=_D.SENDING, attempts=t.delivery.c.attempts + 1, updated_at=database_now())
            )
            event = AuditEvent(Kind.DELIVERY_ATTEMPTED, actor=ENGINE, details={"delivery": Id(delivery_id)})
            audit.record(connection, event)
            return True

        try:
            return database.retrying(begin)
        except IntegrityError:
            reason = "another revision of this report is being written to the destination"
            raise TryAgain(reason, maximum_attempts=_WAITS) from None


def _note_failure(context: Context, task: Task, delivery_id: str, outcome: Retry) -> None:
    """Keep what the destination said. If it answered, nothing is in flight, and a newer revision may take over."""

    def note(connection: sa.Connection) -> None:
        queue.extend(connection, task, lease_seconds=context.node.settings.engine.lease_seconds)
        values: dict[str, object] = {"status": outcome.status, "outcome": outcome.reason, "updated_at": database_now()}
        if outcome.status is not None:
            values["state"] = _D.PREPARED
        sending = (t.delivery.c.id == delivery_id, t.delivery.c.state == _D.SENDING)
        connection.execute(sa.update(t.delivery).where(*sending).values(values))
        details: dict[str, Detail] = {"delivery": Id(delivery_id), "status": outcome.status}
        context.node.audit.record(connection, AuditEvent(Kind.DELIVERY_FAILED, actor=ENGINE, details=details))

    context.node.database.retrying(note)


def _commit(
    context: Context, delivery_id: str, revision_id: str, destination: str, outcome: Delivered | Superseded | Held
) -> Commit:
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        details: dict[str, Detail] = {"delivery": Id(delivery_id), "destination": Name(destination)}
        match outcome:
            case Delivered():
                end_delivery(connection, delivery_id, _D.DELIVERED, None, outcome.status)
                details |= {"status": outcome.status, "already": outcome.already}
                audit.record(connection, AuditEvent(Kind.DELIVERED, actor=ENGINE, details=details))
            case Superseded():
                end_delivery(connection, delivery_id, _D.SUPERSEDED, "the destination has a later revision")
            case Held():
                end_delivery(connection, delivery_id, _D.HELD, outcome.reason)
        settle(connection, audit, revision_id)

    return commit


def _said(outcome: Dead) -> str:
    """Why the destination refused for good, in one line."""
    status = f"HTTP {outcome.status}: " if outcome.status else ""
    return f"{status}{outcome.reason}" + (f"; {outcome.outcome}" if outcome.outcome else "")
