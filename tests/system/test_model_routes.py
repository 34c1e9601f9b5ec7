"""A model without a route in a real daemon: its studies wait, an operator sees it at once, and they go on later."""

from pathlib import Path

import pytest

from tests.steps.installation import image
from tests.system.kopru import Kopru
from tests.waiting import wait_until

NO_GPU_HERE = '\n[runtime.routes]\nchest-xray-3class = [{ on = "cuda" }]\n'


@pytest.fixture
def kopru(tmp_path: Path, sqlite_url: str):
    daemon = Kopru(tmp_path, sqlite_url, more=NO_GPU_HERE)
    try:
        yield daemon
    finally:
        daemon.close()


def test_a_study_whose_model_has_no_route_waits_visibly_and_goes_on_with_one(kopru: Kopru, tmp_path: Path):
    kopru.start()
    wait_until(lambda: bool(kopru.ask("status")["without_route"]), "the engine to have registered its models", 30)
    (blocked,) = kopru.ask("status")["without_route"]
    assert (blocked["model"], blocked["stage"]) == ("chest-xray-3class", "production")
    assert "cuda" in blocked["reason"], "before any study has come"
    image().save_as(tmp_path / "image.dcm", enforce_file_format=True)
    assert kopru.send([tmp_path / "image.dcm"])
    wait_until(lambda: bool(kopru.ask("status")["put_back"]), "the study to wait for its model", 30)
    (put_back,) = kopru.ask("status")["put_back"]
    assert (put_back["kind"], put_back["count"]) == ("infer", 1)
    said = kopru.cli("status")
    assert "chest-xray-3class" in said
    assert "cannot answer, so studies wait: cuda" in said
    assert "1 infer to be tried again" in said
    assert kopru.studies()[0]["state"] == "deidentified"
    assert "unavailable" in kopru.cli("models", "routes", "chest-xray-3class")

    kopru.stop()
    kopru.settings.write_text(kopru.settings.read_text().replace(NO_GPU_HERE, ""))
    kopru.start()
    kopru.ask("tasks.retry-all", state="ready", kind="infer")
    kopru.wait_for_states({"delivered": 1})
    routes = kopru.ask("models.routes", model="chest-xray-3class")["routes"]
    (route,) = (one for one in routes if one["on"] == "cpu")
    assert (route["state"], route["samples"]) == ("ready", 1)
    assert sum(bucket["requests"] for bucket in route["latency"]) == 1
    assert kopru.ask("status")["without_route"] == kopru.ask("status")["put_back"] == []
