"""What the control socket tells of the daemon as a whole: how much of what there is, what waits for a person, what
was refused.
"""

import json
import time
from typing import Any, Final

import sqlalchemy as sa

from adapters.storage import StoreError
from daemon import queue
from daemon.audit import Kind
from daemon.control.routes import without_route
from daemon.database import schema as t
from daemon.intake import Backlog, backlog
from daemon.node import Node
from daemon.queue import TaskState
from daemon.states import NEEDS_A_PERSON, Standing
from runtime import RuntimeFailure

_RECENT_SECONDS: Final = 86_400.0


def status(node: Node, actor: str) -> dict[str, Any]:
    """How the daemon is: counts, what waits for a person, what was refused in the last day."""
    runtime, models = _runtime_state(node)
    with node.database.read() as connection:
        revisions = _counted(connection, t.revision.c.state)
        instances = _counted(connection, t.instance.c.standing)
        tasks = {f"{kind}/{state}": number for (kind, state), number in queue.counts(connection).items()}
        incidents = connection.execute(
            sa.select(
                t.intake_event.c.kind,
                t.intake_event.c.source,
                t.intake_event.c.peer,
                t.intake_event.c.status,
                t.intake_event.c.detail,
                sa.func.count().label("times"),
                sa.func.max(t.intake_event.c.at).label("last_at"),
            )
            .where(t.intake_event.c.at > time.time() - _RECENT_SECONDS, t.intake_event.c.detail != "")
            .group_by(*(t.intake_event.c[name] for name in ("kind", "source", "peer", "status", "detail")))
            .order_by(sa.desc("last_at"))
            .limit(50)
        ).mappings()
        refused = [dict(row) for row in incidents]
        set_aside = [
            dict(row)
            for row in connection.execute(
                sa.select(t.instance.c.id, t.instance.c.reason, t.instance.c.received_at)
                .where(t.instance.c.standing == Standing.QUARANTINED)
                .order_by(t.instance.c.received_at.desc())
                .limit(50)
            ).mappings()
        ]
        unsealed = connection.execute(
            sa.select(sa.func.count()).select_from(t.audit_event).where(t.audit_event.c.log_index.is_(None))
        ).scalar_one()
        sealed = connection.execute(sa.select(sa.func.max(t.audit_head.c.size))).scalar_one() or 0
        open_associations = connection.execute(
            sa.select(sa.func.count()).select_from(t.association).where(t.association.c.state == "open")
        ).scalar_one()
        put_back = _put_back(connection)
    return {
        "node": node.settings.node.name,
        "revisions": revisions,
        "instances": instances,
        "tasks": tasks,
        "put_back": put_back,
        "open_associations": open_associations,
        "set_aside": set_aside,
        "needs_a_person": sum(revisions.get(state, 0) for state in NEEDS_A_PERSON)
        + instances.get(Standing.QUARANTINED, 0),
        "refused_last_day": refused,
        "index": _index_state(node),
        "audit": {"sealed": sealed, "unsealed": unsealed},
        "store_free_bytes": _store_free_bytes(node),
        "runtime": runtime,
        "without_route": models,
    }


def _index_state(node: Node) -> dict[str, Any]:
    """What is stored and not indexed, since when, and the kind of the last day's last failure to index."""
    try:
        waits: Backlog | None = backlog(node)
    except (StoreError, OSError):  # then `last_error` says more, and the rest of the answer is needed all the more
        waits = None
    failures = sa.select(t.audit_event.c.body, t.audit_event.c.at).where(
        t.audit_event.c.kind == Kind.INDEXING_FAILED, t.audit_event.c.at > time.time() - _RECENT_SECONDS
    )
    with node.database.read() as connection:
        last = connection.execute(failures.order_by(t.audit_event.c.id.desc()).limit(1)).first()
    return {
        "waiting": waits.waiting if waits else None,
        "oldest_seconds": waits.oldest_seconds if waits else None,
        "last_error": last and {"at": last.at, "error": json.loads(last.body)["details"]["error"]},
    }


def _store_free_bytes(node: Node) -> int | None:
    """What is free in the object store; None while it cannot be reached."""
    try:
        return node.store.free_bytes()
    except (StoreError, OSError):
        return None


def _counted(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    counts = connection.execute(sa.select(column, sa.func.count()).group_by(column)).tuples()
    return dict(counts.all())


def _put_back(connection: sa.Connection) -> list[dict[str, Any]]:
    """Of each kind of task: how many failed and are to be tried again, since when the first, what the last one said."""
    waits = (t.task.c.state == TaskState.READY, t.task.c.last_error.is_not(None))
    newest = sa.select(sa.func.max(t.task.c.updated_at)).where(*waits).group_by(t.task.c.kind)
    counted = sa.select(t.task.c.kind, sa.func.count(), sa.func.min(t.task.c.created_at)).where(*waits)
    said = connection.execute(
        sa.select(t.task.c.kind, t.task.c.last_error).where(*waits, t.task.c.updated_at.in_(newest))
    ).tuples()
    last = dict(said.all())
    rows = connection.execute(counted.group_by(t.task.c.kind).order_by(t.task.c.kind)).tuples()
    return [{"kind": kind, "count": count, "since": since, "last_error": last[kind]} for kind, count, since in rows]


def _runtime_state(node: Node) -> tuple[str, list[dict[str, Any]]]:
    """`ready` or why not, and what cannot answer although it is."""
    try:
        return "ready", without_route(node, node.runtime.health())
    except RuntimeFailure as error:
        return type(error).__name__, []
