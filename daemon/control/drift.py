"""Tells how far what the models see and say has moved from their packages' references."""

from dataclasses import asdict
from typing import Any

from daemon.control.errors import CommandFailed
from daemon.drift import alerts_on, judge
from daemon.node import Node
from runtime import DriftReport, RuntimeFailure


def models_drift(node: Node, actor: str, model: str | None = None) -> list[dict[str, Any]]:
    """A row for each version that can be watched, with all its features; `alert` is whether the log says it drifts."""
    try:
        reports = node.runtime.drift()
    except RuntimeFailure as error:
        raise CommandFailed(f"the model runtime does not answer ({type(error).__name__}); see the log") from None
    watched = sorted({report.model for report in reports})
    if model is not None and model not in watched:
        raise CommandFailed(f"no such model is watched; watched, by their packages: {', '.join(watched) or 'none'}", 2)
    with node.database.read() as connection:
        on = alerts_on(connection, node.settings.node.name)
    return [_told(report, on) for report in reports if model in (None, report.model)]


def _told(report: DriftReport, on: set[tuple[str, str]]) -> dict[str, Any]:
    alert = (report.model, report.version) in on
    moved = {one.feature for one in judge(report, was_on=alert).moved}
    return {
        "model": report.model,
        "version": report.version,
        "alert": alert,
        "judged": report.judged,
        "refused": {verdict.value: count for verdict, count in sorted(report.refused.items())},
        "samples": report.samples,
        "features": [asdict(one) | {"moved": one.feature in moved} for one in report.features],
    }
