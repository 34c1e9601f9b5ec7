"""Answers that the daemon and the CLI give in the same form, whichever of them made them."""

from dataclasses import asdict
from typing import Any

from daemon.audit import Report
from daemon.audit.events import time_text


def report_as_json(report: Report) -> dict[str, Any]:
    """What verifying the audit log found, as a JSON value; each problem with its sentence."""
    return {
        "sound": report.sound,
        "size": report.size,
        "head_at": time_text(report.head.at_microseconds) if report.head else None,
        "unsealed": report.unsealed,
        "published": report.published,
        "omitted": report.omitted,
        "problems": [{**asdict(problem), "message": str(problem)} for problem in report.problems],
    }
