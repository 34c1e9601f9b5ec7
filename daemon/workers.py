"""Worker processes for de-identification and for decoding untrusted pixels: a codec that crashes takes no one with it.

Workers are spawned, never forked from a threaded parent, and die with the engine. When one is killed by what it was
given, the pool is made anew; whoever waited gets `WorkerDied` and may try again.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from daemon.supervision.child import die_with_parent

P = ParamSpec("P")
R = TypeVar("R")


class WorkerDied(Exception):
    """The worker process ended while it had our work: out of memory, or killed by a codec."""


class Workers:
    """A pool of `count` processes, each of which first runs `prepare`. `call` may be used from many threads."""

    def __init__(self, count: int, prepare: Callable[[], None] | None = None) -> None:
        self._count, self._prepare = count, prepare
        self._lock = threading.Lock()
        # The kernel ends a process with the *thread* that made it (PR_SET_PDEATHSIG, prctl(2)), and a pool makes its
        # processes in whatever thread brings it work. So one thread, which lives as long as the pool, brings it all.
        self._bringer = ThreadPoolExecutor(1, thread_name_prefix="workers")
        self._pool = self._make()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module-level function in a worker and wait for it. Raises what it raises, or `WorkerDied`."""
        pool = self._pool
        try:
            return self._bringer.submit(pool.submit, function, *args, **kwargs).result().result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._make()
            raise WorkerDied("a worker process ended unexpectedly") from None

    def close(self) -> None:
        """Let running work finish and end the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._bringer.shutdown(wait=True)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), self._prepare),
        )


def _begin(parent_pid: int, prepare: Callable[[], None] | None) -> None:
    """In a new worker process."""
    die_with_parent(parent_pid)
    if prepare is not None:
        prepare()
