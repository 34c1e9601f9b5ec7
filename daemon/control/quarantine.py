"""What an operator can do with instances that could not be proven clean: see why, release, reject, restore. Shows no
value.

Releasing says that a person has looked at the instance and vouches for it: only for the reason that this person has
seen, only for reasons that are doubts (`anonymize.RELEASABLE`), only for this instance, and in the audit log with who
did it.
"""

from typing import Any, Final

import sqlalchemy as sa

from anonymize import RELEASABLE, InvalidPolicy, Option, Policy, QuarantineReason
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.control.errors import CommandFailed
from daemon.control.limits import rows
from daemon.control.processing import process_again, process_rest
from daemon.database import schema as t
from daemon.intake import contradiction_of
from daemon.intake.correcting import A_LATER_ONE
from daemon.intake.placing import (
    NAMED_BY_A_NOTE,
    PIXELS_DIFFER,
    TWO_PATIENTS,
    UID_IN_TWO_STUDIES,
    hold,
    is_named_by_a_note,
)
from daemon.node import Node
from daemon.states import Standing
from daemon.steps.deidentify import NOT_PROVEN_CLEAN

REJECTED: Final = "rejected by an operator"
_BY_A_DECISION: Final = (TWO_PATIENTS, UID_IN_TWO_STUDIES, PIXELS_DIFFER, A_LATER_ONE)
"""How the rest of the reason begins where `studies keep` or `studies correct` set an instance aside."""


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
        .limit(rows(limit))
    )
    with node.database.read() as connection:
        found = connection.execute(query).mappings().all()
    return [dict(row) | {"releasable": _code(row["reason"]) in RELEASABLE} for row in found]


def quarantine_release(node: Node, actor: str, instance: str, reason: str) -> dict[str, Any]:
    """Set aside the reason for which an instance is kept back, and process its study again.

    `reason` is the code of the one that the operator has looked at: what has taken its place since is not set aside.
    """

    def work(connection: sa.Connection) -> dict[str, Any]:
        row = _kept_back(connection, instance)
        code, now = _code(row.reason), _what_is_left(row.reason)
        if reason != now:
            raise CommandFailed(
                f"that is not the reason for which this instance is kept back now, which is {now}; look at it again", 3
            )
        if code is None or code not in RELEASABLE:
            raise CommandFailed(
                "what keeps this instance back is a defect of its data, for which nobody can vouch; have it sent again,"
                " choose another policy and reprocess the study, or reject it",
                3,
            )
        accepted = sorted({*row.accepted, code.value})
        connection.execute(sa.update(t.instance).where(t.instance.c.id == instance).values(accepted=accepted))
        _record(connection, node, Kind.QUARANTINE_RELEASED, actor, instance, code)
        revision = process_rest(connection, node, actor, row.study_id, "released by an operator")
        return {"instance": instance, "study": row.study_id, "reason": code.value, "revision": revision}

    return node.database.retrying(work)


def quarantine_retry(
    node: Node,
    actor: str,
    study: str,
    options: list | None = None,  # type: ignore[type-arg]  # compared with `isinstance`
    year_only: bool = False,
) -> dict[str, Any]:
    """Process a study with something in quarantine again: under the policy that holds now or, with `options` of
    PS3.15 or `year_only`, under one that retains no more.
    """
    policy = None if options is None and not year_only else _policy(options or [], year_only=year_only)

    def work(connection: sa.Connection) -> dict[str, Any]:
        waits = sa.select(t.instance.c.id).where(t.instance.c.study_id == study, _is_not_clean()).limit(1)
        if connection.execute(waits).first() is None:
            raise CommandFailed("no study with an instance in quarantine has this id; see `kopru quarantine list`")
        chosen = {"options": sorted(policy.options), "year_only": policy.year_only} if policy else None
        revision = process_again(connection, node, actor, study, "retried by an operator", policy=chosen)
        named = "+".join([*sorted(policy.options), *["year-only"] * policy.year_only] or ["basic"]) if policy else None
        details: dict[str, Detail] = {"revision": Id(revision), "policy": Name(named or "as-set")}
        node.audit.record(connection, AuditEvent(Kind.QUARANTINE_RETRIED, actor=actor, details=details))
        return {"study": study, "revision": revision}

    return node.database.retrying(work)


def _policy(options: list[Any], *, year_only: bool) -> Policy:
    try:
        return Policy(frozenset(Option(option) for option in options), year_only)
    except ValueError:
        raise CommandFailed(f"there is no such option; there are: {', '.join(Option)}", 2) from None
    except InvalidPolicy as error:
        raise CommandFailed(str(error), 2) from None


def quarantine_reject(node: Node, actor: str, instance: str) -> dict[str, Any]:
    """Take an instance that is kept back out of its study until it is restored, and process the rest of the study."""

    def work(connection: sa.Connection) -> dict[str, Any]:
        row = _kept_back(connection, instance)
        connection.execute(
            sa.update(t.instance)
            .where(t.instance.c.id == instance)
            .values(standing=Standing.REJECTED_BY_OPERATOR, reason=f"{REJECTED}: {row.reason}"[:400])
        )
        _record(connection, node, Kind.QUARANTINE_REJECTED, actor, instance, _code(row.reason))
        revision = process_rest(connection, node, actor, row.study_id, REJECTED)
        return {"instance": instance, "study": row.study_id, "revision": revision}

    return node.database.retrying(work)


def quarantine_restore(node: Node, actor: str, instance: str) -> dict[str, Any]:
    """Put an instance that an operator rejected back into its study, and process the study with it. What kept it back
    is judged again. One that was set aside because it contradicts its study contradicts it again: the study is held, so
    that a person can decide otherwise.
    """

    def work(connection: sa.Connection) -> dict[str, Any]:
        row = connection.execute(
            sa.select(t.instance, t.study.c.patient_id.label("patient_of_study"))
            .join(t.study, t.study.c.id == t.instance.c.study_id)
            .where(t.instance.c.id == instance, t.instance.c.standing == Standing.REJECTED_BY_OPERATOR)
            .with_for_update(of=(t.study, t.instance))  # whoever changes a study holds its row
        ).first()
        if row is None:
            raise CommandFailed("no operator has rejected such an instance; `kopru studies show` shows those rejected")
        if is_named_by_a_note(connection, row.study_id, row.uid_tag):
            raise CommandFailed(f"this instance was {NAMED_BY_A_NOTE} since: its sender has taken it back", 3)
        before = (row.reason or "").removeprefix(f"{REJECTED}: ")
        against = _contradicts(connection, row)
        if against and not before.startswith(_BY_A_DECISION):
            raise CommandFailed("the sender has sent this instance anew since, and that one is in use", 3)
        standing = Standing.CONFLICT if against else Standing.CURRENT
        change = sa.update(t.instance).where(t.instance.c.id == instance)
        connection.execute(change.values(standing=standing, reason=against or before or None))
        _record(connection, node, Kind.QUARANTINE_RESTORED, actor, instance, _code(before))
        if against:
            priority = connection.execute(_newest(row.study_id)).scalar_one()
            revision = hold(connection, node.audit, row.study_id, against, priority, row.received_at, actor)
        else:
            revision = process_rest(connection, node, actor, row.study_id, "restored by an operator")
        return {"instance": instance, "study": row.study_id, "revision": revision}

    return node.database.retrying(work)


def _newest(study: str) -> sa.Select[tuple[int]]:
    """The priority of the study's newest revision."""
    query = sa.select(t.revision.c.priority).where(t.revision.c.study_id == study)
    return query.order_by(t.revision.c.number.desc()).limit(1)


def _contradicts(connection: sa.Connection, row: sa.Row[Any]) -> str | None:
    """How an instance that was set aside would contradict its study, or another one; None if it would not."""
    if row.patient_id != row.patient_of_study:
        found = contradiction_of(connection, row.study_id)
        if found and found.others - {row.patient_id}:  # one decision at a time
            raise CommandFailed("this study contradicts itself already, by another patient; settle that first", 3)
        return TWO_PATIENTS
    claimed = connection.execute(
        sa.select(t.instance.c.study_id).where(
            t.instance.c.uid_tag == row.uid_tag,
            t.instance.c.standing.in_((Standing.CURRENT, Standing.UNSELECTED, Standing.CONFLICT)),
        )
    ).scalars()
    studies = set(claimed)
    if studies - {row.study_id}:
        return UID_IN_TWO_STUDIES
    return PIXELS_DIFFER if studies else None


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
    code = _what_is_left(reason)
    return QuarantineReason(code) if code in set(QuarantineReason) else None


def _what_is_left(reason: str | None) -> str:
    """A reason without the words before its code."""
    return (reason or "").removeprefix(f"{NOT_PROVEN_CLEAN}: ")


def _record(
    connection: sa.Connection, node: Node, kind: Kind, actor: str, instance: str, code: QuarantineReason | None
) -> None:
    details: dict[str, Detail] = {"instance": Id(instance), "reason": Name(code or "unreadable")}
    node.audit.record(connection, AuditEvent(kind, actor=actor, details=details))
