"""When a model is said to drift, and when no more. What a runtime measured (`runtime.drift`) becomes an alert here.

A feature has moved if its population stability index reaches 0.25, the usual mark of a large change, and the
Kolmogorov–Smirnov test gives chance less than one in a thousand; below 200 samples nothing is said. An alert that began
ends only when no feature reaches 0.15 with chance less than one in twenty: so a model at the edge of either mark does
not ring at every look (hysteresis). Whether one is on is what the audit log said last about that version on this host;
nothing else is kept.
"""

import json
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from daemon.audit import AuditEvent, Detail, Kind, Name
from daemon.database.schema import audit_event
from runtime import DriftReport
from runtime.drift import FeatureDrift

FEWEST_SAMPLES: Final = 200
BEGINS: Final = 0.25
ENDS: Final = 0.15
CHANCE_BEGINS: Final = 0.001
CHANCE_ENDS: Final = 0.05
_MOST_EVENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Alert:
    """Whether a version drifts, and by which features, the furthest first."""

    on: bool
    moved: tuple[FeatureDrift, ...]


def judge(report: DriftReport, *, was_on: bool) -> Alert:
    """What a report means after what was said before; with too few samples, what was said before stands."""
    if report.samples < FEWEST_SAMPLES:
        return Alert(was_on, ())
    mark, chance = (ENDS, CHANCE_ENDS) if was_on else (BEGINS, CHANCE_BEGINS)
    found = [one for one in report.features if one.stability_index >= mark and one.p_value < chance]
    return Alert(bool(found), tuple(sorted(found, key=lambda one: -one.stability_index)))


def alerts_on(connection: sa.Connection, host: str) -> set[tuple[str, str]]:
    """The models and versions of a host whose alert has begun and not ended."""
    query = (
        sa.select(audit_event.c.body)
        .where(audit_event.c.kind.in_((Kind.DRIFT_BEGAN, Kind.DRIFT_ENDED)))
        .order_by(audit_event.c.id.desc())
        .limit(_MOST_EVENTS)
    )
    last: dict[tuple[str, str], str] = {}
    for body in connection.execute(query).scalars():
        event = json.loads(body)
        if event["details"]["host"] == host:
            last.setdefault((event["details"]["model"], event["details"]["version"][1:]), event["kind"])
    return {version for version, kind in last.items() if kind == Kind.DRIFT_BEGAN}


def event_of(report: DriftReport, alert: Alert, host: str) -> AuditEvent:
    """That an alert begins or ends: numbers of samples and features, and the name of the one that moved furthest."""
    details: dict[str, Detail] = {
        "host": Name(host),
        "model": Name(report.model),
        "version": Name(f"v{report.version}"),
        "samples": report.samples,
        "features": len(alert.moved),
        "furthest": Name(alert.moved[0].feature) if alert.moved else None,
        "stability_percent": round(100 * alert.moved[0].stability_index) if alert.moved else None,
    }
    return AuditEvent(Kind.DRIFT_BEGAN if alert.on else Kind.DRIFT_ENDED, actor="engine", details=details)
