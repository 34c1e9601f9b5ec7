"""The recurring look at drift: an alert begins and ends in the audit log, and an operator sees the same."""

import json

import pytest

from daemon import queue
from daemon.control import CommandFailed
from daemon.steps.drift import KIND
from runtime import DriftReport, RuntimeUnavailable, Verdict
from runtime.drift import FeatureDrift
from tests.steps.installation import Installation


def report(index: float) -> DriftReport:
    feature = FeatureDrift("input.mean", 500, index, 0.4, 1e-9)
    return DriftReport("chest-xray-3class", "0.2.0", 510, {Verdict.UNLIKE: 10}, 500, (feature,))


def look(installation: Installation, index: float) -> None:
    installation.model.drift = lambda: (report(index),)  # type: ignore[attr-defined]
    with installation.database.write() as connection:
        queue.enqueue(connection, KIND, str(index), {})
    installation.attempt(installation.claim(KIND))


def test_what_drifts_is_recorded_once_and_shown_until_it_ends(installation: Installation) -> None:
    for index in (0.1, 0.4, 0.5, 0.2):
        look(installation, index)
    (row,) = installation.ask("models.drift")
    assert (row["alert"], row["refused"], row["features"][0]["moved"]) == (True, {"unlike": 10}, True)
    with pytest.raises(CommandFailed, match="no such model is watched") as refused:
        installation.ask("models.drift", model="another")
    assert refused.value.exit_code == 2
    look(installation, 0.01)
    (row,) = installation.ask("models.drift")
    assert (row["alert"], row["features"][0]["moved"]) == (False, False)
    events = [json.loads(row["event"]) for row in installation.ask("audit.tail", count=100)]
    kinds = [event["kind"] for event in events if event["kind"].startswith("model.drift")]
    assert kinds == ["model.drift-began", "model.drift-ended"]


def test_a_runtime_that_is_away_leaves_no_dead_task(installation: Installation) -> None:
    def away() -> tuple[DriftReport, ...]:
        raise RuntimeUnavailable("away")

    installation.model.drift = away  # type: ignore[attr-defined]
    with installation.database.write() as connection:
        queue.enqueue(connection, KIND, "now", {})
    installation.attempt(installation.claim(KIND))
    assert installation.ask("tasks.list", kind=KIND)[0]["state"] == "done"
