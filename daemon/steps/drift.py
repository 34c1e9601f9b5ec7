"""Recurring work: ask the runtime whether what its models see and say has moved, and record where an alert begins or
ends (`daemon.drift`). The task that is due runs on one host, and asks about that host's models.
"""

from typing import Final

import sqlalchemy as sa
import structlog

from daemon.drift import alerts_on, event_of, judge
from daemon.queue import Task
from daemon.steps.step import Commit, Context, nothing
from runtime import RuntimeFailure

KIND: Final = "drift"
_log = structlog.get_logger(__name__)


class Drift:
    """Compares; changes nothing but the audit log."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Ask about all models. Where no runtime answers there is nothing to compare, and the next look is soon."""
        node = context.node
        try:
            reports = node.runtime.drift()
        except RuntimeFailure as error:
            _log.info("drift_not_asked", reason=type(error).__name__)
            return nothing
        host = node.settings.node.name

        def commit(connection: sa.Connection) -> None:
            on = alerts_on(connection, host)
            for report in reports:
                was_on = (report.model, report.version) in on
                alert = judge(report, was_on=was_on)
                if alert.on != was_on:
                    node.audit.record(connection, event_of(report, alert, host))
                    _log.warning("model_drifts", model=report.model, version=report.version, on=alert.on)

        return commit

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The next one is due soon."""
