"""The command line as a user meets it: answers, JSON, exit codes, and what is refused."""

import json
from pathlib import Path

from tests.system.kopru import Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save


def test_every_read_command_answers_in_json_and_for_people(kopru: Kopru, tmp_path: Path):
    image = as_dx(drawn_image(1), MadeUpPatient(7))
    kopru.send([save(image, tmp_path / "in" / "1.dcm")])
    (study,) = kopru.wait_for_states({"delivered": 1})
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
        assert kopru.cli(*command)
        if command != ["config", "check"]:
            json.loads(kopru.cli(*command, "--json"))


def test_an_export_verifies_without_the_daemon_and_a_changed_one_does_not(kopru: Kopru, tmp_path: Path):
    kopru.cli("status")
    export = tmp_path / "log.jsonl"
    kopru.cli("audit", "export", "--out", export)
    kopru.stop()
    public = next(path for path in (tmp_path / "data").rglob("*.pub*"))
    assert "verifies" in kopru.cli("audit", "verify", "--export", export, "--public-key", public)
    lines = export.read_text().replace("process.started", "process.stopped")
    export.write_text(lines)
    assert "does not verify" in kopru.cli("audit", "verify", "--export", export, "--public-key", public, code=1)


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
    (study,) = kopru.wait_for_states({"quarantined": 1})
    assert "burned" in study["reason"]
    kopru.cli("studies", "show", study["study"], code=3)
    assert "1 need a person" in kopru.cli("status") or "need a person" in kopru.cli("status")


def test_mistakes_are_usage_errors_that_name_what_is_allowed(kopru: Kopru, tmp_path: Path):
    assert "there are: assembling" in kopru.cli("studies", "list", "--state", "lost", code=2)
    assert "dicom.port" in kopru.cli("--set", "dicom.port=many", "config", "check", code=2)
    kopru.cli("studies", "show", "no-such-study", code=1)
    kopru.cli("tasks", "retry", "999999", code=1)
    kopru.stop()
    assert "no daemon answers" in kopru.cli("status", code=1)
