"""The outbox: a delivery and those before it, how it gets its document, how it ends, and what the state of its
deliveries means for a revision.

`settle` is called in each transaction that changes a delivery.
"""

from typing import Any, Final

import sqlalchemy as sa

from daemon import queue
from daemon.audit import AuditEvent, AuditWriter, Id, Kind
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.states import DeliveryState, RevisionState, move
from daemon.steps.step import Commit, Context

ENGINE: Final = "engine"
"""Who acts, for the audit log."""

_D = DeliveryState
_UNFINISHED: Final = frozenset({_D.PENDING, _D.PREPARED, _D.SENDING})
_WITHOUT_DOCUMENT: Final = (_D.PENDING, _D.DEAD)  # dead: a person has let the task run again
_MAY_BE_SENT: Final = (
    RevisionState.INFERRED,
    RevisionState.REPORTED,
    RevisionState.UNDELIVERED,
    RevisionState.HELD,
)


class DeliveryStep:
    """A step whose task is about one delivery."""

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The delivery is dead, and the revision undelivered once the others have ended."""
        bury(connection, context.node.audit, str(task.payload["delivery"]), reason)


def delivery_with_result(connection: sa.Connection, delivery_id: str) -> sa.Row[Any]:
    """A delivery, with what its revision is (its state as `revision_state`), and the result of that."""
    return connection.execute(
        sa.select(
            t.delivery,
            t.revision.c.number,
            t.revision.c.priority,
            t.revision.c.pipeline,
            t.revision.c.state.label("revision_state"),
            t.result.c.id.label("result_id"),
            t.result.c.sealed_result,
            t.result.c.created_at.label("concluded_at"),
        )
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .join(t.result, t.result.c.revision_id == t.revision.c.id)
        .where(t.delivery.c.id == delivery_id)
    ).one()


def sent_before(connection: sa.Connection, delivery: sa.Row[Any]) -> list[sa.Row[Any]]:
    """Of what was `begun_before`, back to the last that got there as a whole, and of which a person has seen to what is
    too many there, if anything was. For destinations that answer with a status of C-STORE.
    """
    begun = begun_before(connection, delivery)
    whole = next((place for place, before in enumerate(begun) if before.status == 0), len(begun))
    return begun[: whole + 1]


def begun_before(connection: sa.Connection, delivery: sa.Row[Any]) -> list[sa.Row[Any]]:
    """The earlier deliveries of the report, or of the study, to the same destination, newest first, of which anything
    may be there: those that were begun.
    """
    query = (
        sa.select(t.delivery.c.id, t.delivery.c.sealed_document, t.delivery.c.status)
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(
            t.delivery.c.report_id == delivery.report_id,
            t.delivery.c.destination == delivery.destination,
            t.delivery.c.attempts > 0,
            t.revision.c.number < delivery.number,
        )
        .order_by(t.revision.c.number.desc())
    )
    return list(connection.execute(query))


def previous_document(connection: sa.Connection, delivery: sa.Row[Any]) -> sa.Row[Any] | None:
    """The document made last for this report and destination, whether or not it got there."""
    return connection.execute(
        sa.select(t.delivery.c.id, t.delivery.c.sealed_document)
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(
            t.delivery.c.report_id == delivery.report_id,
            t.delivery.c.destination == delivery.destination,
            t.delivery.c.sealed_document.is_not(None),
            t.revision.c.number < delivery.number,
        )
        .order_by(t.revision.c.number.desc())
    ).first()


def wants_document(delivery: sa.Row[Any], revision_state: str) -> bool:
    """Whether the delivery still waits for its document, and its revision for being sent."""
    waits = delivery.state in _WITHOUT_DOCUMENT and delivery.sealed_document is None
    return waits and revision_state in _MAY_BE_SENT


def prepared(context: Context, delivery: sa.Row[Any], priority: int, sealed: bytes, made: AuditEvent) -> Commit:
    """Keep the document that was made for a delivery, and let it be delivered."""
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        changed = connection.execute(
            sa.update(t.delivery)
            .where(t.delivery.c.id == delivery.id, t.delivery.c.state.in_(_WITHOUT_DOCUMENT))
            .values(state=_D.PREPARED, sealed_document=sealed, updated_at=database_now())
        )
        if not changed.rowcount:
            return  # superseded while we worked
        audit.record(connection, made)
        queue.enqueue(connection, "deliver", delivery.id, {"delivery": delivery.id}, priority=priority)
        settle(connection, audit, delivery.revision_id)

    return commit


def with_nothing(context: Context, delivery: sa.Row[Any], reason: str) -> Commit:
    """End a delivery for which there is nothing to send: nobody was named and nothing leaves the house."""
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        if end_delivery(connection, delivery.id, _D.DELIVERED, reason) is not None:
            settle(connection, audit, delivery.revision_id)

    return commit


def held(context: Context, delivery: sa.Row[Any], reason: str, *events: AuditEvent) -> Commit:
    """Let a person decide about a delivery."""
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        if end_delivery(connection, delivery.id, _D.HELD, reason) is None:
            return  # superseded while we worked
        for event in events:
            audit.record(connection, event)
        settle(connection, audit, delivery.revision_id)

    return commit


def bury(connection: sa.Connection, audit: AuditWriter, delivery_id: str, reason: str) -> None:
    """End a delivery as dead, with its audit event, and let the revision follow; one that has ended stays as it is."""
    revision_id = end_delivery(connection, delivery_id, _D.DEAD, reason)
    if revision_id is None:
        return
    audit.record(connection, AuditEvent(Kind.DELIVERY_DEAD, actor=ENGINE, details={"delivery": Id(delivery_id)}))
    settle(connection, audit, revision_id)


def end_delivery(
    connection: sa.Connection, delivery_id: str, state: DeliveryState, outcome: str | None, status: int | None = None
) -> str | None:
    """Give a delivery its last state; gives the id of its revision, None where it had ended otherwise before."""
    ended = (_D.DELIVERED, _D.SUPERSEDED, _D.SEEN_TO)
    revision_id: str | None = connection.execute(
        sa.update(t.delivery)
        .where(t.delivery.c.id == delivery_id, t.delivery.c.state.not_in(ended))
        .values(state=state, outcome=outcome[:2000] if outcome else None, status=status, updated_at=database_now())
        .returning(t.delivery.c.revision_id)
    ).scalar_one_or_none()
    return revision_id


def settle(connection: sa.Connection, audit: AuditWriter, revision_id: str) -> None:
    """Move the revision to where its deliveries have brought it, a move at a time.

    `inferred` → `reported` once each destination has a document or none is to be made; then, when all have ended:
    `held` if a person must decide about one, `undelivered` if a destination refused for good, `withheld` if none may
    have it, else `delivered`. A revision that was held or undelivered comes back by way of `reported` when a person
    lets a delivery run again.
    """
    # The row is locked first: of two deliveries that end at once, the second must see what the first did.
    locked = sa.select(t.revision.c.state).where(t.revision.c.id == revision_id).with_for_update()
    now = connection.execute(locked).scalar_one()
    states = set(
        connection.execute(sa.select(t.delivery.c.state).where(t.delivery.c.revision_id == revision_id)).scalars()
    )
    if now == RevisionState.INFERRED and _D.PENDING not in states:
        move(connection, audit, revision_id, RevisionState.REPORTED)
        now = RevisionState.REPORTED
    if states & _UNFINISHED or now not in (RevisionState.REPORTED, RevisionState.HELD, RevisionState.UNDELIVERED):
        return
    target, reason = _end(connection, revision_id, states)
    if target == now:
        return
    if now != RevisionState.REPORTED:
        move(connection, audit, revision_id, RevisionState.REPORTED)
    move(connection, audit, revision_id, target, reason=reason)


def _end(connection: sa.Connection, revision_id: str, states: set[str]) -> tuple[RevisionState, str | None]:
    for state, target in ((_D.HELD, RevisionState.HELD), (_D.DEAD, RevisionState.UNDELIVERED)):
        if state in states:
            reason = connection.execute(
                sa.select(t.delivery.c.outcome).where(
                    t.delivery.c.revision_id == revision_id, t.delivery.c.state == state
                )
            ).scalars()
            return target, (next(iter(reason), None) or "")[:400]
    if states == {_D.WITHHELD}:
        return RevisionState.WITHHELD, "the model is meant for research, and confirm_research is set for no destination"
    return RevisionState.DELIVERED, None
