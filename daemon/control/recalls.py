"""What a person has seen to at a destination, because it could not be taken back from here: what was sent there about a
study's former patient.
"""

from typing import Any, Final

import sqlalchemy as sa

from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.control.errors import CommandFailed
from daemon.control.reasons import Why
from daemon.database import schema as t
from daemon.intake import lock
from daemon.node import Node
from daemon.queue import TaskState
from daemon.states import DeliveryState
from daemon.steps.outbox import end_delivery, settle

_WAITS: Final = (DeliveryState.HELD, DeliveryState.DEAD)


def studies_recalled(
    node: Node, actor: str, study: str, destination: str, reason: str, reference: str | None = None
) -> dict[str, Any]:
    """Note that what a destination has of a study's former patient is seen to there, or need not be: a code says why,
    `reference` where more is written. Nobody is asked for it any longer.
    """
    why = Why.of(reason, reference)

    def work(connection: sa.Connection) -> dict[str, Any]:
        lock(connection, study)
        waiting = connection.execute(
            sa.select(t.delivery.c.id, t.delivery.c.revision_id, t.delivery.c.outcome, t.patient.c.audit_tag)
            .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
            .join(t.patient, t.patient.c.id == t.revision.c.former_patient_id)
            .where(
                t.revision.c.study_id == study,
                t.delivery.c.destination == destination,
                t.delivery.c.state.in_(_WAITS),
            )
        ).all()
        if not waiting:
            raise CommandFailed(
                "nothing about a former patient of this study waits for a person at this destination; see"
                " `kopru studies show`"
            )
        for row in waiting:
            _close_tasks(connection, row.id, why)
            outcome = f"seen to there: {why}" + (f"; before: {row.outcome}" if row.outcome else "")
            end_delivery(connection, row.id, DeliveryState.SEEN_TO, outcome)
            details: dict[str, Detail] = {"delivery": Id(row.id), "destination": Name(destination), **why.details()}
            event = AuditEvent(Kind.SEEN_TO, actor=actor, subject=row.audit_tag, details=details)
            node.audit.record(connection, event)
            settle(connection, node.audit, row.revision_id)
        return {"study": study, "destination": destination, "deliveries": [row.id for row in waiting]}

    return node.database.retrying(work)


def _close_tasks(connection: sa.Connection, delivery_id: str, why: Why) -> None:
    """Let no task for the delivery be listed as dead any longer."""
    dead = sa.select(t.task.c.id).where(t.task.c.key == delivery_id, t.task.c.state == TaskState.DEAD)
    for task in connection.execute(dead).scalars().all():
        queue.close(connection, task, str(why))
