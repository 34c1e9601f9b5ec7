"""Decides when a revision is complete, and closes it: from then on its list of instances never changes (DESIGN §5).

The first rule that applies closes it:

1. the count that was announced is here;
2. no count was announced, every association that brought an instance has ended, and nothing came for `settle_seconds`;
3. nothing came for `timeout_seconds`, open association or not;
4. `force_seconds` have passed since its first instance, or `force_instances` are here: closed by force, and the
report says so.

Quiet is measured against how far the index has read, not against the clock: an instance that was acknowledged but is
not indexed yet keeps its revision open, and so does one that is still compared with another image. Where the clock was
set back, quiet begins anew. Nothing is ever discarded.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from functools import partial
from time import time

import sqlalchemy as sa

from daemon import queue
from daemon.audit import AuditWriter
from daemon.database import CLOCK_TOLERANCE_SECONDS, Database, database_now
from daemon.database import schema as t
from daemon.settings import Settings, SourceDefaults
from daemon.states import RevisionState, Standing, move


class Closing(Enum):
    """Which rule closed a revision."""

    COUNT = "the announced count is here"
    SETTLED = "associations ended and quiet"
    TIMED_OUT = "quiet"
    FORCED = "limit reached"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an assembling revision. Times are seconds since the Unix epoch."""

    opened_at: float
    last_instance_at: float
    instances: int
    new_instances: int  # received since the revision was opened
    expected: int | None
    open_associations: int
    last_association_closed_at: float | None
    indexed_until: float  # everything acknowledged before this is in the index


def decide(facts: Facts, rules: SourceDefaults) -> Closing | None:
    """The rule that closes the revision now; None while it stays open."""
    expected = facts.expected if rules.expected_count else None
    if expected is not None and facts.instances >= expected:
        return Closing.COUNT
    quiet_since = max(facts.last_instance_at, facts.last_association_closed_at or 0.0)
    if expected is None and facts.open_associations == 0 and facts.indexed_until - quiet_since >= rules.settle_seconds:
        return Closing.SETTLED
    if facts.indexed_until - facts.last_instance_at >= rules.timeout_seconds:
        return Closing.TIMED_OUT
    if facts.new_instances >= rules.force_instances or facts.indexed_until - facts.opened_at >= rules.force_seconds:
        return Closing.FORCED
    return None


Write = Callable[[Callable[[sa.Connection], None]], None]
"""Runs work in a transaction that only the one indexer may make."""


def close_due(
    database: Database,
    write: Write,
    audit: AuditWriter,
    settings: Settings,
    indexed_until: float,
    waiting: Collection[str] = (),
) -> None:
    """Close each revision whose time has come, with the task that follows. `waiting` are tags of studies of which
    something that was acknowledged is not indexed yet, whatever `indexed_until` is.
    """
    _begin_quiet_anew(database, write)
    with database.read() as connection:
        candidates = connection.execute(
            sa.select(t.revision.c.id, t.revision.c.study_id, t.study.c.source, t.study.c.uid_tag)
            .join(t.study, t.study.c.id == t.revision.c.study_id)
            .where(t.revision.c.state == RevisionState.ASSEMBLING)
        ).all()
    for revision_id, study_id, source, _ in (row for row in candidates if row.uid_tag not in waiting):
        rules = settings.source_for(source)
        with database.read() as connection:
            due = decide(facts(connection, revision_id, study_id, indexed_until), rules) is not None
        if due:
            close = partial(
                _close,
                audit=audit,
                rules=rules,
                revision_id=revision_id,
                study_id=study_id,
                indexed_until=indexed_until,
            )
            write(close)


def _begin_quiet_anew(database: Database, write: Write) -> None:
    """Where the last instance seems to come from the future, the clock was set back since: quiet is counted from now,
    or the study would wait until then.
    """
    now = time()  # and not how far the index has read: that may be of before, too, or long ago where a disk failed
    ahead = (
        t.revision.c.state.in_((RevisionState.ASSEMBLING, RevisionState.HELD)),
        t.revision.c.closed_at.is_(None),
        t.revision.c.last_instance_at > now + CLOCK_TOLERANCE_SECONDS,
    )
    with database.read() as connection:
        found = connection.execute(sa.select(t.revision.c.id).where(*ahead).limit(1)).first()
    if found is not None:
        earlier = sa.case((t.revision.c.opened_at > now, now), else_=t.revision.c.opened_at)
        change = sa.update(t.revision).where(*ahead).values(last_instance_at=now, opened_at=earlier)

        def begin(connection: sa.Connection) -> None:
            connection.execute(change)

        write(begin)


def facts(connection: sa.Connection, revision_id: str, study_id: str, indexed_until: float) -> Facts:
    """What is known of a revision that takes instances in, or is held."""
    revision = connection.execute(sa.select(t.revision).where(t.revision.c.id == revision_id)).one()
    counted = (Standing.CURRENT, Standing.UNSELECTED)  # a duplicate or variant is not one more
    in_study = sa.and_(t.instance.c.study_id == study_id, t.instance.c.standing.in_(counted))
    instances = connection.execute(sa.select(sa.func.count()).select_from(t.instance).where(in_study)).scalar_one()
    new_instances = connection.execute(
        sa.select(sa.func.count())
        .select_from(t.instance)
        .where(in_study, t.instance.c.received_at >= revision.opened_at)
    ).scalar_one()
    brought_by = sa.select(t.instance.c.association_id).where(t.instance.c.study_id == study_id).distinct()
    still_open, last_closed = connection.execute(
        sa.select(
            sa.func.count().filter(t.association.c.state == "open"), sa.func.max(t.association.c.closed_at)
        ).where(t.association.c.id.in_(brought_by))
    ).one()
    return Facts(
        opened_at=revision.opened_at,
        last_instance_at=revision.last_instance_at,
        instances=instances,
        new_instances=new_instances,
        expected=revision.expected_instances,
        open_associations=still_open,
        last_association_closed_at=last_closed if (last_closed or 0.0) <= time() + CLOCK_TOLERANCE_SECONDS else None,
        indexed_until=indexed_until,
    )


def _close(
    connection: sa.Connection,
    audit: AuditWriter,
    rules: SourceDefaults,
    revision_id: str,
    study_id: str,
    indexed_until: float,
) -> None:
    """Close the revision if it is still due in this transaction: state, list of instances and task together."""
    connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study_id).with_for_update())
    state = connection.execute(
        sa.select(t.revision.c.state).where(t.revision.c.id == revision_id).with_for_update()
    ).scalar_one()
    known = facts(connection, revision_id, study_id, indexed_until)
    closing = decide(known, rules)
    if state != RevisionState.ASSEMBLING or closing is None:
        return
    short_of_count = known.expected is not None and known.instances < known.expected
    forced = closing is Closing.FORCED or short_of_count
    close_revision(connection, audit, revision_id, reason=closing.value, forced=forced)


def close_revision(
    connection: sa.Connection,
    audit: AuditWriter,
    revision_id: str,
    *,
    reason: str,
    forced: bool,
    actor: str = "indexer",
) -> None:
    """Fix the revision's list of instances to what is current in its study, and put its first task into the queue."""
    move(connection, audit, revision_id, RevisionState.CLOSED, reason=reason, actor=actor)
    connection.execute(
        sa.update(t.revision).where(t.revision.c.id == revision_id).values(closed_at=database_now(), forced=forced)
    )
    connection.execute(
        sa.insert(t.revision_instance).from_select(
            ["revision_id", "instance_id"],
            sa.select(t.revision.c.id, t.instance.c.id)
            .join(t.instance, t.instance.c.study_id == t.revision.c.study_id)
            .where(t.revision.c.id == revision_id, t.instance.c.standing == Standing.CURRENT),
        )
    )
    priority = connection.execute(sa.select(t.revision.c.priority).where(t.revision.c.id == revision_id)).scalar_one()
    queue.enqueue(connection, "deidentify", revision_id, {"revision": revision_id}, priority=priority)
