"""What the state of its deliveries means for a revision. One function, called in each transaction that changes a
delivery.
"""

from typing import Final

import sqlalchemy as sa

from daemon.audit import AuditWriter
from daemon.database import schema as t
from daemon.states import DeliveryState, RevisionState, move

_D = DeliveryState
_UNFINISHED: Final = frozenset({_D.PENDING, _D.PREPARED, _D.SENDING})


def settle(connection: sa.Connection, audit: AuditWriter, revision_id: str) -> None:
    """Move the revision to where its deliveries have brought it, a move at a time.

    `inferred` → `reported` once each destination has a document or none is to be made; then, when all have ended:
    `held` if a patient was not matched, `undelivered` if a destination refused for good, `withheld` if none may have
    it, else `delivered`. A revision that was held or undelivered comes back by way of `reported` when a person lets
    a delivery run again.
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
