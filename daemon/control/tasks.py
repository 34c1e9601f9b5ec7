"""What an operator sees of the queue and decides about it: what is retried or closed takes what it was to bring on its
way along, so that nothing waits for ever.
"""

from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from daemon import queue
from daemon.audit import AuditEvent, Detail, Kind
from daemon.control.errors import CommandFailed
from daemon.control.limits import known, rows
from daemon.control.reasons import Why
from daemon.database import schema as t
from daemon.engine.schedule import RECURRING
from daemon.engine.tasks import STEPS
from daemon.node import Node
from daemon.queue import QueueError, TaskState
from daemon.states import RevisionState, move
from daemon.steps.outbox import bury


def tasks_list(
    node: Node,
    actor: str,
    state: str | None = None,
    kind: str | None = None,
    limit: int = 100,
    housekeeping: bool = False,
) -> list[dict[str, Any]]:
    """Tasks, newest first: those of studies and deliveries, and what failed. Housekeeping that did not, if it is asked
    for, or is the kind.
    """
    states = [TaskState(known("state", TaskState, state))] if state else None
    kinds = [known("kind", STEPS, kind)] if kind else None
    with node.database.read() as connection:
        quiet = () if housekeeping or kind else RECURRING
        found = queue.list_tasks(connection, states=states, kinds=kinds, quiet_kinds=quiet, limit=rows(limit))
    return [asdict(row) for row in found]


def tasks_retry(node: Node, actor: str, task: int) -> dict[str, Any]:
    """Let a dead, closed or waiting task run again now."""

    def work(connection: sa.Connection) -> None:
        queue.requeue(connection, task)
        _bring_back(connection, node, actor, task)
        node.audit.record(connection, AuditEvent(Kind.TASK_RETRIED, actor=actor, details={"task": task}))

    return _decided(node, work, task)


_MAY_RUN_AGAIN: Final = (TaskState.DEAD, TaskState.CLOSED, TaskState.READY)


def tasks_retry_all(node: Node, actor: str, state: str, kind: str | None = None) -> dict[str, Any]:
    """Let all tasks in a state, of one kind if it is given, run again now: each for itself, those that cannot with the
    reason.
    """
    query = sa.select(t.task.c.id).where(t.task.c.state == known("state", _MAY_RUN_AGAIN, state)).order_by(t.task.c.id)
    if kind:
        query = query.where(t.task.c.kind == known("kind", STEPS, kind))
    with node.database.read() as connection:
        tasks = connection.execute(query).scalars().all()
    retried: list[int] = []
    refused: list[dict[str, Any]] = []
    for task in tasks:
        try:
            tasks_retry(node, actor, task)
            retried.append(task)
        except CommandFailed as error:
            refused.append({"task": task, "reason": str(error)})
    return {"retried": retried, "refused": refused}


_OF_A_DELIVERY: Final = ("report", "make", "copy", "withdraw", "deliver")
_BACK_TO: Final = {"deidentify": RevisionState.CLOSED, "infer": RevisionState.DEIDENTIFIED}
"""Where a failed revision goes back to, so that the step which failed finds it as it left it."""


def _bring_back(connection: sa.Connection, node: Node, actor: str, task: int) -> None:
    row = connection.execute(sa.select(t.task.c.kind, t.task.c.key).where(t.task.c.id == task)).one()
    revision = row.key
    if row.kind in _OF_A_DELIVERY:
        revision = connection.execute(
            sa.select(t.delivery.c.revision_id).where(t.delivery.c.id == row.key)
        ).scalar_one()
    elif row.kind not in _BACK_TO:
        return
    state = connection.execute(sa.select(t.revision.c.state).where(t.revision.c.id == revision)).scalar_one()
    if state == RevisionState.SUPERSEDED:
        raise CommandFailed("a newer revision has replaced this one; there is nothing to retry")
    if row.kind in _BACK_TO and state == RevisionState.FAILED:
        move(connection, node.audit, row.key, _BACK_TO[row.kind], actor=actor)


def tasks_close(node: Node, actor: str, task: int, reason: str, reference: str | None = None) -> dict[str, Any]:
    """Decide that a dead or waiting task is not to be done: a code says why, `reference` where more is written."""
    why = Why.of(reason, reference)
    details: dict[str, Detail] = {"task": task, **why.details()}

    def work(connection: sa.Connection) -> None:
        queue.close(connection, task, str(why))
        _lay_down(connection, node, actor, task)
        node.audit.record(connection, AuditEvent(Kind.TASK_CLOSED, actor=actor, details=details))

    return _decided(node, work, task)


def _lay_down(connection: sa.Connection, node: Node, actor: str, task: int) -> None:
    """Let what the closed task was to bring on its way come to an end that is listed, instead of waiting for ever."""
    row = connection.execute(sa.select(t.task.c.kind, t.task.c.key).where(t.task.c.id == task)).one()
    if row.kind in _OF_A_DELIVERY:
        bury(connection, node.audit, row.key, "closed by an operator")
    elif row.kind in _BACK_TO:
        state = connection.execute(sa.select(t.revision.c.state).where(t.revision.c.id == row.key)).scalar_one()
        if state in (RevisionState.CLOSED, RevisionState.DEIDENTIFIED):
            move(connection, node.audit, row.key, RevisionState.FAILED, reason="closed by an operator", actor=actor)


def _decided(node: Node, work: Any, task: int) -> dict[str, Any]:
    try:
        node.database.retrying(work)
    except (QueueError, ValueError) as error:
        raise CommandFailed(str(error)) from None
    return {"task": task}
