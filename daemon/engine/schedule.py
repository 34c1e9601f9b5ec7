"""The clockwork: puts recurring tasks into the queue, each under the time it was due, so that several hosts do not
double it.

APScheduler only inserts tasks; the engine runs them like any other (DESIGN §4).
"""

from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from daemon import queue
from daemon.node import Node
from daemon.steps.drift import KIND as DRIFT
from daemon.steps.maintenance import EPOCHS, LEFTOVERS

_EVERY_SECONDS: Final = {EPOCHS: 60, LEFTOVERS: 300, DRIFT: 300}
RECURRING: Final = tuple(_EVERY_SECONDS)
"""Kinds of housekeeping: thousands of tasks, which nobody looks at unless they fail."""


class Schedule:
    """One scheduler thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        for kind, seconds in _EVERY_SECONDS.items():
            self._scheduler.add_job(self._insert, IntervalTrigger(seconds=seconds, timezone=UTC), (kind, seconds))

    def start(self) -> None:
        """Start the clock; each kind of task is also due once now."""
        for kind, seconds in _EVERY_SECONDS.items():
            self._insert(kind, seconds)
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the clock."""
        self._scheduler.shutdown(wait=False)

    def _insert(self, kind: str, seconds: int) -> None:
        due = int(datetime.now(UTC).timestamp()) // seconds * seconds
        self._node.database.retrying(lambda connection: queue.enqueue(connection, kind, str(due), {}))
