"""Settings on their way to a child: whole, with their secrets, and those where nobody else can see them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from daemon.settings import Settings, hand_down, load_handed_down, load_settings
from daemon.supervision.child import ChildKind
from daemon.supervision.supervisor import Supervisor, _Slot
from tests.waiting import wait_until

TOKEN = "Gizli.Belirtec-4711"
PASSWORD = "Gizli/Parola:4712@"
SECRETS = (TOKEN, PASSWORD)

_TOML = """
pipelines = ["chest-xray"]

[node]
name = "ward"

[database]
url = "postgresql+psycopg://kopru@db.example/kopru"

[source_defaults]
issuer = "hospital"
timezone = "Europe/Istanbul"

[[sources]]
ae_title = "CT 1"
issuer = "other"
settle_seconds = 0.1

[[destinations]]
name = "ehr"
kind = "fhir"
url = "https://ehr.example/fhir"
patient_systems = {{ hospital = "urn:oid:1.2.3" }}
token_file = "{folder}/token"

[[destinations]]
name = "folder"
kind = "directory"
path = "{folder}/Çıktı klasörü"
"""


@pytest.fixture
def with_secrets(tmp_path: Path) -> Settings:
    """Settings of all sections with a token from a file and a password from another."""
    for name, secret in (("token", TOKEN), ("password", PASSWORD)):
        (tmp_path / name).write_text(secret + "\n")
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "kopru.toml"
    text = _TOML.format(folder=tmp_path).replace("[source_d", f'password_file = "{tmp_path}/password"\n\n[source_d')
    path.write_text(text)
    return load_settings(path, {}, {"HOME": "/home/nobody"}).settings


def test_a_child_gets_the_very_settings_with_their_secrets(with_secrets: Settings):
    arrived = load_handed_down(hand_down(with_secrets))
    assert arrived == with_secrets
    assert arrived.destinations[0].token.get_secret_value() == TOKEN
    assert arrived.database.password.get_secret_value() == PASSWORD
    assert arrived.database.url == with_secrets.database.url
    assert "Gizli%2FParola%3A4712%40" in arrived.database.url
    assert [type(one) for one in arrived.destinations] == [type(one) for one in with_secrets.destinations]
    assert hand_down(arrived) == hand_down(with_secrets)


@given(
    token=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    issuers=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), st.just("urn:x")),
    seconds=st.floats(0, 86_400, exclude_min=True),
    folder=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_any_value_arrives_as_it_left(token: str, issuers: dict[str, str], seconds: float, folder: str):
    destination = {"name": "ehr", "kind": "fhir", "url": "https://ehr.example/fhir", "timeout_seconds": 1.5}
    environ = {
        "HOME": "/home/nobody",
        "KOPRU_DESTINATIONS": json.dumps([destination | {"token": token, "patient_systems": issuers}]),
        "KOPRU_SOURCE_DEFAULTS__SETTLE_SECONDS": repr(seconds),
        "KOPRU_STORE__PATH": f"/srv/{folder}",
    }
    settings = load_settings(None, {}, environ).settings
    assert load_handed_down(hand_down(settings)) == settings


def test_settings_that_were_changed_on_the_way_are_refused_without_repeating_a_secret(with_secrets: Settings):
    sent = json.loads(hand_down(with_secrets))
    for spoil in (
        lambda tree: tree["destinations"][0].update(token={"value": TOKEN}),
        lambda tree: tree["destinations"][0].update(url=TOKEN),
        lambda tree: tree["database"].update(password=[PASSWORD], url=PASSWORD),
        lambda tree: tree.update({TOKEN[:5]: PASSWORD}),
    ):
        tree = json.loads(json.dumps(sent))
        spoil(tree)
        with pytest.raises(ValidationError) as error:
            load_handed_down(json.dumps(tree).encode())
        assert not any(secret in str(error.value) for secret in SECRETS)
    with pytest.raises(ValidationError) as cut:
        load_handed_down(hand_down(with_secrets)[:-200])
    assert not any(secret in str(cut.value) for secret in SECRETS)


def test_settings_show_no_secret_where_they_are_printed(with_secrets: Settings):
    arrived = load_handed_down(hand_down(with_secrets))
    for shown in (repr(arrived), str(arrived), f"{arrived.destinations!r} {arrived.database!r}"):
        assert not any(secret in shown for secret in (*SECRETS, "Gizli"))


# A child that shows what it was given on its standard input, in the place of the real one.
_PROBE = """
import os, sys, time
from pathlib import Path
Path(os.environ["PROBE"], "settings.part").write_bytes(sys.stdin.buffer.read())
Path(os.environ["PROBE"], "settings.part").rename(Path(os.environ["PROBE"], "settings"))
time.sleep(600)
"""


def test_the_supervisor_gives_secrets_on_a_pipe_and_neither_as_argument_nor_in_the_environment(
    with_secrets: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    probe = tmp_path / "python"
    probe.write_text(f"#!{sys.executable}\n{_PROBE}")
    probe.chmod(0o755)
    monkeypatch.setenv("PROBE", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(probe))
    supervisor, slot = Supervisor(with_secrets, reload=lambda: with_secrets), _Slot(ChildKind.ENGINE, 0)
    supervisor._start(slot)
    try:
        wait_until((tmp_path / "settings").exists, "the child to have read its settings")
        seen = [Path(f"/proc/{slot.process.pid}/{what}").read_bytes() for what in ("cmdline", "environ")]
        assert load_handed_down((tmp_path / "settings").read_bytes()) == with_secrets
    finally:
        slot.process.kill()
        slot.process.wait()
        os.close(slot.status_fd)
    assert b"daemon.supervision.child" in seen[0]
    assert b"KOPRU_STATUS_FD" in seen[1]
    for what in seen:
        assert not any(secret.encode() in what for secret in (*SECRETS, "Gizli"))


def test_a_real_child_with_settings_it_cannot_use_says_so_without_a_secret(with_secrets: Settings):
    tree = json.loads(hand_down(with_secrets))
    tree["log"]["level"] = "silent"
    reading, writing = os.pipe()
    child = subprocess.run(
        [sys.executable, "-P", "-m", "daemon.supervision.child", "engine", "0"],
        input=json.dumps(tree).encode(),
        env=os.environ | {"KOPRU_PARENT_PID": str(os.getpid()), "KOPRU_STATUS_FD": str(writing)},
        pass_fds=[writing],
        capture_output=True,
        timeout=60,
    )
    os.close(reading)
    os.close(writing)
    assert child.returncode == 1
    assert b"log.level" in child.stderr
    assert not any(secret.encode() in child.stderr for secret in (*SECRETS, "Gizli"))
