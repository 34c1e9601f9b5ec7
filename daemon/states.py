"""The states of a revision, an instance and a delivery, and every move that is allowed. The only place that changes
them.

A move is a conditional update: it happens only from a state from which it is allowed, in the transaction of whoever
asks, together with its audit event (DESIGN §2.2). A move that is not in `MOVES` raises `IllegalMove`.

The way of a revision:

    assembling ─▶ closed ─▶ deidentified ─▶ inferred ─▶ reported ─▶ delivered
        │            │            │             │           ├──▶ undelivered   a destination refused for good
        │            │            │             │           ├──▶ withheld      for research; no site confirmed it
        │            │            │             │           └──▶ held          a patient could not be matched
        │            │            └─────────────┴──▶ failed                    a step gave up; a retry goes back
        │            ├──▶ unselected                                           no pipeline wants any of it
        │            └──▶ quarantined                                          cannot be proven clean
        └──▶ held                                                              contradicts itself; a person decides
    superseded: a newer revision took its place before this one was delivered everywhere
"""

from enum import StrEnum
from types import MappingProxyType

import sqlalchemy as sa

from daemon.audit import AuditEvent, AuditWriter, Id, Kind
from daemon.database import database_now
from daemon.database import schema as t


class RevisionState(StrEnum):
    """Where a revision of a study stands; see the module's drawing."""

    ASSEMBLING = "assembling"
    CLOSED = "closed"
    DEIDENTIFIED = "deidentified"
    INFERRED = "inferred"
    REPORTED = "reported"
    DELIVERED = "delivered"
    UNSELECTED = "unselected"
    QUARANTINED = "quarantined"
    HELD = "held"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"


class Standing(StrEnum):
    """What an acknowledged instance is to its study."""

    CURRENT = "current"  # part of the next revision
    UNSELECTED = "unselected"  # kept; no pipeline wants its kind, so it makes no revision
    DUPLICATE = "duplicate"  # same UID, same bytes
    VARIANT = "variant"  # same UID; identity, UIDs and pixels agree, something else differs: the first stays in use
    CORRECTED = "corrected"  # replaced by a later instance with another identity
    CONFLICT = "conflict"  # same UID, other pixels, or another patient's study: held until that is settled
    OWN_RESULT = "own-result"  # something we made that came back
    REJECTED = "rejected"  # taken back by a rejection note (IHE IOCM)
    REJECTED_BY_OPERATOR = "rejected-by-operator"  # taken out of its study here; it can be restored
    QUARANTINED = "quarantined"  # cannot be read or proven clean


class DeliveryState(StrEnum):
    """Where the report of a revision, or a copy of its instances, stands on its way to one destination."""

    PENDING = "pending"  # the document is still to be made
    PREPARED = "prepared"  # the document, or the list of copied instances, is sealed in the outbox
    SENDING = "sending"  # a write is, or may be, in flight
    DELIVERED = "delivered"
    HELD = "held"  # a person must decide: the patient is in doubt, a copy not proven clean, …
    DEAD = "dead"  # refused for good, or given up
    WITHHELD = "withheld"  # the model is meant for research and the site has not confirmed it for this destination
    SUPERSEDED = "superseded"
    SEEN_TO = "seen-to"  # what could not be taken back from here, a person has seen to there


_S = RevisionState
_NOT_SENT = frozenset(
    {_S.ASSEMBLING, _S.CLOSED, _S.DEIDENTIFIED, _S.INFERRED, _S.REPORTED, _S.HELD, _S.QUARANTINED, _S.FAILED}
)
MOVES = MappingProxyType(
    {
        _S.CLOSED: frozenset({_S.ASSEMBLING, _S.FAILED}),
        _S.DEIDENTIFIED: frozenset({_S.CLOSED, _S.FAILED}),
        _S.INFERRED: frozenset({_S.DEIDENTIFIED}),
        _S.REPORTED: frozenset({_S.INFERRED, _S.UNDELIVERED, _S.HELD}),
        _S.DELIVERED: frozenset({_S.REPORTED}),
        _S.UNSELECTED: frozenset({_S.CLOSED}),
        _S.QUARANTINED: frozenset({_S.CLOSED, _S.DEIDENTIFIED}),
        _S.HELD: frozenset({_S.ASSEMBLING, _S.REPORTED}),
        _S.FAILED: frozenset({_S.CLOSED, _S.DEIDENTIFIED, _S.INFERRED}),
        _S.UNDELIVERED: frozenset({_S.REPORTED}),
        _S.WITHHELD: frozenset({_S.REPORTED}),
        _S.SUPERSEDED: _NOT_SENT | {_S.UNDELIVERED, _S.WITHHELD},
    }
)
"""For each state, the states from which it may be entered. `assembling` is only ever where a revision begins (as is
`held`, for a study whose contradiction was found after its last revision was closed, and `inferred`, for a revision
that takes back what was sent about the wrong patient)."""

TERMINAL = frozenset(
    {
        _S.DELIVERED,
        _S.UNSELECTED,
        _S.QUARANTINED,
        _S.HELD,
        _S.FAILED,
        _S.UNDELIVERED,
        _S.WITHHELD,
        _S.SUPERSEDED,
    }
)
"""States in which nothing more happens by itself. Those in `NEEDS_A_PERSON` wait for an operator."""

NEEDS_A_PERSON = frozenset({_S.QUARANTINED, _S.HELD, _S.FAILED, _S.UNDELIVERED})


class IllegalMove(Exception):
    """A revision was asked to go where it cannot go from where it is."""

    def __init__(self, revision_id: str, state: str | None, target: RevisionState) -> None:
        self.revision_id, self.state, self.target = revision_id, state, target
        super().__init__(
            f"revision {revision_id} is {state or 'unknown'} and cannot become {target}; "
            f"allowed from: {', '.join(sorted(MOVES.get(target, ()))) or 'nowhere'}"
        )


def move(
    connection: sa.Connection,
    audit: AuditWriter,
    revision_id: str,
    target: RevisionState,
    *,
    reason: str | None = None,
    actor: str = "engine",
) -> None:
    """Move a revision to `target` within the caller's transaction, with its audit event.

    `reason` is kept in the row; it says why in words and codes, never with a value from the data. Raises `IllegalMove`.
    """
    # Locked as it is read: of two moves at once, the second must say where the first has led.
    before = connection.execute(
        sa.select(t.revision.c.state, t.patient.c.audit_tag)
        .join(t.study, t.study.c.id == t.revision.c.study_id)
        .join(t.patient, t.patient.c.id == sa.func.coalesce(t.revision.c.former_patient_id, t.study.c.patient_id))
        .where(t.revision.c.id == revision_id)
        .with_for_update(of=t.revision)
    ).one_or_none()
    changed = connection.execute(
        sa.update(t.revision)
        .where(t.revision.c.id == revision_id, t.revision.c.state.in_(MOVES.get(target, frozenset())))
        .values(state=target, reason=reason, updated_at=database_now())
    )
    if before is None or changed.rowcount != 1:
        raise IllegalMove(revision_id, before.state if before else None, target)
    audit.record(
        connection,
        AuditEvent(
            Kind.REVISION_MOVED,
            actor=actor,
            subject=before.audit_tag,
            details={"revision": Id(revision_id), "before": RevisionState(before.state), "after": target},
        ),
    )
