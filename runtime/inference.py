"""What asking a model means: the answer, and the interface that `RuntimeClient` and `LocalRuntime` share."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from runtime.errors import RuntimeFailure
from runtime.package import ModelDescription, Precision
from runtime.verdict import Verdict

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

ROUTINE: Final = 10
"""The priority of what nobody waits for. Smaller numbers run first."""


@unique
class Device(StrEnum):
    """Where models run. `AUTO` is wherever the package's routes lead and this machine can go."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The outputs for one request, (samples, …) each, and which model gave them, where and how.

    `batch_size` is the number of samples, of all clients, that ran together. The last bits of a number can depend on
    it, since other kernels run for other sizes. `queue_seconds` is the time from acceptance to the start of that run.
    `cached` says that the answer is that of an identical request to the same version, earlier or at the same moment:
    the other fields tell of its run, and the outputs cannot be written to. `gate` has a verdict on each sample, where
    the package has a gate: a sample that does not fit has no answer, and what stands in its place
    (`runtime.gate.withhold`) is none.
    """

    outputs: dict[str, Array] = field(repr=False)
    model: str
    version: str
    weights_sha256: str
    batch_size: int
    queue_seconds: float
    run_seconds: float
    device: Device | None = None
    precision: Precision | None = None  # None where only a server knows
    cached: bool = False
    gate: tuple[Verdict, ...] = ()


class Runtime(Protocol):
    """Something that runs models. Safe to use from several threads at once."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        version: str | None = None,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> InferenceResult:
        """Run `model` on `inputs`: each (samples, …) as its package declares, with the same number of samples.

        Without `version`, the one that is the model's default answers.

        Raises `InvalidInput`, `ModelNotFound`, `DeadlineExceeded`, `Overloaded`, `NoRoute`, `BackendFailure`,
        `RuntimeUnavailable`.
        """

    def infer_many(
        self,
        models: Sequence[tuple[str, str | None]],
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> tuple[InferenceResult | RuntimeFailure, ...]:
        """Ask several models (name, version or None) the same `inputs` at once; the answers stand in their order.

        What `infer` would raise for one of them stands in its place, and is nothing to the others.
        """

    def models(self) -> tuple[ModelDescription, ...]:
        """All loaded models, by name; of several versions the default comes first."""


def each_at_once(
    models: Sequence[tuple[str, str | None]], ask: Callable[[str, str | None], InferenceResult]
) -> tuple[InferenceResult | RuntimeFailure, ...]:
    """What `ask` gives or raises for each (name, version), all of them asked at the same time."""

    def answer(model: tuple[str, str | None]) -> InferenceResult | RuntimeFailure:
        try:
            return ask(*model)
        except RuntimeFailure as error:
            return error

    if not models:
        return ()
    with ThreadPoolExecutor(len(models), thread_name_prefix="ask") as pool:
        return tuple(pool.map(answer, models))
