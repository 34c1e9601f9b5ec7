"""Joins the requests of all clients to batches for one lane of a model, and runs them one batch after the other.

An idle model runs a request at once. Requests that come while it is busy wait, and run together when it is free again.
Then it also waits for those that the last batch shows are about to come: until as many samples wait as were in the
system at the end of the last run, the batch is full, or the package's `wait_ms` is over. So a lone client never waits,
and many clients fill batches.

Smaller priorities run first, equal ones in the order they came. What nobody waits for any more (cancelled, past its
deadline) is never run. A request never fails because of its neighbours: a batch that fails is run again one by one.

A batch that does not fit into memory is run in halves, down to single samples, and the size that fitted is the largest
from then on. What fails for the lane's own reasons ends it: every request that it has taken gets `LaneFailed`, so that
it can be asked elsewhere, and its backend is closed.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog

from runtime.backend import Backend, Joining
from runtime.counters import Counters
from runtime.errors import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    OutOfMemory,
    Overloaded,
    PackageError,
    RemoteUnavailable,
    RouteUnavailable,
    RuntimeFailure,
    RuntimeUnavailable,
)
from runtime.inference import Array, InferenceResult
from runtime.package import ModelDescription
from runtime.tensors import check_outputs, flaw

_log = structlog.get_logger(__name__)

_NEVER_STARTED: Final = 0.0

_NOT_OF_THE_INPUT: Final = (BackendLost, OutOfMemory, RemoteUnavailable, RouteUnavailable, PackageError)


class LaneFailed(Exception):  # internal to this package: the host asks the next lane
    """The lane ended before it answered; the `cause` says nothing of the input."""

    def __init__(self, cause: RuntimeFailure) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(order=True, slots=True)
class _Request:
    priority: int
    number: int  # of arrival
    inputs: dict[str, Array] = field(compare=False)
    samples: int = field(compare=False)
    submitted: float = field(compare=False)
    deadline: float = field(compare=False)  # both on the monotonic clock
    future: Future[InferenceResult] = field(compare=False)


class Batcher:
    """The queue and the thread of one lane, from opening its backend to closing it."""

    def __init__(
        self,
        description: ModelDescription,
        open_: Callable[[], tuple[Backend, int]],
        *,
        queue_limit: int,
        counters: Counters | None = None,
        on_failure: Callable[[RuntimeFailure], None] = lambda _: None,
        on_success: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread, which calls `open_` first: it gives the backend and the most samples that fit at once.

        At most `queue_limit` samples wait. `on_failure` is called in the thread with what ended it, before the requests
        hear of that, and `on_success` after a run that gave answers.
        """
        self._description = description
        self._open = open_
        self._limit = queue_limit
        self._counters = counters or Counters()
        self._on_failure = on_failure
        self._on_success = on_success
        self._most = description.batch.size  # samples in a run
        self._changed = threading.Condition()
        self._queue: list[_Request] = []
        self._waiting = 0  # samples in the queue
        self._awaited = 1  # samples for which the next batch waits
        self._numbers = itertools.count()
        self._closing = False
        self._idle = False  # open, and between two runs
        self._failure: LaneFailed | None = None
        self._run_started = _NEVER_STARTED
        self._memory_bytes = 0
        self.opened: Future[None] = Future()
        """Done when the backend is open; fails with `LaneFailed`."""
        self._thread = threading.Thread(target=self._live, name=f"model {description.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return self._waiting

    @property
    def most_samples(self) -> int:
        """The most samples that are run at once."""
        return self._most

    @property
    def memory_bytes(self) -> int:
        """What the backend held after its last run; 0 while it is not open."""
        return self._memory_bytes

    @property
    def running_seconds(self) -> float:
        """How long the present run has taken; 0 between runs."""
        started = self._run_started
        return time.monotonic() - started if started else 0.0

    def submit(
        self, inputs: dict[str, Array], samples: int, *, priority: int, deadline: float
    ) -> Future[InferenceResult]:
        """Queue checked inputs. `deadline` is on the monotonic clock; cancel the future to withdraw the request.

        Raises `Overloaded`, `RuntimeUnavailable` when it is closing, and `LaneFailed`. The future's own errors are
        those of `Runtime.infer` and `LaneFailed`; its callbacks run in the lane's thread and must not block.
        """
        now = time.monotonic()
        future: Future[InferenceResult] = Future()
        request = _Request(priority, next(self._numbers), inputs, samples, now, deadline, future)
        expired: list[_Request] = []
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise RuntimeUnavailable(f"{self._description.name}: the runtime is stopping; try again")
            if self._waiting + samples > self._limit:
                expired = self._drop_unwanted(now)
            accepted = self._waiting + samples <= self._limit
            if accepted:
                heapq.heappush(self._queue, request)
                self._waiting += samples
                if len(self._queue) == 1 or self._waiting >= self._awaited:
                    self._changed.notify()
        _fail_expired(expired)
        if not accepted:
            raise Overloaded(f"{self._description.name}: {self._limit} samples wait already; try again later")
        return future

    def close(self, drain_seconds: float) -> None:
        """Accept nothing more, run what waits for at most `drain_seconds`, and fail the rest."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(drain_seconds)
        self._fail_waiting(RuntimeUnavailable("the runtime stopped before this ran; try again"))

    def close_if_idle(self) -> bool:
        """Accept nothing more if nothing runs or waits, and say whether that is so; `join` then waits for the end."""
        with self._changed:
            if self._idle and not self._queue:
                self._closing = True
                self._changed.notify()
                return True
            return False

    def join(self, seconds: float) -> bool:
        """Wait until the backend is closed; whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _live(self) -> None:
        try:
            self._backend, self._most = self._open()
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            failure = self._end(_opening_failure(error, self._description.name))
            self.opened.set_exception(failure)
            return
        try:
            self._memory_bytes = self._backend.memory_bytes
            self.opened.set_result(None)
            self._work()
        finally:
            self._backend.close()
            self._memory_bytes = 0

    def _work(self) -> None:
        while True:
            batch, expired = self._next_batch()
            _fail_expired(expired)
            if batch:
                self._run(batch)
            elif not expired:
                return
            if self._failure is not None:
                return

    def _end(self, cause: RuntimeFailure) -> LaneFailed:
        """Accept nothing more, and give what waits back."""
        failure = LaneFailed(cause)
        with self._changed:
            self._failure = failure
        self._counters.failures += 1
        self._on_failure(cause)
        self._fail_waiting(failure)
        return failure

    def _next_batch(self) -> tuple[list[_Request], list[_Request]]:
        """Wait for requests; return those to run and those that are too late. Neither: closed."""
        with self._changed:
            while True:
                self._idle = True
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return [], []
                self._wait_for_company()
                batch, expired = self._take(time.monotonic())
                if batch or expired:
                    self._idle = False
                    return batch, expired

    def _wait_for_company(self) -> None:
        if self._waiting >= self._awaited or self._closing:
            return
        oldest = min(request.submitted for request in self._queue)
        remaining = oldest + self._description.batch.wait_ms / 1000 - time.monotonic()
        if remaining > 0:
            self._changed.wait_for(lambda: self._waiting >= self._awaited or self._closing, remaining)

    def _take(self, now: float) -> tuple[list[_Request], list[_Request]]:
        batch: list[_Request] = []
        expired: list[_Request] = []
        free = self._most
        while self._queue and (self._queue[0].samples <= free or not batch):
            request = heapq.heappop(self._queue)
            self._waiting -= request.samples
            if not request.future.set_running_or_notify_cancel():
                continue
            if request.deadline <= now:
                expired.append(request)
                continue
            free -= request.samples
            batch.append(request)
        return batch, expired

    def _drop_unwanted(self, now: float) -> list[_Request]:
        """Make room: forget what was cancelled, return what is too late."""
        kept: list[_Request] = []
        expired: list[_Request] = []
        for request in self._queue:
            if request.future.cancelled():
                continue
            if request.deadline <= now and request.future.set_running_or_notify_cancel():
                expired.append(request)
            else:
                kept.append(request)
        heapq.heapify(kept)
        self._queue = kept
        self._waiting = sum(request.samples for request in kept)
        return expired

    def _run(self, batch: list[_Request]) -> None:
        samples = sum(request.samples for request in batch)
        self._run_started = started = time.monotonic()
        try:
            outputs = self._infer(batch, samples)
        except _NOT_OF_THE_INPUT as cause:
            failure = self._end(cause)
            for request in batch:
                request.future.set_exception(failure)
            return
        except BackendFailure as error:
            self._fail(batch, error)
            return
        finally:
            self._run_started = _NEVER_STARTED
        ended = time.monotonic()
        self._memory_bytes = self._backend.memory_bytes
        self._counters.ran(samples, ended - started, ended)
        self._awaited = min(self._most, samples + self._waiting)
        self._on_success()
        self._answer(batch, outputs, samples, started, ended - started)

    def _infer(self, batch: list[_Request], samples: int) -> dict[str, Array]:
        try:
            return self._infer_within_memory(_joined(self._backend, [request.inputs for request in batch]), samples)
        except RuntimeFailure:
            raise
        except MemoryError:
            raise OutOfMemory(
                f"{self._description.name}: this machine has not the memory for {samples} samples"
            ) from None
        except Exception as error:  # noqa: BLE001  # whatever a backend does, the thread lives and the clients hear of it
            raise BackendFailure(f"{self._description.name}: the backend failed ({type(error).__name__})") from None

    def _infer_within_memory(self, inputs: dict[str, Array], samples: int) -> dict[str, Array]:
        """Run as many samples at once as fit. Raises `OutOfMemory` if not even one does."""
        parts: list[dict[str, Array]] = []
        done = 0
        while done < samples:
            count = min(self._most, samples - done)
            part = inputs if count == samples else {name: array[done : done + count] for name, array in inputs.items()}
            try:
                outputs = self._backend.run(part)
            except OutOfMemory:
                if count == 1:
                    raise
                self._most = count // 2
                _log.warning("batch_halved", model=self._description.name, samples=count, most_samples=self._most)
                continue
            check_outputs(self._description, outputs, count)
            parts.append(outputs)
            done += count
        if len(parts) == 1:
            return parts[0]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self._description.outputs}

    def _fail(self, batch: list[_Request], error: BackendFailure) -> None:
        """Give the failure to the one request whose it is; find it first."""
        if len(batch) == 1:
            _log.warning("inference_failed", model=self._description.name, reason=str(error))
            batch[0].future.set_exception(error)
            return
        for position, request in enumerate(batch):
            self._run([request])
            if self._failure is not None:
                for other in batch[position + 1 :]:
                    other.future.set_exception(self._failure)
                return

    def _answer(
        self, batch: list[_Request], outputs: dict[str, Array], samples: int, started: float, seconds: float
    ) -> None:
        description = self._description
        sound = not _unsound(description, outputs)  # all at once: the calls cost more than the few numbers of each
        first = 0
        now = time.monotonic()
        for request in batch:
            part = {spec.name: outputs[spec.name][first : first + request.samples] for spec in description.outputs}
            first += request.samples
            if not sound and (problem := _unsound(description, part)):
                self._fail([request], BackendFailure(f"{description.name}: {problem}"))
                continue
            request.future.set_result(
                InferenceResult(
                    outputs=part,
                    model=description.name,
                    version=description.version,
                    weights_sha256=description.weights_sha256,
                    batch_size=samples,
                    queue_seconds=started - request.submitted,
                    run_seconds=seconds,
                    device=self._backend.device,
                    precision=self._backend.precision,
                )
            )
            self._counters.answered(now - request.submitted)

    def _fail_waiting(self, error: RuntimeFailure | LaneFailed) -> None:
        with self._changed:
            rest, self._queue, self._waiting = self._queue, [], 0
        for request in rest:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)


def _joined(backend: Backend, parts: list[dict[str, Array]]) -> dict[str, Array]:
    if len(parts) == 1:
        return parts[0]
    if isinstance(backend, Joining):
        return backend.join(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _unsound(description: ModelDescription, outputs: dict[str, Array]) -> str:
    """What is wrong with the numbers of any output; empty if nothing is."""
    for spec in description.outputs:
        if problem := flaw(spec, outputs[spec.name]):
            return f"output {spec.name!r} {problem}"
    return ""


def _opening_failure(error: Exception, model: str) -> RuntimeFailure:
    if isinstance(error, RuntimeFailure):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(f"{model}: this machine has not the memory to load it")
    return BackendFailure(f"{model}: it cannot be opened ({type(error).__name__})")


def _fail_expired(requests: list[_Request]) -> None:
    for request in requests:
        request.future.set_exception(
            DeadlineExceeded("the request waited in the queue until its time was over; try again later")
        )
