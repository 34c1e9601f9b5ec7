"""One route of one version of a model: its backend, its queue and its circuit breaker, from first need to last.

A lane is opened by the thread that then runs it: load, warm-up, proof by the package's check. So whoever asks never
waits for a load, and a model that is tried again after a failure is proven again before it answers anybody.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from runtime.backend import Backend, RemoteAccess, open_backend
from runtime.backends.batches import run_sizes
from runtime.batcher import Batcher
from runtime.breaker import Breaker
from runtime.counters import Counters
from runtime.errors import (
    BackendFailure,
    BackendLost,
    OutOfMemory,
    PackageError,
    RouteUnavailable,
    RuntimeFailure,
    RuntimeUnavailable,
)
from runtime.health import LaneHealth, LaneState
from runtime.inference import Array, Device, InferenceResult
from runtime.memory import MemoryBudget
from runtime.package import ModelDescription, ModelPackage, Place, Route
from runtime.parity import prove
from runtime.tensors import check_outputs

_log = structlog.get_logger(__name__)

_MOST_WAITING_SAMPLES: Final = 2048
_MOST_WAITING_BYTES: Final = 1 << 30
DEVICES: Final = {
    Place.CPU: Device.CPU,
    Place.CUDA: Device.CUDA,
    Place.TENSORRT: Device.CUDA,
    Place.REMOTE: Device.REMOTE,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lanes of a host share. `threads` share one run on the CPU; `logs` is whether what becomes of lanes is
    logged.
    """

    threads: int
    access: Mapping[str, RemoteAccess]
    budget: MemoryBudget
    logs: bool


class Lane:
    """Safe to use from several threads."""

    def __init__(self, package: ModelPackage, route: Route, surroundings: Surroundings) -> None:
        """Nothing is loaded yet."""
        self.route = route
        self.device = DEVICES[route.on]
        self.last_used = 0.0  # when it was asked last, on the monotonic clock
        self._package = package
        self._form = None if route.on is Place.REMOTE else package.form_of(route)
        self._surroundings = surroundings
        self._lock = threading.Lock()
        self._breaker = Breaker()
        self._counters = Counters()
        self._batcher: Batcher | None = None
        self._final: RuntimeFailure | None = None  # it cannot be opened again in this process
        self._failure: RuntimeFailure | None = None  # the last one
        self._opened_before = False
        self._closed = False
        surroundings.budget.enter(self)

    @property
    def name(self) -> str:
        """What the lane is called among those of its model."""
        precision = self._form.precision if self._form else None
        return " ".join(filter(None, (self.route.on, precision, self.route.file)))

    @property
    def waiting(self) -> int:
        """Samples in its queue."""
        batcher = self._batcher
        return batcher.waiting if batcher else 0

    @property
    def memory_bytes(self) -> int:
        """What it holds of its device."""
        batcher = self._batcher
        return batcher.memory_bytes if batcher else 0

    @property
    def running_seconds(self) -> float:
        """How long its present run has taken; 0 between runs."""
        batcher = self._batcher
        return batcher.running_seconds if batcher else 0.0

    @property
    def lost(self) -> bool:
        """Whether its device is gone from this process."""
        return isinstance(self._final, BackendLost)

    def obstacle(self) -> str:
        """Why it cannot be asked now; empty if it can."""
        with self._lock:
            if self._final is not None:
                return str(self._final)
            left = self._breaker.seconds_left(time.monotonic())
            return f"tried again in {left:.1f} s; it failed with: {self._failure}" if left else ""

    def recovers(self) -> bool:
        """Whether it has yet to be opened again after a failure: better not to wait for it where another lane can
        answer. The attempt is begun.
        """
        with self._lock:
            if self._final is not None or not self._breaker.failing or self._breaker.seconds_left(time.monotonic()):
                return False
            batcher = self._running()
        return not batcher.opened.done()

    def open(self) -> Future[None]:
        """Begin to open it, unless that is done. The future fails with `LaneFailed`."""
        with self._lock:
            return self._running().opened

    def submit(
        self, inputs: dict[str, Array], samples: int, *, priority: int, deadline: float
    ) -> Future[InferenceResult]:
        """See `Batcher.submit`; opens the lane if needed."""
        while True:
            with self._lock:
                batcher = self._running()
                self.last_used = time.monotonic()
            try:
                return batcher.submit(inputs, samples, priority=priority, deadline=deadline)
            except RuntimeUnavailable:
                with self._lock:
                    if self._closed or self._batcher is batcher:
                        raise  # else it was unloaded in this moment

    def unload(self, timeout_seconds: float) -> bool:
        """Close the backend if there are no requests; whether that is done. The next request opens it again."""
        with self._lock:
            batcher = self._batcher
            if batcher is None or not batcher.close_if_idle():
                return False
            self._batcher = None
        self._tell("lane_unloaded")
        return batcher.join(timeout_seconds)

    def close(self, drain_seconds: float) -> None:
        """Open no more, finish what waits within `drain_seconds`, and fail the rest with `RuntimeUnavailable`."""
        with self._lock:
            self._closed = True
            batcher = self._batcher
        if batcher is not None:
            batcher.close(drain_seconds)
        self._surroundings.budget.leave(self)

    def health(self) -> LaneHealth:
        """How it is doing."""
        now = time.monotonic()
        with self._lock:
            batcher, counters = self._batcher, self._counters
            return LaneHealth(
                on=self.route.on,
                file=self._form.file if self._form else None,
                precision=self._form.precision if self._form else None,
                device=self.device,
                state=self._state(),
                reason=str(self._final or self._failure or ""),
                retry_seconds=0.0 if self._final else self._breaker.seconds_left(now),
                memory_bytes=batcher.memory_bytes if batcher else 0,
                batch_size=batcher.most_samples if batcher else self._package.batch.size,
                waiting_samples=batcher.waiting if batcher else 0,
                running_seconds=self.running_seconds,
                batches=counters.batches,
                samples=counters.samples,
                failures=counters.failures,
                busy_seconds=counters.busy_seconds,
                samples_per_second=counters.samples_per_second(now),
                latency_counts=counters.latency,
            )

    def _state(self) -> LaneState:
        if self._final is not None:
            return LaneState.LOST if self.lost else LaneState.UNAVAILABLE
        if self._batcher is not None:
            return LaneState.READY if self._batcher.opened.done() else LaneState.OPENING
        if self._breaker.failing:
            return LaneState.FAILED
        return LaneState.UNLOADED if self._opened_before else LaneState.UNOPENED

    def _running(self) -> Batcher:
        if self._closed:
            raise RuntimeUnavailable(f"{self._package.name}: the runtime is stopping; try again")
        if self._batcher is None:
            self._batcher = Batcher(
                self._package,
                self._open,
                queue_limit=queue_limit(self._package),
                counters=self._counters,
                on_failure=self._failed,
                on_success=self._succeeded,
            )
        return self._batcher

    def _failed(self, cause: RuntimeFailure) -> None:
        """The batcher ended: the next request needs another one, and that not at once."""
        with self._lock:
            self._batcher = None
            self._failure = cause
            if isinstance(cause, BackendLost | RouteUnavailable):
                self._final = cause
            else:
                self._breaker.failed(time.monotonic())
        level = "info" if isinstance(cause, RouteUnavailable) else "error"
        self._tell("lane_failed", level, kind=type(cause).__name__, reason=str(cause))

    def _succeeded(self) -> None:
        if self._failure is not None:
            with self._lock:
                self._failure = None
                self._breaker.succeeded()

    def _open(self) -> tuple[Backend, int]:
        """Load, warm up and prove, in the thread of the batcher; the backend and the most samples that fit at once."""
        budget = self._surroundings.budget
        with budget.loading(self.device):
            budget.make_room(self, self._expected_bytes())
            backend = self._load()
            try:
                most = warm_up(self._package, backend)
                prove(self._package, backend)
                budget.make_room(self, backend.memory_bytes)
            except BaseException:
                backend.close()
                raise
        self._opened_before = True
        self._tell("lane_opened", device=backend.device, memory_bytes=backend.memory_bytes, most_samples=most)
        return backend, most

    def _tell(self, event: str, level: str = "info", **details: object) -> None:
        if self._surroundings.logs:
            package = self._package
            getattr(_log, level)(event, model=package.name, version=package.version, lane=self.name, **details)

    def _load(self) -> Backend:
        threads, remote = self._surroundings.threads, self._package.remote
        access = (self._surroundings.access.get(remote.authority) if remote else None) or RemoteAccess()
        while True:
            try:
                return open_backend(self._package, self.route, threads=threads, access=access)
            except OutOfMemory:
                if not self._surroundings.budget.unload_one(self):
                    raise

    def _expected_bytes(self) -> int:
        """The least that it can take: its file."""
        if self._form is None:
            return 0
        folder = self._package.directory
        plain, sealed = folder / self._form.file, folder / f"{self._form.file}.sealed"
        return sum(file.stat().st_size for file in (plain, sealed) if file.exists())


def warm_up(package: ModelPackage, backend: Backend) -> int:
    """Run zeros at each size that devices are run at: what is allocated or compiled for a size is so before the first
    request, and the shapes are what the package declares. The answer is the largest size that fits into memory.
    """
    fitted = 0
    for size in (1,) if backend.device is Device.REMOTE else run_sizes(package.batch.size):
        zeros = {spec.name: np.zeros((size, *spec.sample_shape), spec.dtype) for spec in package.inputs}
        try:
            check_outputs(package, backend.run(zeros), size)
        except OutOfMemory:
            if fitted:
                _log.warning("batch_halved", model=package.name, samples=size, most_samples=fitted)
                return fitted
            raise
        except BackendFailure as error:
            if error.retryable:
                raise  # of the route, and not of the package
            file = package.directory / (package.weights or "")
            raise PackageError(file, "", f"fails on a batch of {size} zeros: {error}") from error
        fitted = size
    return package.batch.size


def queue_limit(description: ModelDescription) -> int:
    """Samples that may wait: bounded in number and in bytes, but always two batches."""
    sample_bytes = sum(spec.sample_bytes for spec in description.inputs)
    return max(2 * description.batch.size, min(_MOST_WAITING_SAMPLES, _MOST_WAITING_BYTES // sample_bytes))
