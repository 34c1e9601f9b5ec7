"""What an operator can do with instances that could not be proven clean: see why, release, reject. Shows no value.

Releasing says that a person has looked at the instance and vouches for it: only for reasons that are doubts
(`anonymize.RELEASABLE`), only for this instance, and in the audit log with who did it.
"""

import time
from typing import Any

import sqlalchemy as sa

from anonymize import RELEASABLE, QuarantineReason
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.control.errors import CommandFailed, no_such_study
from daemon.database import schema as t
from daemon.intake.closing import close_revision
from daemon.intake.placing import begin_revision
from daemon.node import Node
from daemon.states import RevisionState, Standing
from daemon.steps.deidentify import NOT_PROVEN_CLEAN

_MOST_ROWS = 1000
_REJECTED = "rejected by an operator"


def quarantine_list(node: Node, actor: str, limit: int = 100) -> list[dict[str, Any]]:
    """Instances that are kept back, latest first: why, and whether a person may release them."""
    query = (
        sa.select(
            t.instance.c.id.label("instance"),
            t.instance.c.study_id.label("study"),
            t.instance.c.modality,
            t.instance.c.reason,
            t.instance.c.received_at,
        )
        .where(_is_kept_back())
        .order_by(t.instance.c.received_at.desc(), t.instance.c.id)
        .limit(max(0, min(limit, _MOST_ROWS)))
    )
    with node.database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [dict(row) | {"releasable": _code(row["reason"]) in RELEASABLE} for row in rows]


def quarantine_release(node: Node, actor: str, instance: str) -> dict[str, Any]:
    """Set aside the reason for which an instance is kept back, and process its study again."""

    def work(connection: sa.Connection) -> dict[str, Any]:
        row = _kept_back(connection, instance)
        code = _code(row.reason)
        if code is None or code not in RELEASABLE:
            raise CommandFailed(
                "what keeps this instance back is a defect of its data, for which nobody can vouch; have it sent again,"
                " choose another policy and reprocess the study, or reject it",
                3,
            )
        accepted = sorted({*row.accepted, code.value})
        connection.execute(sa.update(t.instance).where(t.instance.c.id == instance).values(accepted=accepted))
        _record(connection, node, Kind.QUARANTINE_RELEASED, actor, instance, code)
        revision = _process_rest(connection, node, actor, row.study_id, "released by an operator")
        return {"instance": instance, "study": row.study_id, "reason": code.value, "revision": revision}

    return node.database.retrying(work)


def quarantine_reject(node: Node, actor: str, instance: str) -> dict[str, Any]:
    """Take an instance that is kept back out of its study for good, and process the rest of the study."""

    def work(connection: sa.Connection) -> dict[str, Any]:
        row = _kept_back(connection, instance)
        connection.execute(
            sa.update(t.instance)
            .where(t.instance.c.id == instance)
            .values(standing=Standing.REJECTED, reason=f"{_REJECTED}: {row.reason}"[:400])
        )
        _record(connection, node, Kind.QUARANTINE_REJECTED, actor, instance, _code(row.reason))
        revision = _process_rest(connection, node, actor, row.study_id, _REJECTED)
        return {"instance": instance, "study": row.study_id, "revision": revision}

    return node.database.retrying(work)


def _process_rest(connection: sa.Connection, node: Node, actor: str, study: str, reason: str) -> str:
    """Process a study of which an instance was decided on. A study that is held is not: that is another decision."""
    state = connection.execute(
        sa.select(t.revision.c.state).where(t.revision.c.study_id == study).order_by(t.revision.c.number.desc())
    ).scalar()
    if state == RevisionState.HELD:
        raise CommandFailed(
            "this instance's study is held for another reason; see `kopru studies show`, settle that first, and only"
            " then decide about the instance",
            3,
        )
    return process_again(connection, node, actor, study, reason, may_be_empty=True)


def process_again(
    connection: sa.Connection, node: Node, actor: str, study: str, reason: str, *, may_be_empty: bool = False
) -> str:
    """Begin and close a new revision of what is current in a study. Gives its id."""
    connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study).with_for_update())
    newest = connection.execute(
        sa.select(t.revision.c.priority, t.revision.c.state)
        .where(t.revision.c.study_id == study)
        .order_by(t.revision.c.number.desc())
    ).first()
    if newest is None:
        raise no_such_study()
    current = connection.execute(
        sa.select(sa.func.max(t.instance.c.received_at)).where(
            t.instance.c.study_id == study, t.instance.c.standing == Standing.CURRENT
        )
    ).scalar_one()
    if current is None and not may_be_empty:
        raise CommandFailed("no instance of this study is in use, so there is nothing to process", 3)
    revision = begin_revision(connection, node.audit, study, newest.priority, current or time.time(), actor=actor)
    # Of a study that is still arriving, only a part may be here: then the report says so.
    forced = newest.state == RevisionState.ASSEMBLING
    close_revision(connection, node.audit, revision, reason=reason, forced=forced, actor=actor)
    return revision


def _is_not_clean() -> sa.ColumnElement[bool]:
    return sa.and_(t.instance.c.standing == Standing.CURRENT, t.instance.c.reason.startswith(NOT_PROVEN_CLEAN))


def _is_kept_back() -> sa.ColumnElement[bool]:
    return sa.or_(_is_not_clean(), t.instance.c.standing == Standing.QUARANTINED)


def _kept_back(connection: sa.Connection, instance: str) -> sa.Row[Any]:
    row = connection.execute(
        sa.select(t.instance.c.study_id, t.instance.c.reason, t.instance.c.accepted, t.instance.c.standing)
        .where(t.instance.c.id == instance, _is_kept_back())
        .with_for_update()
    ).first()
    if row is None:
        raise CommandFailed("no such instance is in quarantine; `kopru quarantine list` shows those that are")
    if row.standing == Standing.QUARANTINED:  # it may open again once a disk or a key is back, and must not be let go
        raise CommandFailed(
            "this instance was never read, so nobody can decide about it; its reason says what to mend", 3
        )
    return row


def _code(reason: str | None) -> QuarantineReason | None:
    """The code in an instance's reason; None for one that the indexer kept back."""
    code = (reason or "").removeprefix(f"{NOT_PROVEN_CLEAN}: ")
    return QuarantineReason(code) if code in set(QuarantineReason) else None


def _record(
    connection: sa.Connection, node: Node, kind: Kind, actor: str, instance: str, code: QuarantineReason | None
) -> None:
    details: dict[str, Detail] = {"instance": Id(instance), "reason": Name(code or "unreadable")}
    node.audit.record(connection, AuditEvent(kind, actor=actor, details=details))
