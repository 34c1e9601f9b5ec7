"""Asking a model about a revision's de-identified instances: shared by the step that reports and the one that shadows.

Sees no identity. An answer counts only if it comes from the very weights of the package whose labels are used, and
where the package has a gate, only if the runtime has judged the input by it and found that it fits. What is logged of
it is what the pipeline finds in it, as a report would say it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from daemon.database import schema as t
from daemon.registry.log import Logged, Run
from daemon.steps.preparing import Prepared
from daemon.steps.step import Context
from pipelines.pipeline import NotAnalysable, Pipeline, PreparedInput
from runtime import InferenceResult, ModelPackage, NoRoute, RuntimeFailure
from runtime.package import Role
from runtime.tensors import digest
from runtime.verdict import Verdict

_TIMEOUT_SECONDS: Final = 60.0


class NoAnswer(Exception):
    """What the runtime said is no answer of the package's: of other weights, or not judged by its gate. It may be later
    on. The message holds no data.
    """


@dataclass(frozen=True)
class Answers:
    """What the model said: `outputs` that the package's labels are about, (labels,), and the SHA-256 of all outputs, by
    SOP Instance UID. In `prepared`, what the gate refused is not analysable any more. `heatmaps` are (labels, rows,
    columns) in [0, 1], where the package has an output with that role.
    """

    prepared: Prepared
    outputs: Mapping[str, npt.NDArray[np.float32]]
    outputs_sha256: Mapping[str, str]
    logged: tuple[Logged, ...]
    heatmaps: Mapping[str, npt.NDArray[np.float32]]


def deidentified_refs(connection: sa.Connection, revision_id: str) -> list[str]:
    """Where the revision's de-identified instances lie."""
    query = sa.select(t.revision_instance.c.deidentified_ref).where(t.revision_instance.c.revision_id == revision_id)
    return [ref for ref in connection.execute(query).scalars() if ref]


def ask(context: Context, pipeline: Pipeline, package: ModelPackage, prepared: Prepared, priority: int) -> Answers:
    """Ask about each prepared instance. A package's first input and first output are those that the pipeline knows.

    Raises `runtime.RuntimeFailure`, `NoAnswer`, `pipelines.errors.InvalidOutput`.
    """
    judged: list[PreparedInput | NotAnalysable] = []
    outputs: dict[str, npt.NDArray[np.float32]] = {}
    digests: dict[str, str] = {}
    heatmaps: dict[str, npt.NDArray[np.float32]] = {}
    heatmap = package.output(Role.HEATMAP)
    logged = []
    for item in prepared:
        if isinstance(item, NotAnalysable):
            judged.append(item)
            continue
        began = time.monotonic()
        answer = context.node.runtime.infer(
            package.name,
            {package.inputs[0].name: item.tensor[np.newaxis]},
            version=package.version,
            priority=priority,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        run = _run(answer, (time.monotonic() - began) * 1000)
        verdict = _verdict(package, answer)
        if verdict is not None and not verdict.fits:
            judged.append(item.refused(verdict.sentence))
            logged.append(Logged(item.sop_instance_uid, item.sha256, run))
            continue
        judged.append(item)
        outputs[item.sop_instance_uid] = answer.outputs[package.outputs[0].name][0]
        digests[item.sop_instance_uid] = digest(answer.outputs)
        if heatmap is not None and heatmap.name in answer.outputs:
            heatmaps[item.sop_instance_uid] = answer.outputs[heatmap.name][0]
        found = pipeline.findings(item, outputs[item.sop_instance_uid], package)
        scores = {finding.label: finding.probability for finding in found}
        present = [finding.label for finding in found if finding.present]
        logged.append(Logged(item.sop_instance_uid, item.sha256, run, scores, present))
    return Answers(tuple(judged), outputs, digests, tuple(logged), heatmaps)


def _verdict(package: ModelPackage, answer: InferenceResult) -> Verdict | None:
    """What the package's gate says of the one sample, None without a gate. Raises `NoAnswer`."""
    if answer.weights_sha256 != package.weights_sha256:
        raise NoAnswer("the runtime has loaded another version of the model")
    if package.gate is None:
        return None
    if len(answer.gate) != 1:
        raise NoAnswer("the runtime has not judged the input by the package's gate")
    return answer.gate[0]


def why_not(error: RuntimeFailure) -> str:
    """Why the runtime gave no answer, for the task: where no route can be gone, for each of them why not.

    Of other errors the kind alone: who waits for the model must see what to mend, and the rest is in the runtime's log.
    """
    return f"the runtime gave no answer: {error if isinstance(error, NoRoute) else type(error).__name__}"


def failures(prepared: Prepared, error: Exception) -> tuple[Logged, ...]:
    """What is logged where the model gave no answer about these."""
    return tuple(
        Logged(item.sop_instance_uid, item.sha256, failure=type(error).__name__)
        for item in prepared
        if isinstance(item, PreparedInput)
    )


def _run(answer: InferenceResult, latency_ms: float) -> Run:
    return Run(
        route=answer.device,
        precision=answer.precision,
        batch_size=answer.batch_size,
        queue_ms=answer.queue_seconds * 1000,
        run_ms=answer.run_seconds * 1000,
        latency_ms=latency_ms,
        cached=answer.cached,
        gate=answer.gate[0] if answer.gate else None,
    )
