"""Joins the requests of all clients to batches for one model, and runs them one batch after the other.

An idle model runs a request at once. Requests that come while it is busy wait, and run together when it is free again.
Then it also waits for those that the last batch shows are about to come: until as many samples wait as were in the
system at the end of the last run, the batch is full, or the package's `wait_ms` is over. So a lone client never waits,
and many clients fill batches.

Smaller priorities run first, equal ones in the order they came. What nobody waits for any more (cancelled, past its
deadline) is never run. A request never fails because of its neighbours: a batch that fails is run again one by one.
"""

import heapq
import itertools
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog

from runtime.backend import Backend
from runtime.errors import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    Overloaded,
    RuntimeUnavailable,
)
from runtime.inference import Array, InferenceResult
from runtime.package import ModelDescription
from runtime.tensors import check_outputs, is_finite

_log = structlog.get_logger(__name__)

_NEVER_STARTED: Final = 0.0


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
    """The queue and the thread of one model."""

    def __init__(self, description: ModelDescription, backend: Backend, *, queue_limit: int) -> None:
        """Start the thread. At most `queue_limit` samples wait."""
        self._description = description
        self._backend = backend
        self._limit = queue_limit
        self._changed = threading.Condition()
        self._queue: list[_Request] = []
        self._waiting = 0  # samples in the queue
        self._awaited = 1  # samples for which the next batch waits
        self._numbers = itertools.count()
        self._closing = False
        self._lost = False
        self._run_started = _NEVER_STARTED
        self._thread = threading.Thread(target=self._work, name=f"model {description.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether the backend's device is gone; nothing is accepted then."""
        return self._lost

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return self._waiting

    @property
    def running_seconds(self) -> float:
        """How long the present run has taken; 0 between runs."""
        started = self._run_started
        return time.monotonic() - started if started else 0.0

    def submit(
        self, inputs: dict[str, Array], samples: int, *, priority: int, deadline: float
    ) -> Future[InferenceResult]:
        """Queue checked inputs. `deadline` is on the monotonic clock; cancel the future to withdraw the request.

        Raises `Overloaded`, and `RuntimeUnavailable` when it is closing or the device is lost. The future's own errors
        are those of `Runtime.infer`; its callbacks run in the model's thread and must not block.
        """
        now = time.monotonic()
        future: Future[InferenceResult] = Future()
        request = _Request(priority, next(self._numbers), inputs, samples, now, deadline, future)
        expired: list[_Request] = []
        with self._changed:
            if self._closing or self._lost:
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
        self._fail_waiting()

    def _work(self) -> None:
        while True:
            batch, expired = self._next_batch()
            _fail_expired(expired)
            if batch:
                self._run(batch)
            elif not expired:
                return
            if self._lost:
                self._fail_waiting()
                return

    def _next_batch(self) -> tuple[list[_Request], list[_Request]]:
        """Wait for requests; return those to run and those that are too late. Neither: closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return [], []
                self._wait_for_company()
                batch, expired = self._take(time.monotonic())
                if batch or expired:
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
        free = self._description.batch.size
        while self._queue and self._queue[0].samples <= free:
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
        except BackendLost as error:
            self._lost = True
            _log.error("backend_lost", model=self._description.name, reason=str(error))
            for request in batch:
                request.future.set_exception(BackendLost(str(error)))
            return
        except BackendFailure as error:
            self._fail(batch, error)
            return
        finally:
            self._run_started = _NEVER_STARTED
        seconds = time.monotonic() - started
        self._awaited = min(self._description.batch.size, samples + self._waiting)
        self._answer(batch, outputs, samples, started, seconds)

    def _infer(self, batch: list[_Request], samples: int) -> dict[str, Array]:
        try:
            if len(batch) == 1:
                inputs = batch[0].inputs
            else:
                inputs = {name: np.concatenate([r.inputs[name] for r in batch]) for name in batch[0].inputs}
            outputs = self._backend.run(inputs)
        except BackendFailure:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a backend does, the thread lives and the clients hear of it
            raise BackendFailure(f"{self._description.name}: the backend failed ({type(error).__name__})") from None
        check_outputs(self._description, outputs, samples)
        return outputs

    def _fail(self, batch: list[_Request], error: BackendFailure) -> None:
        """Give the failure to the one request whose it is; find it first."""
        if len(batch) == 1:
            _log.warning("inference_failed", model=self._description.name, reason=str(error))
            batch[0].future.set_exception(error)
            return
        for position, request in enumerate(batch):
            self._run([request])
            if self._lost:
                for other in batch[position + 1 :]:
                    other.future.set_exception(BackendLost(str(error)))
                return

    def _answer(
        self, batch: list[_Request], outputs: dict[str, Array], samples: int, started: float, seconds: float
    ) -> None:
        description = self._description
        first = 0
        for request in batch:
            part = {spec.name: outputs[spec.name][first : first + request.samples] for spec in description.outputs}
            first += request.samples
            unsound = [name for name, array in part.items() if not is_finite(array)]
            if unsound:
                reason = f"{description.name}: output {unsound[0]!r} holds numbers that are not finite"
                self._fail([request], BackendFailure(reason))
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
                )
            )

    def _fail_waiting(self) -> None:
        with self._changed:
            rest, self._queue, self._waiting = self._queue, [], 0
        for request in rest:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(RuntimeUnavailable("the runtime stopped before this ran; try again"))


def _fail_expired(requests: list[_Request]) -> None:
    for request in requests:
        request.future.set_exception(
            DeadlineExceeded("the request waited in the queue until its time was over; try again later")
        )
