"""`kopru audit verify --export`: by somebody who has the export, the heads that were kept elsewhere, and no daemon."""

import json
from pathlib import Path

import pytest

from daemon.node import Node
from tests.audit.conftest import Log, full_log, log  # noqa: F401 - fixtures
from tests.cli.conftest import Run
from tests.daemon.rows import events

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def exported(full_log: Log, tmp_path: Path) -> Path:  # noqa: F811
    from daemon.audit import export

    export(full_log.database, tmp_path / "export.jsonl", full_log.public)
    return tmp_path / "export.jsonl"


def test_heads_kept_elsewhere_bring_the_key_and_say_how_far_they_go(run: Run, full_log: Log, exported: Path):  # noqa: F811
    heads = full_log.heads_file.parent
    answer = run("audit", "verify", "--export", exported, "--heads", heads)
    assert (answer.code, answer.out) == (0, "audit log of 40 records verifies; 0 not sealed yet\n")
    full_log.record(9)
    full_log.sealer.seal()
    later = run("audit", "verify", "--export", exported, "--heads", heads)
    assert later.code == 0
    assert "the export ends at 40 records (20" in later.out
    assert "the heads go on to 49" in later.out
    said = json.loads(run("audit", "verify", "--export", exported, "--heads", heads, "--json").out)
    assert (said["sound"], said["size"], said["published"]) == (True, 40, 49)


def test_heads_that_end_earlier_are_said_to_vouch_for_less(run: Run, full_log: Log, exported: Path):  # noqa: F811
    lines = full_log.heads_file.read_bytes().splitlines(keepends=True)
    full_log.heads_file.write_bytes(b"".join(lines[:2]))
    answer = run("audit", "verify", "--export", exported, "--heads", full_log.heads_file.parent)
    assert answer.code == 0
    assert "the heads end at 14 records" in answer.out


def test_a_changed_export_is_told_in_twenty_lines_and_a_count(run: Run, full_log: Log, exported: Path):  # noqa: F811
    exported.write_text(exported.read_text().replace("revision.moved", "revision.moveD"))
    answer = run("audit", "verify", "--export", exported, "--heads", full_log.heads_file.parent)
    assert answer.code == 1
    found = answer.err.splitlines()
    assert len(found) == 21
    assert found[0] == "kopru: changed: record #0, engine@ward" + found[0].partition("engine@ward")[2]
    assert found[-1] == "kopru: … and 20 more; --json lists all"
    assert "does not verify (40 findings)" in answer.out
    said = json.loads(run("audit", "verify", "--export", exported, "--heads", full_log.heads_file.parent, "--json").out)
    assert len(said["problems"]) == 40


def test_what_is_missing_or_in_the_way_is_said_without_a_traceback(run: Run, full_log: Log, exported: Path):  # noqa: F811
    heads = full_log.heads_file.parent
    for arguments, code, says in (
        (["verify", "--export", exported], 2, "there is no public key here"),
        (["verify", "--export", exported.with_name("absent")], 2, "does not exist"),
        (["verify", "--export", exported, "--heads", exported.parent], 2, "there is no heads.jsonl in"),
        (["verify", "--heads", heads], 2, "goes with --export"),
        (["verify", "--export", heads / "public-key.pem", "--heads", heads], 1, "is not an export of an audit log"),
        (["verify", "--export", exported, "--public-key", exported], 1, "public key"),
    ):
        answer = run("audit", *arguments, columns=300)
        assert (answer.code, says in answer.err) == (code, True), answer.err


def test_verifying_the_daemons_log_is_recorded_with_what_came_out(ask: Run, console: Node):
    from daemon.audit import SigningKey

    missing = ask("audit", "verify")
    assert missing.code == 1
    assert "public key" in missing.err
    SigningKey.load_or_create(console.settings.audit.signing_key_file)
    assert ask("audit", "verify").code == 0
    (event,) = events(console.database, "audit.verified")
    assert event["details"] == {"problems": 0, "size": 0}
    with console.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_writer SET last = last + 3")
    assert ask("audit", "verify").code == 1
    assert events(console.database, "audit.verified")[-1]["details"]["problems"] == 1


def test_an_export_that_breaks_off_leaves_no_file(ask: Run, console: Node, tmp_path: Path):
    out = tmp_path / "log.jsonl"
    answer = ask("audit", "export", "--out", out)
    assert answer.code == 1
    assert not out.exists()
    out.write_text("mine")
    assert ask("audit", "export", "--out", out).code == 1
    assert out.read_text() == "mine"
