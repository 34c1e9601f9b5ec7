"""Step 2: prepare the de-identified instances, ask the runtime, conclude, explain, outline, sign and seal the result,
open the outbox.

Sees no identity: it opens de-identified objects only. The registry says which version of the model answers, and must
still say so when the result is committed; the answer must come from the very weights of that version's package. Where
that is not so, the task waits.
"""

import hashlib
import hmac
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from daemon import queue
from daemon.attestation import attest, result_key
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.registry import Assignment, NotServed, Packages, assign
from daemon.registry.log import About, record
from daemon.settings import Destination, StorageDestination
from daemon.states import DeliveryState, RevisionState, move
from daemon.steps import shadow
from daemon.steps.asking import Answers, NoAnswer, ask, deidentified_refs, failures, why_not
from daemon.steps.heatmaps import explain
from daemon.steps.outbox import settle
from daemon.steps.outlines import outline
from daemon.steps.preparing import Prepared, prepare
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import seal_column
from pipelines.errors import InvalidOutput
from pipelines.pipeline import Pipeline
from pipelines.results import StudyResult
from runtime import ModelPackage, RuntimeFailure

KIND: Final = "infer"
_WAITS: Final = 1000  # attempts, ten minutes apart in the end: a study waits for its model


class Infer:
    """Deidentified → inferred."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Ask the model and conclude."""
        node = context.node
        revision_id = str(task.payload["revision"])
        with node.database.read() as connection:
            revision = connection.execute(
                sa.select(t.revision, t.study.c.patient_id, t.study.c.uid_tag)
                .join(t.study, t.study.c.id == t.revision.c.study_id)
                .where(t.revision.c.id == revision_id)
            ).one()
            refs = deidentified_refs(connection, revision_id)
            received = connection.execute(
                sa.select(sa.func.count())
                .select_from(t.revision_instance)
                .where(t.revision_instance.c.revision_id == revision_id)
            ).scalar_one()
            if revision.state != RevisionState.DEIDENTIFIED:
                return nothing
            pipeline, packages = context.pipelines[revision.pipeline]
            assignment, package = _assigned(context, connection, packages, revision.uid_tag)
        about = _about(context, revision, assignment)
        prepared = prepare(context, refs, pipeline, package)
        answers = _ask(context, pipeline, package, prepared, revision.priority, about)
        if assignment.shadow:  # its challenger is about to ask for the same
            context.kept.keep(refs, pipeline, package, prepared)
        try:
            concluded = pipeline.conclude(
                answers.prepared, answers.outputs, package, received_instances=received, forced=revision.forced
            )
        except InvalidOutput as error:
            raise GiveUp(str(error)) from None
        concluded = explain(context, about.patient, concluded, answers, package)
        concluded = outline(context, revision.patient_id, concluded, answers, pipeline)
        key = result_key(node.settings.runtime.result_key_file)
        result = attest(concluded, answers.outputs_sha256, key, datetime.now(UTC))
        return _commit(context, revision, packages, assignment, result, answers, about)

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The revision fails; it can be reprocessed."""
        revision_id = str(task.payload["revision"])
        audit = context.node.audit
        audit.record(
            connection, AuditEvent(Kind.INFERENCE_FAILED, actor="engine", details={"revision": Id(revision_id)})
        )
        move(connection, audit, revision_id, RevisionState.FAILED, reason=reason)


def _assigned(
    context: Context, connection: sa.Connection, packages: Packages, study_tag: str, *, lock: bool = False
) -> tuple[Assignment, ModelPackage]:
    """Which version answers about the study, and its package. A study waits for a version that is not here."""
    key = context.node.master.subkey("experiments")
    try:
        assignment = assign(connection, key, packages.model, study_tag, lock=lock)
        return assignment, packages.of(assignment.version)
    except NotServed as error:
        raise TryAgain(str(error), maximum_attempts=_WAITS) from None


def _about(context: Context, revision: sa.Row[Any], assignment: Assignment) -> About:
    return About(
        revision_id=revision.id,
        patient=context.node.keys.patient(revision.patient_id),
        patient_id=revision.patient_id,
        version_id=assignment.version.id,
        experiment_id=assignment.experiment or assignment.shadow,
        reported=True,
    )


def _ask(
    context: Context, pipeline: Pipeline, package: ModelPackage, prepared: Prepared, priority: int, about: About
) -> Answers:
    """What a version can give no answer about is logged as its failure: an experiment counts it."""
    try:
        return ask(context, pipeline, package, prepared, priority)
    except NoAnswer as error:
        raise TryAgain(str(error), maximum_attempts=_WAITS) from None
    except (RuntimeFailure, InvalidOutput) as error:
        reason = why_not(error) if isinstance(error, RuntimeFailure) else str(error)
        if isinstance(error, RuntimeFailure) and error.retryable:
            raise TryAgain(reason, maximum_attempts=_WAITS) from None
        failed = failures(prepared, error)
        raise GiveUp(reason, lambda connection: record(connection, about, failed)) from None


def _commit(
    context: Context,
    revision: sa.Row[Any],
    packages: Packages,
    assignment: Assignment,
    result: StudyResult,
    answers: Answers,
    about: About,
) -> Commit:
    node = context.node
    result_id = str(uuid.uuid4())
    sealed = seal_column(about.patient, "result", result_id, result.to_json())

    def commit(connection: sa.Connection) -> None:
        now, _ = _assigned(context, connection, packages, revision.uid_tag, lock=True)
        if now.version.id != assignment.version.id:
            raise TryAgain("another version of the model was promoted meanwhile", maximum_attempts=_WAITS)
        move(connection, node.audit, revision.id, RevisionState.INFERRED)
        connection.execute(
            sa.insert(t.result).values(
                id=result_id,
                revision_id=revision.id,
                patient_id=revision.patient_id,
                sealed_result=sealed,
                model=result.model.name,
                model_version=result.model.version,
                created_at=database_now(),
            )
        )
        record(connection, about, answers.logged)
        if assignment.shadow and answers.logged:
            payload = {"revision": revision.id, "experiment": assignment.shadow}
            queue.enqueue(connection, shadow.KIND, revision.id, payload, priority=shadow.PRIORITY)
        details: dict[str, Detail] = {
            "revision": Id(revision.id),
            "model": Name(result.model.name),
            "version": Name(f"v{result.model.version}"),
            "weights": Id(result.model.weights_sha256),
            "analysable": result.analysable,
        }
        node.audit.record(connection, AuditEvent(Kind.INFERRED, actor="engine", details=details))
        _open_outbox(context, connection, revision, result)

    return commit


def _open_outbox(context: Context, connection: sa.Connection, revision: sa.Row[Any], result: StudyResult) -> None:
    """A delivery for each destination, with the task that makes its document."""
    node = context.node
    report_key = node.keys.patient(revision.patient_id).subkey("report")
    for destination in node.settings.destinations:
        if isinstance(destination, StorageDestination) and not destination.takes(result.pipeline):
            continue
        delivery_id = str(uuid.uuid4())
        withheld = result.model.research_only and not _may_have_research(destination)
        connection.execute(
            sa.insert(t.delivery).values(
                id=delivery_id,
                revision_id=revision.id,
                destination=destination.name,
                report_id=report_id_of(report_key, revision.uid_tag, result.pipeline),
                patient_id=revision.patient_id,
                state=DeliveryState.WITHHELD if withheld else DeliveryState.PENDING,
                created_at=database_now(),
                updated_at=database_now(),
            )
        )
        if not withheld:
            kind = {"pacs": "make", "dicom": "copy"}.get(destination.kind, "report")
            queue.enqueue(connection, kind, delivery_id, {"delivery": delivery_id}, priority=revision.priority)
    settle(connection, node.audit, revision.id)


def _may_have_research(destination: Destination) -> bool:
    """An EHR gets reports of research models, and a PACS what they made, only where the site has confirmed it; a local
    directory is neither, and a destination of kind `dicom` gets what it gets of a model's where its settings say so.
    """
    return destination.kind not in ("fhir", "pacs") or destination.confirm_research


def report_id_of(key: bytes, study_tag: str, pipeline: str) -> str:
    """The report's id: a UUID (RFC 9562 version 8), the same for all revisions of a study and pipeline, also after
    the index was rebuilt, and meaningless without the patient's key.
    """
    digest = hmac.new(key, f"{study_tag}/{pipeline}".encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return str(uuid.UUID(int=number))
