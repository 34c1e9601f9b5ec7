"""Step 4, for one destination: send the stored bytes, and know afterwards whether they are there (DESIGN §2.6).

At most one write for a destination and report is in flight: the row says so before the first byte is sent, and a unique
index keeps it. A delivery whose answer was lost stays `sending`, and the next attempt begins by looking.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from adapters.dicom import MadeInstance, Outgoing
from adapters.fhir import DocumentError
from adapters.outcomes import Dead, Delivered, DeliveryOutcome, Held, Retry, Superseded
from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance
from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.settings import DicomDestination
from daemon.states import DeliveryState, RevisionState, move
from daemon.steps.manifest import CopiedInstance, CopyManifest, ListedInstance, MadeManifest, NotAManifest
from daemon.steps.outbox import ENGINE, DeliveryStep, end_delivery, settle
from daemon.steps.report import seconds_until
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import open_column

KIND: Final = "deliver"
_WAITS: Final = 1000  # attempts: for the other revision's delivery to end, one way or another
_D = DeliveryState
_STILL_THERE: Final = (
    "{} instances that were sent before and are not part of it any more are there, too: take them out there"
)
_WHICH_IS_THERE: Final = (
    "{} instances were sent before with other content, and an archive may keep the first that it gets (one that never"
    " does has overwrites = true in its settings): take the study out there"
)


class Deliver(DeliveryStep):
    """Delivery: prepared → sending → delivered, held, dead or superseded; the revision follows."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make one attempt."""
        node = context.node
        delivery_id = str(task.payload["delivery"])
        with node.database.read() as connection:
            row = connection.execute(sa.select(t.delivery).where(t.delivery.c.id == delivery_id)).one()
        if not any(row.destination in known for known in (context.destinations, context.pacs, context.archives)):
            raise GiveUp("the destination is not in the settings any more")
        if not self._begin(context, task, delivery_id):
            return nothing
        entry = node.keys.patient(row.patient_id)
        outcome, reservations = _sent(
            context, row.destination, delivery_id, open_column(entry, "delivery", delivery_id, row.sealed_document)
        )
        if isinstance(outcome, Retry):
            _note_failure(context, task, delivery_id, outcome)
            most = node.settings.destination(row.destination).maximum_attempts
            raise TryAgain(outcome.reason, seconds_until(outcome.not_before), maximum_attempts=most)
        if isinstance(outcome, Dead):
            raise GiveUp(_said(outcome))
        return _commit(context, row, outcome, reservations)

    def _begin(self, context: Context, task: Task, delivery_id: str) -> bool:
        """Say in the database that a write is in flight; False if this delivery is not to be made any more."""
        database, audit = context.node.database, context.node.audit

        def begin(connection: sa.Connection) -> bool:
            queue.extend(connection, task, lease_seconds=context.node.settings.engine.lease_seconds)
            row = connection.execute(
                sa.select(
                    t.delivery,
                    t.revision.c.study_id,
                    t.revision.c.number,
                    t.revision.c.former_patient_id,
                    t.revision.c.state.label("revision_state"),
                )
                .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
                .where(t.delivery.c.id == delivery_id)
                .with_for_update()
            ).one()
            if row.state not in (_D.PREPARED, _D.SENDING, _D.DEAD):
                return False
            # A report that may be there is looked for; for instances nothing can look, and of all that was begun the
            # later revision tells a person.
            may_be_there = row.state == _D.SENDING and row.destination in context.destinations
            if not may_be_there and _is_overtaken(connection, row):
                end_delivery(connection, delivery_id, _D.SUPERSEDED, "a later revision takes its place", row.status)
                settle(connection, audit, row.revision_id)
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


def _is_overtaken(connection: sa.Connection, delivery: sa.Row[Any]) -> bool:
    """Whether a later revision takes the delivery's place, or takes back what it says of a former patient: one that
    came while something was being sent, or the delivery would be superseded already (`placing.supersede_unsent`).
    """
    later = sa.select(t.revision.c.id).where(
        t.revision.c.study_id == delivery.study_id, t.revision.c.number > delivery.number
    )
    if delivery.former_patient_id is not None:  # only what is about the same patient, at the same place
        later = later.join(t.delivery, t.delivery.c.revision_id == t.revision.c.id).where(
            t.delivery.c.report_id == delivery.report_id, t.delivery.c.destination == delivery.destination
        )
    return connection.execute(later.limit(1)).first() is not None


def _sent(context: Context, name: str, delivery_id: str, document: bytes) -> tuple[DeliveryOutcome, list[str]]:
    """What the destination answered, and what a person has to see to there although it took everything."""
    try:
        if name in context.pacs:
            return _put(context, name, MadeManifest.from_json(document))
        if name in context.archives:
            return _copied(context, name, delivery_id, CopyManifest.from_json(document))
        return context.destinations[name].deliver(document), []
    except (DocumentError, NotAManifest):
        raise GiveUp(
            "the destination was of another kind when this was made for it; `kopru studies reprocess` makes it anew"
        ) from None


def _put(context: Context, name: str, manifest: MadeManifest) -> tuple[DeliveryOutcome, list[str]]:
    """Store at a PACS what was made for it."""
    store = context.node.store

    def outgoing(made: ListedInstance) -> Outgoing[MadeInstance]:
        def opened() -> MadeInstance:
            return MadeInstance.from_bytes(store.open(ObjectRef.parse(made.ref))[1])

        return Outgoing(made.context, opened)

    outcome = context.pacs[name].store([outgoing(made) for made in manifest.listed])
    return outcome, [_STILL_THERE.format(len(manifest.gone))] if manifest.gone else []


def _copied(context: Context, name: str, delivery_id: str, manifest: CopyManifest) -> tuple[DeliveryOutcome, list[str]]:
    """Store at an archive the de-identified copies.

    Of those that differ from what it got before, it is written down which it has taken: when an attempt breaks off,
    the next one knows that what is there already is this one.
    """
    settings, store = context.node.settings.destination(name), context.node.store
    overwrites = isinstance(settings, DicomDestination) and settings.overwrites
    differing = 0 if overwrites else sum(copy.differs for copy in manifest.listed)
    taken = _taken(context, delivery_id) if any(copy.differs for copy in manifest.listed) else frozenset()

    def outgoing(position: int, copy: CopiedInstance) -> Outgoing[DeidentifiedInstance]:
        def opened() -> DeidentifiedInstance:
            return DeidentifiedInstance.from_bytes(store.open(ObjectRef.parse(copy.ref))[1])

        if not copy.differs or position in taken:
            return Outgoing(copy.context, opened)
        return Outgoing(copy.context, opened, differs=True, stored=lambda: _note_taken(context, delivery_id, position))

    reservations = [(_STILL_THERE, len(manifest.gone)), (_WHICH_IS_THERE, differing)]
    return context.archives[name].store([outgoing(*numbered) for numbered in enumerate(manifest.listed)]), [
        words.format(count) for words, count in reservations if count
    ]


def _taken(context: Context, delivery_id: str) -> frozenset[int]:
    """The places in the delivery's list of what its archive has taken."""
    query = sa.select(t.taken_copy.c.position).where(t.taken_copy.c.delivery_id == delivery_id)
    with context.node.database.read() as connection:
        return frozenset(connection.execute(query).scalars())


def _note_taken(context: Context, delivery_id: str, position: int) -> None:
    row = sa.insert(t.taken_copy).values(delivery_id=delivery_id, position=position)
    context.node.database.retrying(lambda connection: connection.execute(row))


def _note_failure(context: Context, task: Task, delivery_id: str, outcome: Retry) -> None:
    """Keep what the destination said. If it answered, nothing is in flight, and a newer revision may take over."""

    def note(connection: sa.Connection) -> None:
        queue.extend(connection, task, lease_seconds=context.node.settings.engine.lease_seconds)
        values: dict[str, object] = {"status": outcome.status, "outcome": outcome.reason, "updated_at": database_now()}
        if outcome.status is not None or outcome.settled:
            values["state"] = _D.PREPARED
        sending = (t.delivery.c.id == delivery_id, t.delivery.c.state == _D.SENDING)
        connection.execute(sa.update(t.delivery).where(*sending).values(values))
        details: dict[str, Detail] = {"delivery": Id(delivery_id), "status": outcome.status}
        context.node.audit.record(connection, AuditEvent(Kind.DELIVERY_FAILED, actor=ENGINE, details=details))

    context.node.database.retrying(note)


def _commit(
    context: Context, row: sa.Row[Any], outcome: Delivered | Superseded | Held, reservations: list[str]
) -> Commit:
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        match outcome:
            case Delivered():
                state = _D.HELD if reservations else _D.DELIVERED
                end_delivery(connection, row.id, state, _seen_to(reservations), outcome.status)
                details: dict[str, Detail] = {"delivery": Id(row.id), "destination": Name(row.destination)}
                details |= {"status": outcome.status, "already": outcome.already}
                audit.record(connection, AuditEvent(Kind.DELIVERED, actor=ENGINE, details=details))
            case Superseded():
                end_delivery(connection, row.id, _D.SUPERSEDED, "the destination has a later revision")
            case Held():
                end_delivery(connection, row.id, _D.HELD, outcome.reason)
        settle(connection, audit, row.revision_id)

    return commit


def _seen_to(reservations: list[str]) -> str | None:
    if not reservations:
        return None
    return "; ".join(["the study is there", *reservations, "then reprocess the study"])


def _said(outcome: Dead) -> str:
    """Why the destination refused for good, in one line."""
    status = f"HTTP {outcome.status}: " if outcome.status else ""
    return f"{status}{outcome.reason}" + (f"; {outcome.outcome}" if outcome.outcome else "")
