"""Keeps watch over one version of a model: judges each sample by the package's gate, counts it for drift.

`guarded` is the one place where the host meets this: what was asked and what was answered pass through `Watch.see`,
whichever route answered. What is kept is counts and nothing else (`runtime.drift`), and only in this process.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from runtime.drift import FeatureDrift, Reference, Window, compare
from runtime.errors import BackendFailure, RuntimeFailure
from runtime.gate import Gate, withhold
from runtime.inference import Array, InferenceResult, Tensors
from runtime.package import ModelPackage, Role
from runtime.traits import measure
from runtime.verdict import Verdict


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How a version of a model is doing. `judged` and `refused` count samples since the process started; `features`
    compare the latest `samples` with the package's reference, and are empty before there are any, or without one.
    """

    model: str
    version: str
    judged: int
    refused: dict[Verdict, int]
    samples: int
    features: tuple[FeatureDrift, ...]


class Watch:
    """The gate and the window of one version of a model. Safe to use from several threads."""

    def __init__(self, package: ModelPackage, gate: Gate | None, reference: Reference | None) -> None:
        self._description = package.description
        self._gate = gate
        self._reference = reference
        self._window = Window(reference) if reference else None
        self._levels = gate.levels if gate and reference and gate.levels == reference.levels else None
        self._judged = 0
        self._refused: dict[Verdict, int] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, package: ModelPackage) -> Self | None:
        """The watch over a package, None if it brings nothing to watch by. Raises `PackageError` for a gate or a
        reference that cannot be read, or is not one of this package.
        """
        gate, reference = Gate.of(package), Reference.of(package)
        return cls(package, gate, reference) if gate or reference else None

    @property
    def model(self) -> str:
        """The model's name."""
        return self._description.name

    def see(self, inputs: Tensors, result: InferenceResult) -> InferenceResult:
        """The answer as it may leave: with a verdict on each sample, and without what a refused one would get."""
        first = inputs[self._description.inputs[0].name]
        embeddings = self._output(result, Role.EMBEDDING)
        measured = measure(first, *self._levels) if self._levels else None  # once, for both
        verdicts = self._gate.judge(first, embeddings, measured) if self._gate else ()
        features = (
            self._reference.measure(first, embeddings, self._output(result, Role.SCORES), measured)
            if self._reference
            else {}
        )
        with self._lock:
            self._judged += len(verdicts)
            for verdict in verdicts:
                if not verdict.fits:
                    self._refused[verdict] = self._refused.get(verdict, 0) + 1
            if self._window is not None:
                self._window.add(features)
        if not verdicts:
            return result
        return replace(result, outputs=withhold(result.outputs, verdicts), gate=verdicts)

    def report(self) -> DriftReport:
        """How far the latest samples are from the reference."""
        with self._lock:
            counts = self._window.counts() if self._window else {}
            samples = self._window.samples if self._window else 0
            judged, refused = self._judged, dict(self._refused)
        features = compare(self._reference, counts) if self._reference else ()
        return DriftReport(self._description.name, self._description.version, judged, refused, samples, features)

    def _output(self, result: InferenceResult, role: Role) -> Array | None:
        spec = self._description.output(role)
        return result.outputs[spec.name] if spec else None


def guarded(watch: Watch, inputs: Tensors, ask: Callable[[], Future[InferenceResult]]) -> Future[InferenceResult]:
    """What `ask` gives, seen by the watch. Cancel the future to withdraw the request."""
    asked = ask()
    seen: Future[InferenceResult] = Future()
    seen.add_done_callback(lambda done: asked.cancel() if done.cancelled() else None)
    asked.add_done_callback(partial(_hand_on, watch, inputs, seen))
    return seen


def _hand_on(watch: Watch, inputs: Tensors, seen: Future[InferenceResult], asked: Future[InferenceResult]) -> None:
    if asked.cancelled():
        seen.cancel()
    elif seen.set_running_or_notify_cancel():
        try:
            seen.set_result(watch.see(inputs, asked.result()))
        except RuntimeFailure as error:
            seen.set_exception(error)
        except Exception as error:  # noqa: BLE001  # an answer that was not judged must not leave
            reason = f"{watch.model}: its answer could not be judged ({type(error).__name__})"
            seen.set_exception(BackendFailure(reason))
