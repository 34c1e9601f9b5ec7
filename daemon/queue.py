"""The task queue: rows of the table `task`, claimed under a lease, so that an operator can see all waiting work.

It is a table and not a broker because a task's end commits together with the state it made and the audit event (DESIGN
§2.2): `enqueue`, `complete`, `retry` and `fail` work in the caller's transaction. A task may be *started* more than
once (its worker was killed, or was silent for longer than its lease), but it *ends* once: each claim gets a lease of
its own, and who has lost the lease cannot commit. Payloads hold ids, never a patient's data; errors arrive scrubbed.

    QueueError
    ├── LeaseLost           another worker has, or had, the task: roll back and forget it
    ├── TaskNotFound        no task has this id
    ├── TaskNotWaiting      an operator's wish that the task's state does not allow
    └── UnsuitableTask      a key or payload that is no id; a programming error

States: `ready` ⇄ `running` → `done`; `running` → `dead` (gave up; stays until a person looks) → `ready` or `closed`.
"""

import random
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from daemon.database import CLOCK_TOLERANCE_SECONDS, Database, database_now
from daemon.database.schema import task as _t

MAXIMUM_ATTEMPTS = 12
"""Attempts before a task is dead, unless the caller says otherwise."""

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 600.0
_LONGEST_ERROR = 2000
_LONGEST_OWNER = 50
_ID = re.compile(r"[A-Za-z0-9._:/+@=-]{1,160}")


Payload: TypeAlias = Mapping[str, str | int]
"""Names to ids."""


class TaskState(StrEnum):
    """What becomes of a task."""

    READY = "ready"  # waits for its time and a worker
    RUNNING = "running"  # leased; if the lease runs out, it is ready again
    DONE = "done"
    DEAD = "dead"  # failed for good, or too often: a person decides
    CLOSED = "closed"  # a person decided that it is not to be done


class Priority(IntEnum):
    """Smaller runs first."""

    STAT = 0
    URGENT = 5
    ROUTINE = 10


class QueueError(Exception):
    """Something about the queue."""


class LeaseLost(QueueError):
    """The lease ran out and the task was given back; the transaction must roll back. Nothing else is to be done."""


class TaskNotFound(QueueError):
    """There is no such task."""


class TaskNotWaiting(QueueError):
    """The task's state does not allow what an operator asked for."""


class UnsuitableTask(QueueError, ValueError):
    """A key or payload that does not look like ids. The message does not repeat it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task: the worker's proof that it holds the lease."""

    id: int
    kind: str
    key: str
    payload: Mapping[str, Any]
    priority: int
    attempts: int
    """How often it was claimed, this time included. More than the allowed number: it took its worker down each time,
    and must be given to `fail`, not run."""
    lease: str
    """Names this one claim: no other claim, of this worker or another, has the same."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as an operator sees it. Times are seconds since the Unix epoch, by the database's clock."""

    id: int
    kind: str
    key: str
    state: TaskState
    priority: int
    not_before: float
    attempts: int
    worker: str | None
    lease_until: float | None
    last_error: str | None
    created_at: float
    updated_at: float


def enqueue(
    connection: sa.Connection,
    kind: str,
    key: str,
    payload: Payload,
    *,
    priority: int = Priority.ROUTINE,
    not_before: float | None = None,
) -> bool:
    """Add a task in the caller's transaction; False if there is one of this kind and key, whatever its state.

    `payload` holds ids only; `not_before` is in seconds since the Unix epoch, by default now. Raises `UnsuitableTask`.
    """
    return enqueue_all(connection, kind, {key: payload}, priority=priority, not_before=not_before) == 1


def enqueue_all(
    connection: sa.Connection,
    kind: str,
    payloads: Mapping[str, Payload],
    *,
    priority: int = Priority.ROUTINE,
    not_before: float | None = None,
) -> int:
    """Add a task for each key, as `enqueue` does, at the cost of one statement. Gives how many were new."""
    for key, payload in payloads.items():
        texts = [key, *payload, *(value for value in payload.values() if not isinstance(value, int))]
        if not all(isinstance(text, str) and _ID.fullmatch(text) for text in texts):
            raise UnsuitableTask(f"a {kind} task's key or payload holds something that is no id; put ids, not data")
    if not payloads:
        return 0
    statement = _InsertIfNew(_t).values(
        kind=kind,
        state=TaskState.READY,
        priority=priority,
        not_before=database_now() if not_before is None else not_before,
        attempts=0,
        created_at=database_now(),
        updated_at=database_now(),
    )
    # In order, so that two transactions that add the same keys wait for each other and do not deadlock.
    rows = [{"key": key, "payload": dict(payloads[key])} for key in sorted(payloads)]
    return connection.execute(statement.inline(), rows, execution_options={"preserve_rowcount": True}).rowcount


class _InsertIfNew(sa.Insert):
    """An insert that leaves an existing row alone. SQLAlchemy's own is compiled anew for each execution."""

    inherit_cache = True


@compiles(_InsertIfNew)
def _compile_insert_if_new(insert: _InsertIfNew, compiler: Any, **kw: Any) -> str:
    return f'{compiler.visit_insert(insert, **kw)} ON CONFLICT (kind, "key") DO NOTHING'


def claim(database: Database, owner: str, kinds: Collection[str], limit: int, lease_seconds: float) -> list[Task]:
    """Lease up to `limit` due tasks of these kinds to `owner`, in a transaction of its own.

    Order: priority, then due time, then age. Tasks whose lease ran out are taken back first. The database's clock
    decides, so hosts need not agree on the time; where it was set back, a lease of before runs as long as a new one.
    The worker must `extend` its leases well before they run out, also those of tasks that it has not begun, or another
    worker begins the task beside it.
    """
    if len(owner) > _LONGEST_OWNER:
        raise ValueError(f"the worker's name has more than {_LONGEST_OWNER} characters")
    if database.is_sqlite and not _anything_to_claim(database, kinds):
        return []  # there is one write lock: a worker with nothing to do must not hold up those that write
    return database.retrying(lambda connection: _claim(connection, owner, kinds, limit, lease_seconds))


def _anything_to_claim(database: Database, kinds: Collection[str]) -> bool:
    with database.read() as connection:
        ended = sa.or_(_t.c.lease_until <= database_now(), _is_of_before())
        running = sa.select(_t.c.id).where(_t.c.state == TaskState.RUNNING, ended, _t.c.kind.in_(kinds))
        found = connection.execute(sa.select(due_tasks(kinds).exists() | running.exists())).scalar_one()
    return bool(found)


def _claim(
    connection: sa.Connection, owner: str, kinds: Collection[str], limit: int, lease_seconds: float
) -> list[Task]:
    running = (_t.c.state == TaskState.RUNNING, _t.c.kind.in_(kinds))
    # Its worker may be at it: it has the time to extend the lease in which any other would.
    anew = {"lease_until": database_now() + lease_seconds, "updated_at": database_now()}
    connection.execute(sa.update(_t).where(*running, _is_of_before()).values(anew))
    ran_out = sa.select(_t.c.id).where(*running, _t.c.lease_until <= database_now())
    expired = ran_out.with_for_update(skip_locked=True).cte("expired")
    connection.execute(
        sa.update(_t)
        .where(_t.c.id.in_(sa.select(expired.c.id)))
        .values(
            state=TaskState.READY,
            not_before=sa.case((_t.c.not_before > database_now(), database_now()), else_=_t.c.not_before),
            lease_owner=None,
            lease_until=None,
            updated_at=database_now(),
        )
    )
    lease = f"{owner}#{secrets.token_hex(6)}"
    due = due_tasks(kinds).limit(limit).with_for_update(skip_locked=True).cte("due")
    rows = connection.execute(
        sa.update(_t)
        .where(_t.c.id.in_(sa.select(due.c.id)))
        .values(
            state=TaskState.RUNNING,
            attempts=_t.c.attempts + 1,
            lease_owner=lease,
            lease_until=database_now() + lease_seconds,
            updated_at=database_now(),
        )
        .returning(_t.c.id, _t.c.kind, _t.c.key, _t.c.payload, _t.c.priority, _t.c.attempts, _t.c.not_before)
    ).all()
    return [
        Task(row.id, row.kind, row.key, row.payload, row.priority, row.attempts, lease)
        for row in sorted(rows, key=lambda row: (row.priority, row.not_before, row.id))
    ]


def due_tasks(kinds: Collection[str]) -> sa.Select[tuple[int]]:
    """The ids of the tasks that may run now, in the order in which they run. A wait of before the clock was set back is
    over: nobody knows for how long it was meant.
    """
    has_come = sa.or_(_t.c.not_before <= database_now(), _is_of_before())
    return (
        sa.select(_t.c.id)
        .where(_t.c.state == TaskState.READY, has_come, _t.c.kind.in_(kinds))
        .order_by(_t.c.priority, _t.c.not_before, _t.c.id)
    )


def _is_of_before() -> sa.ColumnElement[bool]:
    """Whether a task was last changed before the clock was set back: its times mean nothing any more."""
    return _t.c.updated_at > database_now() + CLOCK_TOLERANCE_SECONDS


def complete(connection: sa.Connection, *tasks: Task) -> None:
    """End tasks in the caller's transaction, with what they did. Raises `LeaseLost` unless the leases are all held."""
    _change(connection, tasks, state=TaskState.DONE, lease_owner=None, lease_until=None, last_error=None)


def retry(
    connection: sa.Connection,
    task: Task,
    error: str,
    delay_seconds: float = 0.0,
    *,
    maximum_attempts: int = MAXIMUM_ATTEMPTS,
) -> TaskState:
    """Give a task back to be tried again later, or for good if it was tried often enough. Gives its new state.

    `error` is scrubbed by the caller. The wait is `delay_seconds` (what the other side asked for) and the back-off on
    top. Raises `LeaseLost`.
    """
    if task.attempts >= maximum_attempts:
        fail(connection, task, error)
        return TaskState.DEAD
    wait = delay_seconds + backoff_seconds(task.attempts, random.random())  # noqa: S311 - spreads load, hides nothing
    _change(
        connection,
        [task],
        state=TaskState.READY,
        lease_owner=None,
        lease_until=None,
        last_error=error[:_LONGEST_ERROR],
        not_before=database_now() + wait,
    )
    return TaskState.READY


def fail(connection: sa.Connection, task: Task, error: str) -> None:
    """Make a task dead: it stays, with its scrubbed error, until a person requeues or closes it. Raises `LeaseLost`."""
    _change(
        connection,
        [task],
        state=TaskState.DEAD,
        lease_owner=None,
        lease_until=None,
        last_error=error[:_LONGEST_ERROR],
    )


def release(connection: sa.Connection, *tasks: Task) -> None:
    """Give back tasks that were not begun, as if never claimed: a worker that stops does. Raises `LeaseLost`."""
    _change(
        connection,
        tasks,
        state=TaskState.READY,
        lease_owner=None,
        lease_until=None,
        attempts=_t.c.attempts - 1,
    )


def extend(connection: sa.Connection, *tasks: Task, lease_seconds: float) -> None:
    """Let the leases run for `lease_seconds` from now. Raises `LeaseLost`."""
    _change(connection, tasks, lease_until=database_now() + lease_seconds)


def _change(connection: sa.Connection, tasks: Collection[Task], **values: Any) -> None:
    """Change rows whose leases are held, all of them or (when the caller rolls back) none.

    A lease that ran out but was not taken back yet is still held: nobody else has begun the task.
    """
    held = sa.tuple_(_t.c.id, _t.c.lease_owner).in_([(task.id, task.lease) for task in tasks])
    changed = connection.execute(
        sa.update(_t).where(held, _t.c.state == TaskState.RUNNING).values(updated_at=database_now(), **values)
    )
    if changed.rowcount != len(tasks):
        lost = len(tasks) - changed.rowcount
        raise LeaseLost(f"{lost} of {len(tasks)} tasks are no longer held; whoever has them now will do them")


def backoff_seconds(attempt: int, randomness: float) -> float:
    """The wait after the `attempt`-th try (from 1): doubles from 1 s up to 10 min, of which the last half is random.

    `randomness` is in [0, 1).
    """
    whole = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 32))
    return whole * (0.5 + 0.5 * randomness)


def requeue(connection: sa.Connection, task_id: int) -> None:
    """Run a dead, closed or waiting task now, with all its attempts before it.

    Raises `TaskNotFound`, `TaskNotWaiting`.
    """
    _decide(
        connection,
        task_id,
        {TaskState.DEAD, TaskState.CLOSED, TaskState.READY},
        state=TaskState.READY,
        attempts=0,
        not_before=database_now(),
    )


def close(connection: sa.Connection, task_id: int, reason: str) -> None:
    """Decide that a dead or waiting task is not to be done; `reason` (no patient's data) is kept before its last error.

    Raises `TaskNotFound`, `TaskNotWaiting`, and `ValueError` without a reason.
    """
    if not reason.strip():
        raise ValueError("a task is closed for a reason; give one")
    why = sa.literal(f"closed: {reason.strip()}")
    kept = sa.func.substr(why + sa.func.coalesce("; before: " + _t.c.last_error, ""), 1, _LONGEST_ERROR)
    _decide(connection, task_id, {TaskState.DEAD, TaskState.READY}, state=TaskState.CLOSED, last_error=kept)


def _decide(connection: sa.Connection, task_id: int, allowed: set[TaskState], **values: Any) -> None:
    changed = connection.execute(
        sa.update(_t).where(_t.c.id == task_id, _t.c.state.in_(allowed)).values(updated_at=database_now(), **values)
    )
    if changed.rowcount == 1:
        return
    state = connection.execute(sa.select(_t.c.state).where(_t.c.id == task_id)).scalar_one_or_none()
    if state is None:
        raise TaskNotFound(f"there is no task {task_id}; `kopru tasks list` shows those there are")
    can = " or ".join(sorted(allowed))
    raise TaskNotWaiting(f"task {task_id} is {state}; this can be done to a task that is {can}")


def list_tasks(
    connection: sa.Connection,
    *,
    states: Collection[TaskState] | None = None,
    kinds: Collection[str] | None = None,
    quiet_kinds: Collection[str] = (),
    limit: int = 100,
    before_id: int | None = None,
) -> list[TaskRecord]:
    """Tasks, newest first; `before_id` is the last id of the page before. Of `quiet_kinds` only those that failed, and
    were not done since.
    """
    query = sa.select(_t).order_by(_t.c.id.desc()).limit(limit)
    if states is not None:
        query = query.where(_t.c.state.in_(states))
    if kinds is not None:
        query = query.where(_t.c.kind.in_(kinds))
    if quiet_kinds:
        failed = sa.and_(_t.c.state != TaskState.DONE, _t.c.last_error.is_not(None))
        query = query.where(sa.or_(_t.c.kind.not_in(quiet_kinds), failed))
    if before_id is not None:
        query = query.where(_t.c.id < before_id)
    return [_record(row) for row in connection.execute(query)]


def _record(row: sa.Row[Any]) -> TaskRecord:
    return TaskRecord(
        id=row.id,
        kind=row.kind,
        key=row.key,
        state=TaskState(row.state),
        priority=row.priority,
        not_before=row.not_before,
        attempts=row.attempts,
        worker=row.lease_owner.rpartition("#")[0] if row.lease_owner else None,
        lease_until=row.lease_until,
        last_error=row.last_error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def counts(connection: sa.Connection) -> dict[tuple[str, TaskState], int]:
    """How many tasks there are of each kind and state."""
    query = sa.select(_t.c.kind, _t.c.state, sa.func.count()).group_by(_t.c.kind, _t.c.state)
    return {(kind, TaskState(state)): number for kind, state, number in connection.execute(query)}
