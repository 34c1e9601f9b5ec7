"""Keeps what a model outlines in a volume: a DICOM Segmentation, sealed under the patient's key, named by the result
that is signed over it; and opens it for an archive that may have it.

Sees no identity: it is made of what was read of de-identified slices, under the pseudonym that they have.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance, PatientPseudonym
from daemon.node import Node
from daemon.steps.asking import Answers
from daemon.steps.step import Context, GiveUp
from pipelines.pipeline import Pipeline, PreparedInput
from pipelines.results import ModelIdentity, Outline, StudyResult
from pipelines.segmentation import Segment, as_instance, make_segmentation
from pipelines.series import Volume


def outline(
    context: Context, patient_id: str, result: StudyResult, answers: Answers, pipeline: Pipeline
) -> StudyResult:
    """The result with its outlines, which are in the store: one for each volume in which anything was found."""
    made = []
    for item in answers.prepared:
        if not isinstance(item, PreparedInput) or item.volume is None:
            continue
        if segments := pipeline.segments(answers.outputs[item.sop_instance_uid]):
            pseudonym = context.node.vault.pseudonym(patient_id)
            segmentation = context.workers.call(_make, item.volume, segments, result.model, pseudonym)
            made.append(_keep(context.node, patient_id, item.sop_instance_uid, segmentation))
    return replace(result, outlines=tuple(made))


def open_outline(node: Node, made: Outline) -> DeidentifiedInstance:
    """The Segmentation. Raises `GiveUp` for one that is not what the result says, and the store's errors."""
    opened = DeidentifiedInstance.from_bytes(node.store.open(ObjectRef.parse(made.segmentation))[1])
    if _digest(opened) != made.segmentation_sha256:
        raise GiveUp("a segmentation is not the one that the result was signed with; reprocess the study")
    return opened


def _make(
    volume: Volume, segments: Sequence[Segment], model: ModelIdentity, patient: PatientPseudonym
) -> DeidentifiedInstance:
    """In a worker process: a whole volume is in memory."""
    return as_instance(make_segmentation(volume, segments, model, patient))


def _keep(node: Node, patient_id: str, uid: str, made: DeidentifiedInstance) -> Outline:
    ref = node.store.put_derived(node.keys.patient(patient_id), made.kept_form())
    return Outline(uid, str(ref), _digest(made))


def _digest(made: DeidentifiedInstance) -> str:
    return hashlib.sha256(made.file).hexdigest()
