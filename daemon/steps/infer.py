"""Step 2: prepare the de-identified instances, ask the runtime, conclude, seal the result, open the outbox.

Sees no identity: it opens de-identified objects only. The answer must come from the very weights of the package whose
labels are used; if the runtime has loaded another version meanwhile, the task waits.
"""

import hashlib
import hmac
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance
from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.queue import Task
from daemon.settings import Destination, DicomDestination
from daemon.states import DeliveryState, RevisionState, move
from daemon.steps.outbox import settle
from daemon.steps.step import Commit, Context, GiveUp, TryAgain, nothing
from daemon.vault import seal_column
from pipelines.errors import InvalidOutput
from pipelines.pipeline import NotAnalysable, Pipeline, PreparedInput
from pipelines.results import StudyResult
from runtime import ModelPackage, RuntimeFailure

KIND: Final = "infer"
_TIMEOUT_SECONDS: Final = 60.0
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
            rows = connection.execute(
                sa.select(t.revision_instance.c.deidentified_ref).where(
                    t.revision_instance.c.revision_id == revision_id
                )
            ).scalars()
            refs = [ref for ref in rows if ref]
            received = connection.execute(
                sa.select(sa.func.count())
                .select_from(t.revision_instance)
                .where(t.revision_instance.c.revision_id == revision_id)
            ).scalar_one()
        if revision.state != RevisionState.DEIDENTIFIED:
            return nothing
        pipeline, package = context.pipelines[revision.pipeline]
        files = [node.store.open(ObjectRef.parse(ref))[1] for ref in sorted(refs)]
        prepared = context.workers.call(_prepare, pipeline, files, package)
        outputs = _ask(context, package, prepared, revision.priority)
        try:
            result = pipeline.conclude(prepared, outputs, package, received_instances=received, forced=revision.forced)
        except InvalidOutput as error:
            raise GiveUp(str(error)) from None
        return _commit(context, revision_id, revision.uid_tag, revision.patient_id, result, revision.priority)

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The revision fails; it can be reprocessed."""
        revision_id = str(task.payload["revision"])
        audit = context.node.audit
        audit.record(
            connection, AuditEvent(Kind.INFERENCE_FAILED, actor="engine", details={"revision": Id(revision_id)})
        )
        move(connection, audit, revision_id, RevisionState.FAILED, reason=reason)


def _prepare(
    pipeline: Pipeline, files: Sequence[bytes], package: ModelPackage
) -> tuple[PreparedInput | NotAnalysable, ...]:
    """In a worker process: decodes untrusted pixels."""
    return pipeline.prepare([DeidentifiedInstance.from_bytes(file) for file in files], package)


def _ask(
    context: Context, package: ModelPackage, prepared: Sequence[PreparedInput | NotAnalysable], priority: int
) -> Mapping[str, npt.NDArray[np.float32]]:
    """The model's output for each prepared instance. A package has one input and one output (checked when it is
    loaded).
    """
    outputs: dict[str, npt.NDArray[np.float32]] = {}
    for item in prepared:
        if isinstance(item, NotAnalysable):
            continue
        try:
            answer = context.node.runtime.infer(
                package.name,
                {package.inputs[0].name: item.tensor[np.newaxis]},
                priority=priority,
                timeout_seconds=_TIMEOUT_SECONDS,
            )
        except RuntimeFailure as error:
            reason = f"the runtime gave no answer: {type(error).__name__}"
            if error.retryable:
                raise TryAgain(reason, maximum_attempts=_WAITS) from None
            raise GiveUp(reason) from None
        if answer.weights_sha256 != package.weights_sha256:
            raise TryAgain("the runtime has loaded another version of the model", maximum_attempts=_WAITS)
        outputs[item.sop_instance_uid] = answer.outputs[package.outputs[0].name][0]
    return outputs


def _commit(
    context: Context, revision_id: str, study_tag: str, patient_id: str, result: StudyResult, priority: int
) -> Commit:
    node = context.node
    result_id = str(uuid.uuid4())
    sealed = seal_column(node.keys.patient(patient_id), "result", result_id, result.to_json())
    report_id = report_id_of(node.keys.patient(patient_id).subkey("report"), study_tag, result.pipeline)

    def commit(connection: sa.Connection) -> None:
        move(connection, node.audit, revision_id, RevisionState.INFERRED)
        connection.execute(
            sa.insert(t.result).values(
                id=result_id,
                revision_id=revision_id,
                patient_id=patient_id,
                sealed_result=sealed,
                model=result.model.name,
                model_version=result.model.version,
                created_at=database_now(),
            )
        )
        details: dict[str, Detail] = {
            "revision": Id(revision_id),
            "model": Name(result.model.name),
            "version": Name(f"v{result.model.version}"),
            "weights": Id(result.model.weights_sha256),
            "analysable": result.analysable,
        }
        node.audit.record(connection, AuditEvent(Kind.INFERRED, actor="engine", details=details))
        for destination in node.settings.destinations:
            if isinstance(destination, DicomDestination) and not destination.takes(result.pipeline):
                continue
            delivery_id = str(uuid.uuid4())
            withheld = result.model.research_only and not _may_have_research(destination)
            connection.execute(
                sa.insert(t.delivery).values(
                    id=delivery_id,
                    revision_id=revision_id,
                    destination=destination.name,
                    report_id=report_id,
                    patient_id=patient_id,
                    state=DeliveryState.WITHHELD if withheld else DeliveryState.PENDING,
                    created_at=database_now(),
                    updated_at=database_now(),
                )
            )
            if not withheld:
                kind = "copy" if isinstance(destination, DicomDestination) else "report"
                queue.enqueue(connection, kind, delivery_id, {"delivery": delivery_id}, priority=priority)
        settle(connection, node.audit, revision_id)

    return commit


def _may_have_research(destination: Destination) -> bool:
    """An EHR gets reports of research models only where the site has confirmed it; a local directory is no EHR, and a
    DICOM destination gets nothing of a model's.
    """
    return destination.kind != "fhir" or destination.confirm_research


def report_id_of(key: bytes, study_tag: str, pipeline: str) -> str:
    """The report's id: a UUID (RFC 9562 version 8), the same for all revisions of a study and pipeline, also after
    the index was rebuilt, and meaningless without the patient's key.
    """
    digest = hmac.new(key, f"{study_tag}/{pipeline}".encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return str(uuid.UUID(int=number))
