"""Answers that the daemon and the CLI give in the same form, whichever of them made them."""

from dataclasses import asdict
from typing import Any

from daemon.audit import Report


def report_as_json(report: Report) -> dict[str, Any]:
    """What verifying the audit log found, as a JSON value; each problem with its sentence."""
    return {
        "sound": report.sound,
        "size": report.size,
        "unsealed": report.unsealed,
        "published": report.published,
        "omitted": report.omitted,
        "problems": [{**asdict(problem), "message": str(problem)} for problem in report.problems],
    }
