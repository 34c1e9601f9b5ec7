"""Claims tasks and runs their steps on threads; commits what a step gives back together with the task's end (DESIGN
§2.2).
"""

import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import sqlalchemy as sa
import structlog

from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.logs import places
from daemon.queue import LeaseLost, Task
from daemon.steps import Commit, Context, GiveUp, Step, TryAgain, nothing
from daemon.steps.copy import Copy
from daemon.steps.deidentify import Deidentify
from daemon.steps.deliver import Deliver
from daemon.steps.drift import Drift
from daemon.steps.hand_over import HandOver
from daemon.steps.infer import Infer
from daemon.steps.maintenance import MAINTENANCE
from daemon.steps.make import Make
from daemon.steps.report import Report
from daemon.steps.shadow import Shadow
from daemon.steps.withdraw import Withdraw

_IDLE_SECONDS: Final = 0.2
_MOST_ATTEMPTS: Final = 2000  # whatever a step allows itself; beyond it, the task has ended its worker each time
_log = structlog.get_logger(__name__)
STEPS: Final[dict[str, Step]] = {
    step.kind: step
    for step in (
        *(Deidentify(), Infer(), Report(), Make(), Copy(), Deliver(), Withdraw(), HandOver(), Shadow(), Drift()),
        *MAINTENANCE,
    )
}

_OUTSIDE: Final = (Report.kind, Deliver.kind)
"""Kinds that wait for other systems: one that hangs must not keep what is urgent here from running."""
_INSIDE: Final = tuple(kind for kind in STEPS if kind not in _OUTSIDE)


class TaskLoop:
    """One thread claims, `engine.workers` threads run, one thread keeps the leases alive."""

    def __init__(self, context: Context, owner: str) -> None:
        self._context, self._owner = context, owner
        self._settings = context.node.settings.engine
        self._database = context.node.database
        self._running: dict[int, Task] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._free = threading.Semaphore(self._settings.workers)
        self._pool = ThreadPoolExecutor(self._settings.workers, thread_name_prefix="step")
        self._threads = [
            threading.Thread(target=self._claim_forever, name="claim", daemon=True),
            threading.Thread(target=self._extend_forever, name="leases", daemon=True),
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Claim nothing more, finish what runs."""
        self._stop.set()
        self._threads[0].join()
        self._pool.shutdown(wait=True)

    def is_healthy(self) -> bool:
        """Whether its threads live."""
        return all(thread.is_alive() for thread in self._threads)

    def _claim_forever(self) -> None:
        while not self._stop.is_set():
            self._free.acquire()
            self._free.release()
            if not self._claim_some():
                self._stop.wait(_IDLE_SECONDS)

    def _claim_some(self) -> int:
        """Claim for the free threads; those that wait for other systems may not take the last one."""
        with self._lock:
            free = self._settings.workers - len(self._running)
            outside = sum(task.kind in _OUTSIDE for task in self._running.values())
        claimed = self._claim(_INSIDE, free)
        for_outside = max(1, self._settings.workers - 1) - outside
        return claimed + self._claim(_OUTSIDE, min(free - claimed, for_outside))

    def _claim(self, kinds: Collection[str], limit: int) -> int:
        if limit <= 0:
            return 0
        try:
            tasks = queue.claim(self._database, self._owner, kinds, limit, self._settings.lease_seconds)
        except sa.exc.DBAPIError as error:
            _log.error("claim_failed", error=type(error).__name__)
            self._stop.wait(1.0)
            return 0
        for task in tasks:
            with self._lock:
                self._running[task.id] = task
            self._free.acquire()
            self._pool.submit(self._run, task)
        return len(tasks)

    def _extend_forever(self) -> None:
        while not self._stop.wait(self._settings.lease_seconds / 3):
            with self._lock:
                tasks = list(self._running.values())
            for task in tasks:
                try:
                    self._extend(task)
                except LeaseLost:
                    continue  # it has just ended, or its step will find out when it commits
                except sa.exc.DBAPIError as error:
                    _log.error("lease_not_extended", task=task.id, error=type(error).__name__)

    def _extend(self, task: Task) -> None:
        self._database.retrying(
            lambda connection: queue.extend(connection, task, lease_seconds=self._settings.lease_seconds)
        )

    def _run(self, task: Task) -> None:
        log = _log.bind(task=task.id, kind=task.kind, attempt=task.attempts)
        began = time.monotonic()
        try:
            self._attempt(task, log)
            log.info("task_ended", seconds=round(time.monotonic() - began, 3))
        except LeaseLost:
            log.warning("task_lease_lost")
        except Exception as error:  # noqa: BLE001 - the task's lease runs out and it is tried again
            log.error("task_not_committed", error=type(error).__name__, trace=places(error))
        finally:
            with self._lock:
                del self._running[task.id]
            self._free.release()

    def _attempt(self, task: Task, log: structlog.typing.FilteringBoundLogger) -> None:
        step = STEPS[task.kind]
        if task.attempts > _MOST_ATTEMPTS:
            self._bury(step, task, "it ended its worker each time")
            return
        try:
            commit = step.run(self._context, task)

            def end(connection: sa.Connection) -> None:
                commit(connection)
                queue.complete(connection, task)

            self._database.retrying(end)
        except LeaseLost:
            raise
        except GiveUp as error:
            log.warning("task_given_up", reason=str(error))
            self._bury(step, task, str(error), error.last_words)
        except TryAgain as error:
            log.info("task_put_back", reason=str(error))
            self._put_back(step, task, str(error), error.after_seconds or 0.0, error.maximum_attempts)
        except Exception as error:  # noqa: BLE001 - whatever it is, the task must go back into the queue
            log.error("task_failed", error=type(error).__name__, trace=places(error))
            self._put_back(step, task, type(error).__name__, 0.0, queue.MAXIMUM_ATTEMPTS)

    def _put_back(self, step: Step, task: Task, reason: str, delay_seconds: float, most: int) -> None:
        if task.attempts >= most:
            self._bury(step, task, reason)
            return
        self._database.retrying(
            lambda connection: queue.retry(connection, task, reason, delay_seconds, maximum_attempts=most)
        )

    def _bury(self, step: Step, task: Task, reason: str, last_words: Commit = nothing) -> None:
        def bury(connection: sa.Connection) -> None:
            queue.fail(connection, task, reason)
            last_words(connection)
            step.on_dead(self._context, connection, task, reason[:400])
            details: dict[str, Detail] = {"task": task.id, "kind": Name(task.kind), "key": Id(task.key)}
            self._context.node.audit.record(connection, AuditEvent(Kind.TASK_DEAD, actor="engine", details=details))

        self._database.retrying(bury)
