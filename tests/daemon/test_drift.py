"""When a model is said to drift: enough samples, two marks, and once for each beginning and end."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from daemon.audit import AuditWriter, Kind
from daemon.database import Database
from daemon.database import schema as t
from daemon.drift import BEGINS, ENDS, FEWEST_SAMPLES, alerts_on, event_of, judge
from runtime import DriftReport
from runtime.drift import FeatureDrift

HOST = "ward"


def report(index: float, *, samples: int = 500, p_value: float = 1e-6, model: str = "chest") -> DriftReport:
    features = (
        FeatureDrift("input.mean", samples, index, 0.3, p_value),
        FeatureDrift("score.0", samples, 0.01, 0.02, 0.9),
    )
    return DriftReport(model, "1.0.0", samples, {}, samples, features)


@pytest.mark.parametrize(
    ("found", "was_on", "on"),
    [
        (report(BEGINS), False, True),
        (report(BEGINS - 0.01), False, False),
        (report(BEGINS - 0.01), True, True),
        (report(ENDS), True, True),
        (report(ENDS - 0.01), True, False),
        (report(9.0, p_value=0.01), False, False),
        (report(0.3, p_value=0.002), True, True),
        (report(9.0, p_value=0.06), True, False),
        (report(9.0, samples=FEWEST_SAMPLES - 1), False, False),
        (report(0.0, samples=FEWEST_SAMPLES - 1), True, True),
    ],
)
def test_an_alert_begins_at_one_mark_and_ends_at_a_lower_one(found: DriftReport, was_on: bool, on: bool) -> None:
    assert judge(found, was_on=was_on).on is on


def test_the_feature_that_moved_furthest_is_named_first() -> None:
    features = tuple(FeatureDrift(f"embedding.{n}", 500, index, 0.5, 0.0) for n, index in enumerate((0.3, 2.0, 0.5)))
    alert = judge(DriftReport("chest", "1.0.0", 500, {}, 500, features), was_on=False)
    assert [one.feature for one in alert.moved] == ["embedding.1", "embedding.2", "embedding.0"]
    event = event_of(DriftReport("chest", "1.0.0", 500, {}, 500, features), alert, HOST)
    assert (event.details["furthest"], event.details["stability_percent"]) == ("embedding.1", 200)


def test_a_model_at_the_edge_of_chance_rings_once() -> None:
    """Two hundred samples of a feature that has moved: chance is now less than one in a thousand, and now more."""
    on, rung = False, 0
    for p_value in (0.0009, 0.0011) * 10:
        alert = judge(report(0.4, samples=FEWEST_SAMPLES, p_value=p_value), was_on=on)
        rung += alert.on is not on
        on = alert.on
    assert (rung, on) == (1, True)


def look(database: Database, found: DriftReport, host: str = HOST) -> None:
    """What the step does in its transaction."""
    with database.write() as connection:
        was_on = (found.model, found.version) in alerts_on(connection, host)
        alert = judge(found, was_on=was_on)
        if alert.on != was_on:
            AuditWriter("engine").record(connection, event_of(found, alert, host))


def test_each_beginning_and_end_is_recorded_once(database: Any) -> None:
    for index in (0.0, 0.3, 0.4, 0.2, 0.1, 0.2, 0.3):
        look(database, report(index))
    look(database, report(0.5, model="hand"))
    look(database, report(0.5), host="theatre")
    with database.read() as connection:
        bodies = connection.execute(sa.select(t.audit_event.c.body).order_by(t.audit_event.c.id)).scalars().all()
        assert alerts_on(connection, HOST) == {("chest", "1.0.0"), ("hand", "1.0.0")}
        assert alerts_on(connection, "nowhere") == set()
    kinds = [json.loads(body)["kind"] for body in bodies if json.loads(body)["details"]["host"] == HOST]
    assert kinds == [Kind.DRIFT_BEGAN, Kind.DRIFT_ENDED, Kind.DRIFT_BEGAN, Kind.DRIFT_BEGAN]
