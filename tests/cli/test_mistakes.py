"""Commands that need no daemon: mistakes end with 2 and say what is allowed, failures with 1; none with a traceback."""

import json
import socket
from pathlib import Path

import pytest
from PIL import Image

from daemon.cli.output import fail
from tests.cli.conftest import Run
from tests.receiver.instances import PATIENT_NAME, ct, write_file
from tests.runtime.packages import make_package


def test_infer_names_the_models_there_are(run: Run, tmp_path: Path):
    (tmp_path / "image.png").write_bytes(b"no image")
    absent = run("infer", "bogus", tmp_path, columns=200)
    assert absent.code == 2
    assert "there is no model bogus; there are: chest-xray-3class, news2, or a folder" in absent.err
    folder = run("infer", tmp_path, tmp_path, columns=200)
    assert folder.code == 2
    assert "model.toml" in folder.err
    shown = run("models", "show", "bogus", columns=200)
    assert shown.code == 2
    assert "kopru models list" in shown.err


def test_infer_tells_of_each_file_that_it_cannot_read(run: Run, tmp_path: Path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a.png").write_bytes(b"no image")
    (inputs / "b.dcm").write_bytes(b"no DICOM")
    write_file(inputs / "c.dcm", ct(size=4))
    answer = run("infer", "chest-xray-3class", inputs)
    assert answer.code == 1
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert ["error" in row for row in rows] == [True, True, False]
    assert "not_analysable" in rows[2]
    assert PATIENT_NAME not in answer.out + answer.err
    (tmp_path / "empty").mkdir()
    nothing = run("infer", "chest-xray-3class", tmp_path / "empty")
    assert (nothing.code, nothing.out) == (1, "")
    assert "no files" in nothing.err


def test_settings_without_a_source_are_valid_but_nobody_can_send(run: Run, tmp_path: Path):
    answer = run("config", "check")
    assert answer.code == 0
    assert "warning: nobody can send" in answer.err
    said = json.loads(run("config", "check", "--json").out)
    assert said["valid"]
    assert "[[sources]]" in said["warnings"][0]
    file = tmp_path / "kopru.toml"
    file.write_text('[[sources]]\nae_title = "PACS"\nissuer = "ward"\n')
    for arguments in (["--config", file], ["--set", "dicom.accept_any_calling=true"]):
        answer = run(*arguments, "config", "check")
        assert (answer.code, answer.err) == (0, "")
        assert json.loads(run(*arguments, "config", "check", "--json").out)["warnings"] == []


def test_a_source_whose_patients_no_fhir_server_can_look_up_is_told(run: Run, tmp_path: Path):
    file = tmp_path / "kopru.toml"
    file.write_text(
        '[[sources]]\nae_title = "PACS"\nissuer = "ward"\n'
        '[[destinations]]\nname = "ehr"\nkind = "fhir"\nurl = "https://ehr.example/fhir"\n'
    )
    unmapped = run("--config", file, "config", "check", columns=400)
    assert unmapped.code == 0
    assert "destination ehr: what comes with the issuer ward is held" in unmapped.err
    with file.open("a") as settings:
        settings.write('patient_systems = { ward = "https://ward.example/patients" }\n')
    research = run("--config", file, "config", "check", columns=400)
    assert research.code == 0
    assert "destination ehr: every report for it is withheld" in research.err
    assert "issuer" not in research.err
    with file.open("a") as settings:
        settings.write("confirm_research = true\n")
    assert run("--config", file, "config", "check").err == ""


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"\xff", "UTF-8"), (b"nonsense {", "line 1")])
def test_config_check_finds_a_pixel_script_that_serve_would_refuse(
    run: Run, tmp_path: Path, content: bytes | None, says: str
):
    file = tmp_path / "kopru.toml"
    script = tmp_path / "pixels.script"
    file.write_text(f'[deidentification]\npixel_script = "{script}"\n')
    if content is not None:
        script.write_bytes(content)
    answer = run("--config", file, "config", "check", "--json")
    assert answer.code == 2
    (problem,) = json.loads(answer.out)["problems"]
    assert (problem["key"], problem["place"]) == ("deidentification.pixel_script", f"{file}:2")
    assert str(script) in problem["message"]
    assert says in problem["message"]


def test_a_daemon_that_cannot_start_says_which_setting_is_to_blame(run: Run, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("--set", f"dicom.port={port}", "serve", columns=200)
    assert answer.code == 1
    said = answer.err.splitlines()[-1]
    assert said == f"kopru: 127.0.0.1:{port}: Address already in use; see dicom.address and dicom.port"
    answer = run("--set", f"database.url=sqlite:///{tmp_path}/absent/kopru.sqlite", "serve", columns=400)
    assert answer.code == 1
    assert "(unable to open database file); see database.url" in answer.err


def test_a_key_is_made_for_no_name_that_the_settings_would_refuse(run: Run):
    answer = run("config", "api-key", "Triage App", columns=200)
    assert (answer.code, answer.out) == (2, "")
    assert "lower-case letters" in answer.err
    assert run("config", "api-key", "triage-app").code == 0


def test_settings_that_are_not_valid_end_every_command_with_2(run: Run):
    for command in (["config", "check"], ["config", "show"], ["status"], ["serve"], ["models", "list"]):
        answer = run("--set", "dicom.port=many", *command, columns=200)
        assert answer.code == 2
        assert "dicom.port" in answer.err + answer.out


def test_without_a_daemon_every_question_says_how_to_start_one(run: Run, tmp_path: Path):
    for command in (
        ["status"], ["studies", "list"], ["studies", "show", "x"], ["tasks", "list"], ["tasks", "retry", "1"],
        ["tasks", "close", "1", "--reason", "other"], ["audit", "tail"], ["audit", "verify"],
        ["audit", "export", "--out", tmp_path / "log"],
    ):  # fmt: skip
        answer = run("--set", f"node.runtime_directory={tmp_path}", *command)
        assert answer.code == 1
        assert "start it with `kopru serve`" in answer.err
        assert not (tmp_path / "log").exists()


def test_a_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path):
    (tmp_path / "file").write_text("")
    image = write_file(tmp_path / "ct.dcm", ct(size=4))
    out = run("deidentify", image, "--out", tmp_path / "file", "--key", tmp_path / "key")
    assert out.code == 1
    assert str(tmp_path / "file") in out.err
    key = run("deidentify", image, "--out", tmp_path / "out", "--key", tmp_path / "file" / "key")
    assert key.code == 1
    assert f"master key {tmp_path / 'file' / 'key'}" in key.err


def test_what_nobody_foresaw_is_one_line_that_quotes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unforeseen(_path: Path) -> None:
        raise LookupError(PATIENT_NAME)

    monkeypatch.setattr("daemon.cli.deidentify.read_instance", unforeseen)
    image = write_file(tmp_path / "ct.dcm", ct(size=4))
    answer = run("deidentify", image, "--out", tmp_path / "out", "--key", tmp_path / "key")
    assert answer.code == 1
    (line,) = answer.err.splitlines()
    assert "internal error (LookupError in daemon.cli" in line
    assert PATIENT_NAME not in answer.err + answer.out


def test_a_message_may_hold_what_looks_like_markup(capsys: pytest.CaptureFixture[str]):
    fail("/tmp/[red]/x: " + "long " * 40)
    assert capsys.readouterr().err == f"kopru: /tmp/[red]/x: {'long ' * 40}\n"


def test_infer_tells_the_numbers_of_a_model_that_has_no_labels(run: Run, tmp_path: Path):
    made = make_package(tmp_path / "tiny", labels=[])
    image = tmp_path / "grey.png"
    Image.new("L", (8, 8), 128).save(image)
    answer = run("infer", made.directory, image)
    assert answer.code == 0, answer.err
    (numbers,) = json.loads(answer.out)["outputs"].values()
    assert sum(numbers) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says", "help_of"),
    [
        (["bogus"], "No such command 'bogus'", "kopru"),
        (["status", "--bogus"], "No such option: --bogus", "kopru status"),
        (["studies", "show"], "Missing argument", "kopru studies show"),
        (["studies", "recalled", "x", "--destination", "y"], "Missing option '--reason'", "kopru studies recalled"),
        (["tasks", "close", "1", "--reason", "because"], "'because' is not one of", "kopru tasks close"),
        (["tasks", "list", "--limit", "many"], "valid integer", "kopru tasks list"),
        (["infer", "chest-xray-3class", "/nowhere"], "'/nowhere' does not exist", "kopru infer"),
        (["tasks", "retry"], "give numbers of tasks", None),  # not until the command looked at both
        (["--set", "dicom.port", "status"], "--set wants KEY=VALUE", None),
    ],
)
def test_a_mistake_in_a_call_is_one_line_that_says_where_help_is(
    run: Run, arguments: list[str], says: str, help_of: str | None
):
    answer = run(*arguments, columns=80)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("kopru: ")
    assert says in line
    assert help_of is None or line.endswith(f"; see `{help_of} --help`")


def test_help_is_no_mistake_and_shown_to_whoever_names_no_command(run: Run):
    assert "Usage" in run("tasks", "--help").out
    assert run("tasks", "--help").code == 0
    assert "retry" in run("tasks").out
    assert run("--version").code == 0
