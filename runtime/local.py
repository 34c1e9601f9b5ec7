"""The runtime in the caller's own process, for commands that work without the daemon."""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from runtime.errors import DeadlineExceeded
from runtime.host import ModelHost
from runtime.inference import ROUTINE, Device, InferenceResult
from runtime.package import ModelDescription, ModelPackage
from runtime.tensors import native


class LocalRuntime:
    """A `Runtime` over models that it loads itself. Close it, or use it in a ``with`` statement."""

    def __init__(
        self, packages: Sequence[ModelPackage], *, threads: int | None = None, device: Device = Device.AUTO
    ) -> None:
        """Load `packages`; `threads` share one run on the CPU, by default one a core. Raises as `ModelHost` does."""
        self._host = ModelHost(packages, threads=threads or len(os.sched_getaffinity(0)), device=device)

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], *, priority: int = ROUTINE, timeout_seconds: float
    ) -> InferenceResult:
        """See `Runtime.infer`."""
        future = self._host.submit(model, native(inputs), priority=priority, timeout_seconds=timeout_seconds)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceeded(f"{model}: no answer within {timeout_seconds:g} s; try again later") from None

    def models(self) -> tuple[ModelDescription, ...]:
        """All loaded models, by name."""
        return self._host.descriptions()

    def close(self) -> None:
        """Unload the models."""
        self._host.close(drain_seconds=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
