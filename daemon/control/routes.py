"""What an operator sees of the routes of models: how each is doing, and which model has none that could answer now.

Of this host's runtime: another host may have a route where this one has none. Numbers and the runtime's own words only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa

from daemon.control.errors import CommandFailed
from daemon.database import schema as t
from daemon.node import Node
from daemon.registry import ExperimentState, Stage, package_sha256
from daemon.registry.versions import answering
from runtime import LaneHealth, LaneState, ModelHealth, RuntimeFailure
from runtime.counters import LATENCY_SECONDS

_CANNOT_ANSWER: Final = frozenset({LaneState.FAILED, LaneState.UNAVAILABLE, LaneState.LOST})


def models_routes(node: Node, actor: str, model: str | None = None) -> dict[str, Any]:
    """Each route of each version that this host's runtime has, what loaded models hold, and what the cache is good for.

    `latency` of a route counts requests by the upper bound of their time in seconds, from acceptance to answer; None is
    for those that took longer than all of them.
    """
    try:
        health, usage = node.runtime.health(), node.runtime.usage()
    except RuntimeFailure as error:
        raise CommandFailed(f"the model runtime does not answer ({type(error).__name__}); see the log") from None
    there = sorted({one.model for one in health})
    if model is not None and model not in there:
        raise CommandFailed(f"this host has no such model; it has: {', '.join(there) or 'none'}", 2)
    return {
        "routes": [row for one in health if model in (None, one.model) for row in _rows(one)],
        "memory": [asdict(one) for one in usage.memory],
        "cache": asdict(usage.cache),
    }


def without_route(node: Node, health: Sequence[ModelHealth]) -> list[dict[str, Any]]:
    """The versions that answer studies and cannot now, each with the reason: then studies wait.

    Those are the one in production and the challenger of an experiment. A name of which this host has no package at all
    is none of its studies'. Raises `runtime.RuntimeFailure`.
    """
    loaded = {(one.model, one.version): one for one in health}
    names = {one.model for one in health}
    packages = {(one.name, one.version): package_sha256(one) for one in node.runtime.models()}
    with node.database.read() as connection:
        asked = [version for version in _asked(connection) if version.name in names]
        unserved = sorted(name for name, one in answering(connection).items() if one is None and name in names)
    found = []
    for version in asked:
        key = version.name, version.version
        reason = _obstacle(loaded.get(key))
        if packages.get(key, version.package_sha256) != version.package_sha256:
            reason = "the package here is not the one that was registered; give it another version"
        if reason:
            found.append({"model": version.name, "version": version.version, "stage": version.stage, "reason": reason})
    nobody = "no version is in production; promote one with `kopru models promote`"
    return found + [{"model": name, "version": None, "stage": None, "reason": nobody} for name in unserved]


def obstacle_to(node: Node, model: str, version: str) -> str | None:
    """Why a version cannot answer on this host now, None if it can: for whoever has just let it answer."""
    try:
        health = node.runtime.health()
    except RuntimeFailure as error:
        return f"the model runtime does not answer ({type(error).__name__})"
    return _obstacle(next((one for one in health if (one.model, one.version) == (model, version)), None)) or None


def _asked(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """The versions that are asked about studies, by name."""
    challengers = sa.select(t.experiment.c.challenger_id).where(t.experiment.c.state == ExperimentState.RUNNING)
    v = t.model_version.c
    query = sa.select(t.model_version).where(sa.or_(v.stage == Stage.PRODUCTION, v.id.in_(challengers)))
    return connection.execute(query.order_by(v.name, v.imported_at)).all()


def _obstacle(health: ModelHealth | None) -> str:
    """Why a version cannot answer; empty if it can."""
    if health is None:
        return "the runtime of this host has not loaded it; is its package among runtime.packages?"
    if any(lane.state not in _CANNOT_ANSWER for lane in health.lanes):
        return ""
    reasons = (f"{lane.on}: {lane.reason or lane.state}{_again(lane)}" for lane in health.lanes)
    return "; ".join(reasons) or "no route of its package leads to the device of runtime.device"


def _again(lane: LaneHealth) -> str:
    """When a lane that failed is tried again: nobody tries it but for a request."""
    if lane.state is not LaneState.FAILED:
        return ""
    wait = f" after {lane.retry_seconds:.0f} s" if lane.retry_seconds else ""
    return f" (tried again by the next request{wait})"


def _rows(health: ModelHealth) -> Iterator[Mapping[str, Any]]:
    for lane in health.lanes:
        values = asdict(lane)
        counts = values.pop("latency_counts")
        bounds = (*LATENCY_SECONDS, None)
        histogram = [{"at_most": bound, "requests": count} for bound, count in zip(bounds, counts, strict=True)]
        yield {"model": health.model, "version": health.version, **values, "latency": histogram}
