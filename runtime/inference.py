"""What asking a model means: the answer, and the interface that `RuntimeClient` and `LocalRuntime` share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from runtime.package import ModelDescription

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

ROUTINE: Final = 10
"""The priority of what nobody waits for. Smaller numbers run first."""


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The outputs for one request, (samples, …) each, and which model gave them.

    `batch_size` is the number of samples, of all clients, that ran together. The last bits of a number can depend on
    it, since other kernels run for other sizes. `queue_seconds` is the time from acceptance to the start of that run.
    """

    outputs: dict[str, Array] = field(repr=False)
    model: str
    version: str
    weights_sha256: str
    batch_size: int
    queue_seconds: float
    run_seconds: float


@unique
class Device(StrEnum):
    """Where models run. `AUTO` is the first of a package's routes that this machine can go."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """How a loaded model is doing. `running_seconds` is the age of the run in progress, 0 without one."""

    model: str
    version: str
    device: Device
    waiting_samples: int
    running_seconds: float


class Runtime(Protocol):
    """Something that runs models. Safe to use from several threads at once."""

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], *, priority: int = ROUTINE, timeout_seconds: float
    ) -> InferenceResult:
        """Run `model` on `inputs`: each (samples, …) as its package declares, with the same number of samples.

        Raises `InvalidInput`, `ModelNotFound`, `DeadlineExceeded`, `Overloaded`, `BackendFailure`,
        `RuntimeUnavailable`.
        """

    def models(self) -> tuple[ModelDescription, ...]:
        """All loaded models, by name."""
