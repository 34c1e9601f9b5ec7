"""The command line as a user meets it: answers, JSON, exit codes, and what is refused."""

import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

import pipelines
from runtime import ModelPackage, to_input
from tests.cli.conftest import Run, home, run  # noqa: F401 - fixtures
from tests.peers.process import free_port
from tests.runtime import oddities
from tests.system.kopru import Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until

CHEST = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"


@pytest.fixture(scope="module")
def kopru(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kopru]:
    """One running daemon for all tests here: each puts in what it asks for."""
    folder = tmp_path_factory.mktemp("kopru")
    daemon = Kopru(folder, f"sqlite:///{folder / 'data' / 'kopru.sqlite'}")
    _, key, _, *table = daemon.cli("config", "api-key", "triage-app").splitlines()
    (folder / "api.key").write_text(key)
    with daemon.settings.open("a") as settings:
        settings.write("\n".join(["", "[console]", f"port = {free_port()}", *table]))
    try:
        yield daemon.start()
    finally:
        daemon.close()


def test_every_read_command_answers_in_json_and_for_people(kopru: Kopru, tmp_path: Path, run: Run):  # noqa: F811
    image = as_dx(drawn_image(1), MadeUpPatient(7))
    kopru.send([save(image, tmp_path / "in" / "1.dcm")])
    (study,) = kopru.wait_for_states({"delivered": 1})
    assert "all stored objects are indexed" in kopru.cli("status")
    for command in (
        ["status"],
        ["studies", "list"],
        ["studies", "show", study["study"]],
        ["tasks", "list"],
        ["audit", "tail"],
        ["audit", "verify"],
        ["models", "list"],
        ["models", "show", "chest-xray-3class"],
        ["config", "show"],
        ["config", "check"],
    ):
        people, script = (run("--config", kopru.settings, *command, *form) for form in ([], ["--json"]))
        assert people.out
        json.loads(script.out)
        assert (people.code, script.code, people.err, script.err) == (0, 0, "", "")


def test_the_inference_api_answers_who_has_the_key_that_was_made(kopru: Kopru):
    port = tomllib.loads(kopru.settings.read_text())["console"]["port"]
    headers = {"Authorization": f"Bearer {(kopru.folder / 'api.key').read_text()}"}
    model = f"http://127.0.0.1:{port}/v2/models/chest-xray-3class"
    with httpx.Client(headers=headers) as client:
        about = client.get(model).json()
        (image,) = about["inputs"]
        shape = [1, *image["shape"][1:]]
        film = to_input(drawn_image(1).astype(np.float32) / 255, ModelPackage.load(CHEST).preprocessing)
        drawn = {"name": image["name"], "datatype": "UINT16", "shape": shape, "data": film.ravel().tolist()}
        answer = client.post(f"{model}/infer", json={"inputs": [drawn]}, timeout=60).json()
        assert sum(answer["outputs"][0]["data"]) == pytest.approx(1, abs=1e-4)
        black = client.post(f"{model}/infer", json={"inputs": [drawn | {"data": [0.0] * math.prod(shape)}]}, timeout=60)
        assert (black.status_code, "unlike what the model was made for" in black.text) == (422, True)
        del client.headers["Authorization"]
        assert client.get(model).status_code == 401


def test_an_export_verifies_without_the_daemon_and_a_changed_one_does_not(kopru: Kopru, tmp_path: Path):
    wait_until(lambda: kopru.ask("status")["audit"]["sealed"], "the first records to be sealed")
    export, heads = tmp_path / "log.jsonl", kopru.data / "audit-heads"
    kopru.cli("audit", "export", "--out", export)
    assert export.stat().st_mode & 0o777 == 0o600, "it names operators"
    elsewhere = tmp_path / "elsewhere.toml"  # another installation: nothing of the daemon is asked
    elsewhere.write_text(f'[node]\ndata = "{tmp_path / "other"}"\n')
    verify = ("--config", elsewhere, "audit", "verify", "--export", export)
    assert "verifies" in kopru.cli(*verify, "--public-key", heads / "public-key.pem")
    assert "verifies" in kopru.cli(*verify, "--heads", heads)
    export.write_text(export.read_text().replace("process.started", "process.stopped"))
    assert "does not verify" in kopru.cli(*verify, "--heads", heads, code=1)


def test_deidentify_keeps_a_patient_together_under_a_key_and_quarantines_with_3(kopru: Kopru, tmp_path: Path):
    patient = MadeUpPatient(8)
    clean = [save(as_dx(drawn_image(n), patient), tmp_path / "in" / f"{n}.dcm") for n in range(2)]
    out, key = tmp_path / "out", tmp_path / "deid.key"
    rows = json.loads(kopru.cli("deidentify", *clean, "--out", out, "--key", key, "--json"))
    assert [row["outcome"] for row in rows] == ["deidentified"] * 2
    everything = b"".join(path.read_bytes() for path in out.iterdir())
    assert not any(identifier.encode() in everything for identifier in patient.planted)
    burned = as_dx(drawn_image(1), patient)
    burned.BurnedInAnnotation = "YES"
    path = save(burned, tmp_path / "burned" / "1.dcm")
    (row,) = json.loads(kopru.cli("deidentify", path, "--out", out, "--key", key, "--json", code=3))
    assert row["outcome"] == "quarantined"


def test_infer_prints_one_object_for_each_input_and_refuses_a_lateral(kopru: Kopru, tmp_path: Path):
    frontal = save(as_dx(drawn_image(1), MadeUpPatient(9)), tmp_path / "in" / "1.dcm")
    lateral = save(as_dx(drawn_image(2), MadeUpPatient(9), view="LL"), tmp_path / "in" / "2.dcm")
    lines = kopru.cli("infer", "chest-xray-3class", frontal, lateral, code=3).splitlines()
    first, second = (json.loads(line) for line in lines if line.startswith("{"))
    assert abs(sum(first["probabilities"].values()) - 1) < 1e-3
    assert first["label"] in first["probabilities"]
    assert first["version"]
    assert "not frontal" in second["not_analysable"]


def test_a_quarantined_study_is_listed_shown_with_3_and_reprocessing_does_not_lose_it(kopru: Kopru, tmp_path: Path):
    burned = as_dx(drawn_image(1), MadeUpPatient(10))
    burned.BurnedInAnnotation = "YES"
    kopru.send([save(burned, tmp_path / "in" / "1.dcm")])
    wait_until(lambda: kopru.ask("studies.list", state="quarantined"), "the study to be quarantined", 60)
    (study,) = kopru.ask("studies.list", state="quarantined")
    assert "burned" in study["reason"]
    kopru.cli("studies", "show", study["study"], code=3)
    assert "1 needs a person" in kopru.cli("status")


def test_mistakes_are_usage_errors_that_name_what_is_allowed(kopru: Kopru, tmp_path: Path):
    assert "there are: assembling" in kopru.cli("studies", "list", "--state", "lost", code=2)
    assert "dicom.port" in kopru.cli("--set", "dicom.port=many", "config", "check", code=2)
    kopru.cli("studies", "show", "no-such-study", code=1)
    kopru.cli("tasks", "retry", "999999", code=1)
    assert "no daemon answers" in kopru.cli("--set", f"node.runtime_directory={tmp_path}", "status", code=1)


def test_the_log_tells_of_the_whole_life_of_the_daemon(kopru: Kopru):
    """Last, since it ends the daemon."""
    before = kopru.children()["console"]
    kopru.kill_child("console")
    wait_until(lambda: kopru.children().get("console", before) != before, "the console to come back", 30)
    wait_until(kopru._is_ready, "the daemon to work again", 60)
    assert kopru.stop() == 0
    heads = (kopru.data / "audit-heads" / "heads.jsonl").read_bytes().splitlines()
    sealed = json.loads(heads[-1])["size"]
    kopru.start()
    events = [json.loads(row["event"]) for row in kopru.ask("audit.tail", count=1000)]
    kinds = [event["kind"] for event in events]
    first = kinds.index("process.started")
    assert kinds[:first] == ["database.migrated"]
    assert kinds[first + 1] == "configuration.loaded"
    stopped = kinds.index("process.stopped")
    assert stopped == sealed - 1, "the end was sealed as well"
    (died,) = (event["details"] for event in events[:stopped] if event["kind"] == "process.child-died")
    assert died == {"child": "console", "code": -9, "was_silent": False}
    loaded = [event["details"] for event in events if event["kind"] == "model.loaded"]
    assert [model["model"] for model in loaded][:1] == ["chest-xray-3class"]
    settings = {event["details"]["settings"] for event in events if event["kind"] == "configuration.loaded"}
    assert len(settings) == 1, "the same settings have the same digest"


def test_a_hand_is_not_analysable_every_result_verifies_and_drift_can_be_asked(kopru: Kopru, tmp_path: Path):
    chest = as_dx(drawn_image(1), MadeUpPatient(21))
    hand = as_dx((oddities.hand() * 255).astype(np.uint8), MadeUpPatient(22))  # its header says that it is a chest
    before = {study["study"] for study in kopru.studies()}
    kopru.send([save(image, tmp_path / "in" / f"{n}.dcm") for n, image in enumerate((chest, hand))])

    def delivered() -> list[str]:
        return [row["study"] for row in kopru.studies() if row["state"] == "delivered" and row["study"] not in before]

    wait_until(lambda: len(delivered()) == 2, "both studies to be delivered", 60)
    for study in delivered():
        (row,) = json.loads(kopru.cli("studies", "verify", study, "--json"))
        assert row["standing"] == "valid"
    pages = [page.read_text() for page in kopru.reports.glob("*.html")]
    assert sum("unlike what the model was made for" in page.lower() for page in pages) == 1
    (watched,) = json.loads(kopru.cli("models", "drift", "--json"))
    assert sum(watched["refused"].values()) >= 1
    assert {feature["samples"] for feature in watched["features"]} == {watched["judged"]}
    assert "chest-xray-3class" in kopru.cli("models", "drift", "chest-xray-3class")
