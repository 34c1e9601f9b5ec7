"""The runtime in the caller's own process, for commands that work without the daemon."""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from runtime.backend import RemoteAccess
from runtime.errors import DeadlineExceeded, RuntimeFailure
from runtime.health import ModelHealth, RuntimeUsage
from runtime.host import HostSettings, ModelHost
from runtime.inference import ROUTINE, Device, InferenceResult, each_at_once
from runtime.package import ModelDescription, ModelPackage
from runtime.tensors import native
from runtime.watch import DriftReport


class LocalRuntime:
    """A `Runtime` over models that it loads itself. Close it, or use it in a ``with`` statement."""

    def __init__(
        self,
        packages: Sequence[ModelPackage],
        *,
        threads: int | None = None,
        device: Device = Device.AUTO,
        cache_bytes: int = 0,
        access: Mapping[str, RemoteAccess] | None = None,
    ) -> None:
        """Load `packages`, of which the first of each name is its default version; the rest is that of `HostSettings`,
        with a thread for each core. Raises as `ModelHost.add` does.
        """
        count = threads or len(os.sched_getaffinity(0))
        settings = HostSettings(threads=count, device=device, cache_bytes=cache_bytes, access=access or {})
        self._host = ModelHost(packages, settings)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        version: str | None = None,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> InferenceResult:
        """See `Runtime.infer`."""
        asked = native(inputs)
        future = self._host.submit(model, asked, version=version, priority=priority, timeout_seconds=timeout_seconds)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceeded(f"{model}: no answer within {timeout_seconds:g} s; try again later") from None

    def infer_many(
        self,
        models: Sequence[tuple[str, str | None]],
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        priority: int = ROUTINE,
        timeout_seconds: float,
    ) -> tuple[InferenceResult | RuntimeFailure, ...]:
        """See `Runtime.infer_many`."""
        return each_at_once(
            models,
            lambda name, version: self.infer(
                name, inputs, version=version, priority=priority, timeout_seconds=timeout_seconds
            ),
        )

    def drift(self) -> tuple[DriftReport, ...]:
        """How far what the models see and say has moved."""
        return self._host.drift()

    def health(self) -> tuple[ModelHealth, ...]:
        """How the models are doing, by name."""
        return self._host.health()

    def usage(self) -> RuntimeUsage:
        """What the models use together."""
        return self._host.usage()

    def models(self) -> tuple[ModelDescription, ...]:
        """See `Runtime.models`."""
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
