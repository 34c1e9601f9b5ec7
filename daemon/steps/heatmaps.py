"""Keeps what a model says about where its answer comes from: pictures, sealed under the patient's key, named by the
result that is signed over them; and opens them for a report.

Sees no identity. A study has `MOST_PICTURES` at most, each bounded (`pipelines.heatmap.MAX_BYTES`): the labels that are
present, or the likeliest of each instance where none is, the most probable first.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Final

import sqlalchemy as sa
from PIL import Image

from adapters.fhir import Heatmap
from adapters.keys import PatientEntry
from adapters.storage import ObjectRef
from daemon.database import schema as t
from daemon.node import Node
from daemon.steps.asking import Answers
from daemon.steps.step import Context, GiveUp
from daemon.vault import open_column
from pipelines.heatmap import MAX_BYTES, Explained, draw
from pipelines.pipeline import PreparedInput
from pipelines.results import Explanation, Finding, InstanceOutcome, StudyResult
from runtime import ModelPackage
from runtime.package import Grayscale, NoPreprocessing

MOST_PICTURES: Final = 4


def explain(
    context: Context, patient: PatientEntry, result: StudyResult, answers: Answers, package: ModelPackage
) -> StudyResult:
    """The result with its explanations, whose pictures are in the store. Without heatmaps it stays as it is."""
    chosen = _chosen(result.outcomes, answers)
    if not chosen:
        return result
    tensors = {item.sop_instance_uid: item.tensor for item in answers.prepared if isinstance(item, PreparedInput)}
    index = {label.name: label.index for label in package.labels}
    asked = [
        Explained(tensors[uid], answers.heatmaps[uid][index[finding.label]], finding, result.model)
        for uid, finding in chosen
    ]
    pictures = context.workers.call(_draw, asked, package.preprocessing)
    kept = [
        _keep(context.node, patient, uid, finding, picture)
        for (uid, finding), picture in zip(chosen, pictures, strict=True)
    ]
    return replace(result, explanations=tuple(kept))


def open_heatmaps(node: Node, result: StudyResult) -> tuple[Heatmap, ...]:
    """The result's pictures, as a report takes them. Raises `GiveUp` for one that is not what the result says, and the
    store's errors.
    """
    return tuple(_open(node, result, explanation) for explanation in result.explanations)


def made_with_results(node: Node, study_id: str, patient_id: str) -> list[ObjectRef]:
    """Where the pictures and outlines of a study's results lie: only the sealed results name them."""
    query = (
        sa.select(t.result.c.id, t.result.c.sealed_result)
        .join(t.revision, t.revision.c.id == t.result.c.revision_id)
        .where(t.revision.c.study_id == study_id, t.result.c.patient_id == patient_id)
    )
    with node.database.read() as connection:
        rows = connection.execute(query).all()
    entry = node.keys.patient(patient_id)
    results = [StudyResult.from_json(open_column(entry, "result", row.id, row.sealed_result)) for row in rows]
    pictures = [explanation.picture for result in results for explanation in result.explanations]
    outlines = [outline.segmentation for result in results for outline in result.outlines]
    return [ObjectRef.parse(ref) for ref in pictures + outlines]


def _chosen(outcomes: Sequence[InstanceOutcome], answers: Answers) -> list[tuple[str, Finding]]:
    """Which findings of which instances get a picture."""
    found = [
        (outcome.sop_instance_uid, finding)
        for outcome in outcomes
        if outcome.findings and outcome.sop_instance_uid in answers.heatmaps
        for finding in _telling(outcome.findings)
    ]
    return sorted(found, key=lambda item: (not item[1].present, -item[1].probability))[:MOST_PICTURES]


def _telling(findings: Sequence[Finding]) -> list[Finding]:
    present = [finding for finding in findings if finding.present]
    return present or [max(findings, key=lambda finding: finding.probability)]


def _draw(asked: Sequence[Explained], preprocessing: Grayscale | NoPreprocessing) -> list[bytes]:
    """In a worker process."""
    return [draw(explained, preprocessing) for explained in asked]


def _keep(node: Node, patient: PatientEntry, uid: str, finding: Finding, picture: bytes) -> Explanation:
    assert len(picture) <= MAX_BYTES
    columns, rows = Image.open(BytesIO(picture)).size
    ref = node.store.put_derived(patient, picture)
    return Explanation(uid, finding.label, rows, columns, str(ref), hashlib.sha256(picture).hexdigest())


def _open(node: Node, result: StudyResult, explanation: Explanation) -> Heatmap:
    _, picture = node.store.open(ObjectRef.parse(explanation.picture))
    if hashlib.sha256(picture).hexdigest() != explanation.picture_sha256:
        raise GiveUp("a heatmap is not the one that the result was signed with; reprocess the study")
    coding = next(
        finding.coding
        for outcome in result.outcomes
        if outcome.sop_instance_uid == explanation.sop_instance_uid
        for finding in outcome.findings
        if finding.label == explanation.label
    )
    return Heatmap(explanation.label, coding, explanation.rows, explanation.columns, picture)
