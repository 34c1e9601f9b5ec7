"""Answers identical requests to the same version of a model without running it again.

Identical is what has the same names, dtypes, shapes and bytes; the version is told by its weights' digest. What fails
is never kept. A request that comes while an identical one runs shares that run, unless it is more urgent. If that run
comes to nothing, those who had joined it are asked again.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final

from runtime.errors import RuntimeFailure
from runtime.health import CacheUse
from runtime.inference import InferenceResult, Tensors
from runtime.package import ModelDescription

_ENTRY_BYTES: Final = 1024  # beside the numbers

Key = bytes
Ask = Callable[[], Future[InferenceResult]]


def key_of(description: ModelDescription, inputs: Tensors) -> Key:
    """Names a request: a SHA-256, which processors have instructions for, so that it is faster than others."""
    digest = hashlib.sha256()
    for text in (description.name, description.version, description.weights_sha256):
        digest.update(text.encode() + b"\0")
    for name, array in sorted(inputs.items()):
        digest.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
        digest.update(array.reshape(-1).view("u1").data)
    return digest.digest()


@dataclass(slots=True, eq=False)
class _Waiter:
    future: Future[InferenceResult]
    ask: Ask


@dataclass(slots=True, eq=False)
class _Run:
    priority: int
    waiters: list[_Waiter] = field(default_factory=list)  # the first one's request is the one that runs
    future: Future[InferenceResult] | None = None


class AnswerCache:
    """The answers that were used last, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        """With 0 bytes nothing is kept and nothing joined."""
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._answers: OrderedDict[Key, tuple[InferenceResult, int]] = OrderedDict()
        self._used = 0
        self._runs: dict[Key, _Run] = {}
        self._hits = self._joined = self._misses = 0

    @property
    def enabled(self) -> bool:
        """Whether it does anything."""
        return self._limit > 0

    def use(self) -> CacheUse:
        """What it holds and what it was good for."""
        with self._lock:
            return CacheUse(len(self._answers), self._used, self._limit, self._hits, self._joined, self._misses)

    def answer(self, key: Key, ask: Ask, *, priority: int) -> Future[InferenceResult]:
        """The kept answer, a share of the run of an identical request, or what `ask` gives. Raises what `ask` raises.

        Cancel the future to withdraw; the run goes on while others wait for it.
        """
        waiter = _Waiter(Future(), ask)
        with self._lock:
            kept = self._kept(key)
            if kept is not None:
                waiter.future.set_result(kept)
                return waiter.future
            run = self._runs.get(key)
            joins = run is not None and run.priority <= priority
            if run is None or not joins:
                run = self._runs[key] = _Run(priority)
                self._misses += 1
            else:
                self._joined += 1
            run.waiters.append(waiter)
        if not joins:
            self._start(key, run, ask)
        waiter.future.add_done_callback(lambda done: self._withdraw(key, run, waiter) if done.cancelled() else None)
        return waiter.future

    def _kept(self, key: Key) -> InferenceResult | None:
        entry = self._answers.get(key)
        if entry is None:
            return None
        self._answers.move_to_end(key)
        self._hits += 1
        return entry[0]

    def _start(self, key: Key, run: _Run, ask: Ask) -> None:
        try:
            future = ask()
        except BaseException:
            for joined in self._end(key, run)[1:]:
                _ask_again(joined)
            raise
        with self._lock:
            run.future = future
            abandoned = not run.waiters
        if abandoned:
            future.cancel()
        future.add_done_callback(lambda done: self._finished(key, run, done))

    def _finished(self, key: Key, run: _Run, done: Future[InferenceResult]) -> None:
        """Hand the answer to all who wait. A failure is the first one's; the others have time and luck of their own."""
        failed = done.cancelled() or done.exception() is not None
        if not failed:
            self._keep(key, done.result())
        waiters = self._end(key, run)
        shared = _frozen(done.result()) if len(waiters) > 1 and not failed else None
        for position, waiter in enumerate(waiters):
            if position == 0 and not done.cancelled():
                hand_on(done, waiter.future)
            elif shared is not None:
                _resolve(waiter.future, shared)
            else:
                _ask_again(waiter)

    def _end(self, key: Key, run: _Run) -> list[_Waiter]:
        with self._lock:
            if self._runs.get(key) is run:
                del self._runs[key]
            waiters, run.waiters = run.waiters, []
        return waiters

    def _withdraw(self, key: Key, run: _Run, waiter: _Waiter) -> None:
        with self._lock:
            if waiter not in run.waiters:
                return
            run.waiters.remove(waiter)
            abandoned = not run.waiters
            if abandoned and self._runs.get(key) is run:
                del self._runs[key]
            future = run.future
        if abandoned and future is not None:
            future.cancel()

    def _keep(self, key: Key, result: InferenceResult) -> None:
        size = _ENTRY_BYTES + sum(array.nbytes for array in result.outputs.values())
        if size > self._limit:
            return
        frozen = _frozen(result)
        with self._lock:
            if key in self._answers:
                return
            self._answers[key] = (frozen, size)
            self._used += size
            while self._used > self._limit:
                _, (_, freed) = self._answers.popitem(last=False)
                self._used -= freed


def _frozen(result: InferenceResult) -> InferenceResult:
    """A copy of its own, since outputs can be views of a whole batch's, that several can hold at once."""
    outputs = {name: array.copy() for name, array in result.outputs.items()}
    for array in outputs.values():
        array.flags.writeable = False
    return replace(result, outputs=outputs, cached=True)


def _ask_again(waiter: _Waiter) -> None:
    """Ask for one who had joined a run that came to nothing."""
    if waiter.future.cancelled():
        return
    try:
        future = waiter.ask()
    except RuntimeFailure as error:
        _fail(waiter.future, error)
        return
    waiter.future.add_done_callback(lambda done: future.cancel() if done.cancelled() else None)
    future.add_done_callback(lambda done: hand_on(done, waiter.future))


def hand_on(done: Future[InferenceResult], to: Future[InferenceResult]) -> None:
    """What became of one future becomes of another, unless that is withdrawn."""
    if done.cancelled():
        to.cancel()
    elif (error := done.exception()) is not None:
        _fail(to, error)
    else:
        _resolve(to, done.result())


def _resolve(future: Future[InferenceResult], result: InferenceResult) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def _fail(future: Future[InferenceResult], error: BaseException | None) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
