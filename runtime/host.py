"""The models of one process: loaded, checked by running them, each with its batching queue.

`serve` and `LocalRuntime` are two ways to reach one of these.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.backend import Backend, open_backend
from runtime.backends.batches import run_sizes
from runtime.batcher import Batcher
from runtime.errors import BackendFailure, DeadlineExceeded, ModelNotFound, PackageError, RouteUnavailable
from runtime.inference import Array, Device, InferenceResult, ModelHealth
from runtime.package import ModelDescription, ModelPackage, Place
from runtime.parity import prove
from runtime.tensors import check_finite_inputs, check_outputs, count_samples, forms

_MOST_WAITING_SAMPLES: Final = 2048
_MOST_WAITING_BYTES: Final = 1 << 30
_DEVICES: Final = {
    Place.CPU: Device.CPU,
    Place.CUDA: Device.CUDA,
    Place.TENSORRT: Device.CUDA,
    Place.REMOTE: Device.REMOTE,
}


@dataclass(frozen=True, slots=True)
class _Loaded:
    package: ModelPackage
    device: Device
    batcher: Batcher


class ModelHost:
    """Loads packages and runs requests for them. Safe to use from several threads."""

    def __init__(self, packages: Sequence[ModelPackage], *, threads: int, device: Device) -> None:
        """Load and warm up all packages.

        Raises `PackageError` for two packages of one name, a file that is not what it declares, or a model that fails
        on a batch of zeros; `BackendFailure` for a device that is not there.
        """
        self._models: dict[str, _Loaded] = {}
        try:
            for package in sorted(packages, key=lambda package: package.name):
                if package.name in self._models:
                    raise PackageError(package.directory, "name", f"another package is called {package.name!r} too")
                self._models[package.name] = _load(package, threads, device)
        except BaseException:
            self.close(0)
            raise

    @property
    def lost(self) -> bool:
        """Whether a device is gone, so that only a new process can go on."""
        return any(loaded.batcher.lost for loaded in self._models.values())

    def package(self, model: str) -> ModelPackage:
        """The package of that name. Raises `ModelNotFound`."""
        return self._find(model).package

    def descriptions(self) -> tuple[ModelDescription, ...]:
        """All packages' descriptions, by name."""
        return tuple(loaded.package.description for loaded in self._models.values())

    def health(self) -> tuple[ModelHealth, ...]:
        """How the models are doing, by name."""
        return tuple(
            ModelHealth(name, loaded.package.version, loaded.device, batcher.waiting, batcher.running_seconds)
            for name, loaded in self._models.items()
            for batcher in [loaded.batcher]
        )

    def submit(
        self, model: str, inputs: dict[str, Array], *, priority: int, timeout_seconds: float
    ) -> Future[InferenceResult]:
        """Check a request and queue it; see `Batcher.submit` for the future.

        Raises `ModelNotFound`, `InvalidInput`, `DeadlineExceeded`, `Overloaded`, `RuntimeUnavailable`.
        """
        loaded = self._find(model)
        samples = count_samples(loaded.package, forms(inputs))
        check_finite_inputs(inputs)
        if not timeout_seconds > 0:
            raise DeadlineExceeded("no time was left when the request came")
        deadline = time.monotonic() + timeout_seconds
        return loaded.batcher.submit(inputs, samples, priority=priority, deadline=deadline)

    def close(self, drain_seconds: float) -> None:
        """Finish what was accepted, within `drain_seconds`, and fail the rest with `RuntimeUnavailable`."""
        end = time.monotonic() + drain_seconds
        for loaded in self._models.values():
            loaded.batcher.close(max(0.0, end - time.monotonic()))

    def _find(self, model: str) -> _Loaded:
        try:
            return self._models[model]
        except KeyError:
            there = ", ".join(self._models) or "none"
            raise ModelNotFound(f"no model {model!r} is loaded; loaded: {there}") from None


def _load(package: ModelPackage, threads: int, device: Device) -> _Loaded:
    backend = _open(package, threads, device)
    _warm_up(package, backend)
    prove(package, backend)
    batcher = Batcher(package, backend, queue_limit=_queue_limit(package))
    return _Loaded(package, backend.device, batcher)


def _open(package: ModelPackage, threads: int, device: Device) -> Backend:
    """Open the first of the package's routes that leads to `device` and that this machine can go."""
    obstacle = RouteUnavailable(f"{package.name}: no route of its package leads to {device}")
    for route in package.chosen_routes:
        if device in (Device.AUTO, _DEVICES[route.on]):
            try:
                return open_backend(package, route, threads=threads)
            except RouteUnavailable as error:
                obstacle = error
    raise obstacle


def _warm_up(package: ModelPackage, backend: Backend) -> None:
    """Run zeros at each size that devices are run at: what is allocated or compiled for a size is so before the first
    request, and the shapes are what the package declares.
    """
    for size in run_sizes(package.batch.size):
        zeros = {spec.name: np.zeros((size, *spec.sample_shape), spec.dtype) for spec in package.inputs}
        try:
            check_outputs(package, backend.run(zeros), size)
        except BackendFailure as error:
            file = package.directory / (package.weights or "")
            raise PackageError(file, "", f"fails on a batch of {size} zeros: {error}") from error


def _queue_limit(package: ModelPackage) -> int:
    """Samples that may wait: bounded in number and in bytes, but always two batches."""
    sample_bytes = sum(spec.sample_bytes for spec in package.inputs)
    return max(2 * package.batch.size, min(_MOST_WAITING_SAMPLES, _MOST_WAITING_BYTES // sample_bytes))
