"""What the control socket answers: one function a command, from a `Node` and arguments to JSON values. No identity
in any.

Studies are named by our own ids; an operator who knows only an accession number or a Patient ID asks through the
vault's commands (compliance), not here.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from adapters.storage import StoreError
from daemon import queue
from daemon.audit import AuditError, AuditEvent, Detail, Kind, PublicKey, public_key_path, verify
from daemon.audit.export import export
from daemon.control.answers import report_as_json
from daemon.control.contradictions import studies_correct, studies_keep
from daemon.control.drift import models_drift
from daemon.control.errors import CommandFailed, no_such_study
from daemon.control.limits import MOST_ROWS, rows
from daemon.control.models import (
    models_experiment_show,
    models_experiment_start,
    models_experiment_stop,
    models_feedback,
    models_promote,
    models_rollback,
    models_versions,
)
from daemon.control.processing import process_again
from daemon.control.quarantine import (
    quarantine_list,
    quarantine_reject,
    quarantine_release,
    quarantine_restore,
    quarantine_retry,
)
from daemon.control.reasons import Why
from daemon.control.recalls import studies_recalled
from daemon.control.results import studies_verify
from daemon.control.server import Command
from daemon.database import database_now
from daemon.database import schema as t
from daemon.engine.schedule import RECURRING
from daemon.engine.tasks import STEPS
from daemon.intake import Backlog, backlog, lock
from daemon.node import Node
from daemon.queue import QueueError, TaskState
from daemon.states import NEEDS_A_PERSON, DeliveryState, RevisionState, Standing, move
from daemon.steps.outbox import bury
from runtime import RuntimeFailure

_RECENT_SECONDS: Final = 86_400.0
_WHOSE: Final = sa.func.coalesce(t.revision.c.former_patient_id, t.study.c.patient_id)
"""The patient whom a revision is about."""


def status(node: Node, actor: str) -> dict[str, Any]:
    """How the daemon is: counts, what waits for a person, what was refused in the last day."""
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
    return {
        "node": node.settings.node.name,
        "revisions": revisions,
        "instances": instances,
        "tasks": tasks,
        "open_associations": open_associations,
        "set_aside": set_aside,
        "needs_a_person": sum(revisions.get(state, 0) for state in NEEDS_A_PERSON)
        + instances.get(Standing.QUARANTINED, 0),
        "refused_last_day": refused,
        "index": _index_state(node),
        "audit": {"sealed": sealed, "unsealed": unsealed},
        "store_free_bytes": _store_free_bytes(node),
        "runtime": _runtime_state(node),
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
        in_state = t.revision.c.state == _known("state", RevisionState, state)
        query = query.where(in_state, is_newest | (takes_back & t.revision.c.state.in_(NEEDS_A_PERSON)))
    with node.database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def studies_show(node: Node, actor: str, study: str) -> dict[str, Any]:
    """One study: its revisions, its instances by standing, its deliveries."""
    with node.database.read() as connection:
        row = connection.execute(
            sa.select(t.study.c.id, t.study.c.source, t.study.c.created_at, t.patient.c.pseudonym)
            .join(t.patient, t.patient.c.id == t.study.c.patient_id)
            .where(t.study.c.id == study)
        ).first()
        if row is None:
            raise no_such_study()
        return {
            "study": row.id,
            "pseudonym": row.pseudonym,
            "source": row.source,
            "created_at": row.created_at,
            "revisions": [dict(r) for r in connection.execute(_revisions(study)).mappings()],
            "instances": [dict(r) for r in connection.execute(_instances(study)).mappings()],
            "deliveries": [dict(r) for r in connection.execute(_deliveries(study)).mappings()],
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
    states = [TaskState(_known("state", TaskState, state))] if state else None
    kinds = [_known("kind", STEPS, kind)] if kind else None
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
    query = sa.select(t.task.c.id).where(t.task.c.state == _known("state", _MAY_RUN_AGAIN, state)).order_by(t.task.c.id)
    if kind:
        query = query.where(t.task.c.kind == _known("kind", STEPS, kind))
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


def audit_verify(node: Node, actor: str) -> dict[str, Any]:
    """Check the whole log against its signed heads; that it was checked, and what came out, is recorded in turn."""
    heads_file = node.settings.audit.heads_directory / "heads.jsonl"
    try:
        report = verify(node.database, _public_key(node), heads_file)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; see audit.heads_directory") from None
    event = AuditEvent(
        Kind.LOG_VERIFIED,
        actor=actor,
        details={"size": report.size, "problems": len(report.problems) + report.omitted},
    )
    node.database.retrying(lambda connection: node.audit.record(connection, event))
    return report_as_json(report)


def _public_key(node: Node) -> PublicKey:
    try:
        return PublicKey.read(public_key_path(node.settings.audit.signing_key_file))
    except AuditError as error:
        raise CommandFailed(str(error)) from None


def audit_tail(node: Node, actor: str, count: int = 20) -> list[dict[str, Any]]:
    """The last events, oldest first."""
    query = sa.select(t.audit_event.c.body, t.audit_event.c.log_index).order_by(t.audit_event.c.id.desc())
    with node.database.read() as connection:
        found = connection.execute(query.limit(rows(count))).all()
    return [{"event": row.body.decode(), "log_index": row.log_index} for row in reversed(found)]


def audit_export(node: Node, actor: str) -> Iterator[str]:
    """The sealed log as the lines of an export file."""
    key = _public_key(node)
    event = AuditEvent(Kind.LOG_EXPORTED, actor=actor)
    node.database.retrying(lambda connection: node.audit.record(connection, event))
    with tempfile.TemporaryDirectory(dir=node.settings.node.data) as folder:
        path = Path(folder) / "export"
        export(node.database, path, key)
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")


def models_list(node: Node, actor: str) -> list[Any]:
    """The models that the runtime serves."""
    try:
        return [model.model_dump(mode="json") for model in node.runtime.models()]
    except RuntimeFailure as error:
        raise CommandFailed(f"the model runtime does not answer ({type(error).__name__}); see the log") from None


COMMANDS: Final[Mapping[str, Command]] = {
    "status": status,
    "studies.list": studies_list,
    "studies.show": studies_show,
    "studies.reprocess": studies_reprocess,
    "studies.verify": studies_verify,
    "studies.keep": studies_keep,
    "studies.correct": studies_correct,
    "studies.recalled": studies_recalled,
    "quarantine.list": quarantine_list,
    "quarantine.release": quarantine_release,
    "quarantine.reject": quarantine_reject,
    "quarantine.restore": quarantine_restore,
    "quarantine.retry": quarantine_retry,
    "tasks.list": tasks_list,
    "tasks.retry": tasks_retry,
    "tasks.retry-all": tasks_retry_all,
    "tasks.close": tasks_close,
    "audit.verify": audit_verify,
    "audit.tail": audit_tail,
    "audit.export": audit_export,
    "models.list": models_list,
    "models.drift": models_drift,
    "models.versions": models_versions,
    "models.promote": models_promote,
    "models.rollback": models_rollback,
    "models.experiment-start": models_experiment_start,
    "models.experiment-stop": models_experiment_stop,
    "models.experiment-show": models_experiment_show,
    "models.feedback": models_feedback,
}


def _counted(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    counts = connection.execute(sa.select(column, sa.func.count()).group_by(column)).tuples()
    return dict(counts.all())


def _runtime_state(node: Node) -> str:
    try:
        node.runtime.models()
    except RuntimeFailure as error:
        return type(error).__name__
    return "ready"


def _known(what: str, there_are: Iterable[str], text: str) -> str:
    if text not in set(there_are):
        raise CommandFailed(f"there is no such {what}; there are: {', '.join(there_are)}", 2)
    return text


def _decided(node: Node, work: Any, task: int) -> dict[str, Any]:
    try:
        node.database.retrying(work)
    except (QueueError, ValueError) as error:
        raise CommandFailed(str(error)) from None
    return {"task": task}


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
