"""`kopru config check` and `kopru config show`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.settings.samples import EHR, HOME, SECRET


def kopru(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments],
        capture_output=True,
        text=True,
        env=path | HOME | environ,
        timeout=60,
    )


def test_config_check_exits_with_2_and_names_each_problem(tmp_path: Path):
    path = tmp_path / "kopru.toml"
    path.write_text("[dicom]\nport = 70000\n")
    done = kopru("--config", str(path), "config", "check")
    assert done.returncode == 2
    assert "dicom.port" in done.stdout
    done = kopru("--config", str(path), "config", "check", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["valid"]) == (2, False)
    assert answer["problems"][0]["place"] == f"{path}:2"
    path.write_text("[dicom]\nport = 104\n")
    done = kopru("config", "check", "--json", KOPRU_CONFIG=str(path))
    assert (done.returncode, json.loads(done.stdout)["valid"]) == (0, True)


def test_config_show_tells_each_value_and_its_origin_but_no_secret(tmp_path: Path):
    path = tmp_path / "kopru.toml"
    path.write_text(EHR)
    arguments = ["--config", str(path), "--set", "dicom.port=104", "config", "show"]
    done = kopru(*arguments, "--json", KOPRU_DESTINATIONS__EHR__TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows["dicom.port"] == (104, "command line dicom.port")
    assert rows["destinations.ehr.url"] == ("https://ehr.example/fhir", f"{path}:4")
    assert rows["destinations.ehr.token"] == ("********", "environment KOPRU_DESTINATIONS__EHR__TOKEN")
    table = kopru(*arguments, KOPRU_DESTINATIONS__EHR__TOKEN=SECRET, COLUMNS="200")
    assert "dicom.port" in table.stdout
    assert SECRET not in done.stdout + done.stderr + table.stdout + table.stderr
