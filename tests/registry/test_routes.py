"""Which versions an operator is told cannot answer now: of those that answer studies, and no others."""

from typing import Any

import pytest
import sqlalchemy as sa

from daemon.database import schema as t
from daemon.registry import promote
from daemon.registry.experiments import ExperimentKind, start
from runtime import Device, LaneHealth, LaneState, ModelHealth, ModelPackage
from runtime.package import Place
from tests.registry.test_versions import MODEL, act, bundled, newer  # noqa: F401 - fixtures
from tests.steps.installation import Installation

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def lane(state: LaneState, reason: str = "") -> LaneHealth:
    sizes: dict[str, Any] = dict.fromkeys(("memory_bytes", "waiting_samples", "batches", "samples", "failures"), 0)
    times = dict.fromkeys(("retry_seconds", "running_seconds", "busy_seconds", "samples_per_second"), 0.0)
    where = {"on": Place.CPU, "file": None, "precision": None, "device": Device.CPU}
    return LaneHealth(state=state, reason=reason, batch_size=8, latency_counts=(), **where, **sizes, **times)  # type: ignore[arg-type]


def health(version: str, *lanes: LaneHealth) -> ModelHealth:
    return ModelHealth(MODEL, version, Device.AUTO, 0, 0.0, True, lanes)


@pytest.fixture
def console(
    installation: Installation,
    bundled: ModelPackage,  # noqa: F811
    newer: ModelPackage,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    """The commands, on a host that has both packages, of which only the first has a route."""
    monkeypatch.setattr("daemon.control.models.load_sound_packages", lambda _settings: ((bundled, newer), ()))
    ready = health(bundled.version, lane(LaneState.READY))
    installation.model.routes = (ready, health("9.0.0", lane(LaneState.UNAVAILABLE, "no such device")))
    return installation


def told(installation: Installation) -> list[tuple[str | None, str]]:
    return [(row["version"], row["reason"]) for row in installation.ask("status")["without_route"]]


@pytest.mark.parametrize("state", LaneState)
def test_one_route_that_can_be_asked_is_enough(installation: Installation, bundled: ModelPackage, state: LaneState):  # noqa: F811
    lost = lane(LaneState.LOST, "the device is gone")
    installation.model.routes = (health(bundled.version, lost, lane(state, "it failed")),)
    can = state not in (LaneState.FAILED, LaneState.UNAVAILABLE, LaneState.LOST)
    again = " (tried again by the next request)" if state is LaneState.FAILED else ""
    reason = f"cpu: the device is gone; cpu: it failed{again}"
    assert told(installation) == ([] if can else [(bundled.version, reason)])


def test_a_candidate_is_told_of_once_an_experiment_asks_it(
    installation: Installation,
    bundled: ModelPackage,  # noqa: F811
    newer: ModelPackage,  # noqa: F811
):
    ready = health(bundled.version, lane(LaneState.READY))
    installation.model.routes = (ready, health("9.0.0", lane(LaneState.UNAVAILABLE, "no such device")))
    assert told(installation) == []
    act(installation, start, ExperimentKind.AB, MODEL, "9.0.0", 0.5)
    assert told(installation) == [("9.0.0", "cpu: no such device")]


def test_a_version_that_this_host_has_not_loaded_and_no_version_at_all_are_told(
    installation: Installation,
    bundled: ModelPackage,  # noqa: F811
    newer: ModelPackage,  # noqa: F811
):
    installation.model.routes = (health(bundled.version, lane(LaneState.READY)),)
    assert told(installation) == []
    changed = bundled.description.model_copy(update={"intended_use": "Something else."})
    installation.model.models = lambda: (changed,)  # type: ignore[method-assign]
    ((version, reason),) = told(installation)
    assert (version, "not the one that was registered" in reason) == (bundled.version, True)
    act(installation, promote, MODEL, "9.0.0")
    ((version, reason),) = told(installation)
    assert (version, "has not loaded it" in reason) == ("9.0.0", True)
    with installation.database.write() as connection:
        connection.execute(sa.update(t.model_version).where(t.model_version.c.name == MODEL).values(stage="retired"))
    ((version, reason),) = told(installation)
    assert (version, "no version is in production" in reason) == (None, True)


def test_who_lets_a_version_answer_hears_that_it_has_no_route(console: Installation):
    experiment = console.ask("models.experiment-start", kind="ab", model=MODEL, version="9.0.0", share=0.5)
    assert experiment["obstacle"] == "cpu: no such device"
    assert console.ask("models.promote", model=MODEL, version="9.0.0")["obstacle"] == "cpu: no such device"
    assert console.ask("models.rollback", model=MODEL)["obstacle"] is None
