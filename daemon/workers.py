"""Worker processes for de-identification and for decoding untrusted pixels: a codec that crashes takes no one with it.

Workers are spawned, never forked from a threaded parent, and die with the engine. When one is killed by what it was
given, or does not come back from it, the pool is made anew; whoever waited gets `WorkerDied` and may try again.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar

from daemon.supervision.child import die_with_parent

P = ParamSpec("P")
R = TypeVar("R")


LONGEST_SECONDS = 1800.0
"""More than the longest multi-frame takes to be looked at for text."""

_LOOK_SECONDS = 1.0


class WorkerDied(Exception):
    """The worker process ended while it had our work: out of memory, killed by a codec, or hanging in it."""


class Workers:
    """A pool of `count` processes, each of which first runs `prepare`. `call` may be used from many threads.

    Work that takes longer than `longest_seconds` is ended, with what the other processes do just then: that is tried
    again. Work that waits for a free process has not begun, however long that takes, and is not touched.
    """

    def __init__(
        self, count: int, prepare: Callable[[], None] | None = None, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._count, self._prepare, self._longest = count, prepare, longest_seconds
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(count)  # the pool would take work that none of its processes can begin
        self._closing = False
        # The kernel ends a process with the *thread* that made it (PR_SET_PDEATHSIG, prctl(2)), and a pool makes its
        # processes in whatever thread brings it work. So one thread, which lives as long as the pool, brings it all.
        self._bringer = ThreadPoolExecutor(1, thread_name_prefix="workers")
        self._pool = self._make()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module-level function in a worker and wait for it. Raises what it raises, or `WorkerDied`."""
        with self._free:
            return self._call_free(partial(function, *args, **kwargs))

    def _call_free(self, work: Callable[[], R]) -> R:
        if self._closing:
            raise WorkerDied("the workers are being ended; the work was not begun")
        pool = self._pool
        try:
            answer = self._bringer.submit(pool.submit, work).result()
            if not self._is_done(answer, pool):
                self._replace(pool)
                raise WorkerDied(f"a worker process did not answer within {self._longest:.0f} seconds")
            return answer.result()
        except BrokenProcessPool:
            self._replace(pool)
            raise WorkerDied("a worker process ended unexpectedly") from None

    def _is_done(self, answer: Future[R], pool: ProcessPoolExecutor) -> bool:
        """Wait for an answer; False when that takes too long. Raises `BrokenProcessPool`.

        A pool may not see the end of a process that it has just made, until something else happens: its thread looks
        for processes before it makes one. So this looks, too.
        """
        end = time.monotonic() + self._longest
        while (left := end - time.monotonic()) > 0:
            if wait([answer], min(left, _LOOK_SECONDS)).done:
                return True
            if any(process.exitcode is not None for process in _processes(pool)):
                raise BrokenProcessPool
        return False

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        """Put a new pool in the place of one that is broken or hangs, once; what the old one still does is ended."""
        with self._lock:
            if self._pool is not pool:
                return
            self._pool = self._make()
        _kill(pool)

    def close(self, *, abandon: bool = False) -> None:
        """Let running work finish, or with `abandon` end it at once; and end the processes."""
        self._closing = True
        if abandon:
            _kill(self._pool)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._bringer.shutdown(wait=True)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), self._prepare),
        )


def _kill(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes. There is no other way to end what hangs in a codec."""
    for process in _processes(pool):
        process.kill()


def _processes(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    return list((pool._processes or {}).values())  # None once it is shut down


def _begin(parent_pid: int, prepare: Callable[[], None] | None) -> None:
    """In a new worker process."""
    die_with_parent(parent_pid)
    if prepare is not None:
        prepare()
