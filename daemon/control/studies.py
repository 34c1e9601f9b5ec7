"""What the control socket tells of studies, and processing one again.

Studies are named by our own ids; an operator who knows only an accession number or a Patient ID asks through the
vault's commands (compliance), not here.
"""

from typing import Any, Final

import sqlalchemy as sa

from daemon.control.errors import no_such_study
from daemon.control.limits import MOST_ROWS, known, rows
from daemon.control.processing import process_again
from daemon.database import database_now
from daemon.database import schema as t
from daemon.engine.tasks import STEPS
from daemon.intake import lock
from daemon.node import Node
from daemon.queue import TaskState
from daemon.states import NEEDS_A_PERSON, DeliveryState, RevisionState, Standing

_WHOSE: Final = sa.func.coalesce(t.revision.c.former_patient_id, t.study.c.patient_id)
"""The patient whom a revision is about."""


def studies_list(node: Node, actor: str, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The newest revision of each study, latest first. With a state, those that are in it, and revisions in it that are
    to take back what was sent about a former patient: nothing takes their place.
    """
    newest = (
        sa.select(t.revision.c.study_id, sa.func.max(t.revision.c.number).label("number"))
        .group_by(t.revision.c.study_id)
        .subquery()
    )
    query = (
        sa.select(
            t.study.c.id.label("study"),
            t.patient.c.pseudonym,
            t.study.c.source,
            t.revision.c.number.label("revision"),
            t.revision.c.state,
            t.revision.c.reason,
            t.revision.c.pipeline,
            t.revision.c.updated_at,
            sa.select(sa.func.count())
            .where(t.instance.c.study_id == t.study.c.id, t.instance.c.standing == Standing.CURRENT)
            .scalar_subquery()
            .label("instances"),
        )
        .join(newest, newest.c.study_id == t.study.c.id)
        .join(t.revision, t.revision.c.study_id == t.study.c.id)
        .join(t.patient, t.patient.c.id == _WHOSE)
        .order_by(t.revision.c.updated_at.desc())
        .limit(rows(limit))
    )
    is_newest = t.revision.c.number == newest.c.number
    if state is None:
        query = query.where(is_newest)
    else:
        takes_back = t.revision.c.former_patient_id.is_not(None)
        in_state = t.revision.c.state == known("state", RevisionState, state)
        query = query.where(in_state, is_newest | (takes_back & t.revision.c.state.in_(NEEDS_A_PERSON)))
    with node.database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def studies_show(node: Node, actor: str, study: str) -> dict[str, Any]:
    """One study: its revisions, its instances by standing, its deliveries, and the tasks that it waits for."""
    with node.database.read() as connection:
        row = connection.execute(
            sa.select(t.study.c.id, t.study.c.source, t.study.c.created_at, t.patient.c.pseudonym)
            .join(t.patient, t.patient.c.id == t.study.c.patient_id)
            .where(t.study.c.id == study)
        ).first()
        if row is None:
            raise no_such_study()
        revisions = [dict(r) for r in connection.execute(_revisions(study)).mappings()]
        deliveries = [dict(r) for r in connection.execute(_deliveries(study)).mappings()]
        return {
            "study": row.id,
            "pseudonym": row.pseudonym,
            "source": row.source,
            "created_at": row.created_at,
            "revisions": revisions,
            "instances": [dict(r) for r in connection.execute(_instances(study)).mappings()],
            "deliveries": deliveries,
            "tasks": _tasks(connection, revisions, deliveries),
        }


def studies_reprocess(node: Node, actor: str, study: str) -> dict[str, Any]:
    """Make a new revision of what is current in the study and process it, whatever became of the last one. What had to
    be seen to at a destination that has the study, a person has seen to by then: they were told to do this after it.
    """

    def work(connection: sa.Connection) -> str:
        lock(connection, study)
        of_study = sa.select(t.revision.c.id).where(t.revision.c.study_id == study)
        is_there = (t.delivery.c.state == DeliveryState.HELD, t.delivery.c.status == 0)
        seen_to = sa.update(t.delivery).where(t.delivery.c.revision_id.in_(of_study), *is_there)
        connection.execute(seen_to.values(state=DeliveryState.SEEN_TO, updated_at=database_now()))
        return process_again(connection, node, actor, study, "reprocessed by an operator")

    return {"study": study, "revision": node.database.retrying(work)}


def _revisions(study: str) -> sa.Select[Any]:
    names = ("id", "number", "state", "reason", "pipeline", "forced", "opened_at", "closed_at", "updated_at")
    columns = [t.revision.c[name] for name in names]
    return (
        sa.select(*columns, t.patient.c.pseudonym)
        .join(t.study, t.study.c.id == t.revision.c.study_id)
        .join(t.patient, t.patient.c.id == _WHOSE)
        .where(t.revision.c.study_id == study)
        .order_by(t.revision.c.number)
    )


def _instances(study: str) -> sa.Select[Any]:
    names = (
        "id",
        "standing",
        "reason",
        "modality",
        "sop_class_uid",
        "transfer_syntax_uid",
        "byte_length",
        "received_at",
    )
    columns = [t.instance.c[name] for name in names]
    return sa.select(*columns).where(t.instance.c.study_id == study).order_by(t.instance.c.received_at).limit(MOST_ROWS)


def _deliveries(study: str) -> sa.Select[Any]:
    names = ("id", "destination", "report_id", "state", "attempts", "status", "outcome", "updated_at")
    columns = [t.delivery.c[name] for name in names]
    return (
        sa.select(*columns, t.revision.c.number.label("revision"))
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(t.revision.c.study_id == study)
        .order_by(t.revision.c.number, t.delivery.c.destination)
    )


def _tasks(
    connection: sa.Connection, revisions: list[dict[str, Any]], deliveries: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What is still to be done about the revisions and deliveries, and what has failed: when it is tried again, and
    what went wrong the last time.
    """
    about = {row["id"]: {"revision": row["number"], "destination": None} for row in revisions}
    about |= {row["id"]: {name: row[name] for name in ("revision", "destination")} for row in deliveries}
    names = ("id", "kind", "key", "state", "attempts", "not_before", "last_error")
    query = (
        sa.select(*(t.task.c[name] for name in names))
        .where(
            t.task.c.kind.in_(STEPS),
            t.task.c.key.in_(about),
            t.task.c.state.in_((TaskState.READY, TaskState.RUNNING, TaskState.DEAD)),
        )
        .order_by(t.task.c.id)
    )
    found = [dict(row) for row in connection.execute(query).mappings()]
    return [task | about[task.pop("key")] for task in found]
