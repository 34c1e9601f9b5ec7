"""An export proves itself with nothing but the public key, and every line that was touched is found."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.audit import ExportError, ProblemKind, Sealer, Selection, SigningKey, export, verify_export
from daemon.audit.events import canonical_json
from daemon.database import Database
from daemon.database.migrate import migrate
from tests.audit.conftest import ONLY_SQLITE, SUBJECT, Log


@pytest.fixture
def exported(full_log: Log, tmp_path: Path) -> Path:
    """A whole export with two unsealed records."""
    full_log.record(2)
    path = tmp_path / "export.jsonl"
    done = export(full_log.database, path, full_log.public)
    assert (done.events, done.heads, done.unsealed) == (40, 6, 2)
    return path


@pytest.fixture
def selected(full_log: Log, tmp_path: Path) -> Path:
    """The records of one patient, with proofs."""
    path = tmp_path / "selected.jsonl"
    assert export(full_log.database, path, full_log.public, Selection(subject=SUBJECT)).events == 22
    return path


def _edit(path: Path, number: int, content: object | None) -> None:
    """Replace or remove a line."""
    lines = path.read_bytes().splitlines()
    lines[number : number + 1] = [] if content is None else [canonical_json(content)]
    path.write_bytes(b"\n".join(lines) + b"\n")


def _line(path: Path, number: int) -> dict[str, dict[str, object]]:
    return json.loads(path.read_bytes().splitlines()[number])


def test_a_whole_export_is_sound_and_not_for_other_eyes(exported: Path, full_log: Log):
    report = verify_export(exported, full_log.public, full_log.heads_file)
    assert report.sound
    assert (report.size, report.unsealed, report.published) == (40, 2, 40)
    assert exported.stat().st_mode & 0o777 == 0o600
    assert verify_export(exported, full_log.public).sound


def test_an_export_of_an_empty_log_is_sound(log: Log, tmp_path: Path):
    export(log.database, tmp_path / "empty.jsonl", log.public)
    assert verify_export(tmp_path / "empty.jsonl", log.public).sound
    with pytest.raises(ExportError, match="no head yet"):
        export(log.database, tmp_path / "selected.jsonl", log.public, Selection())
    assert sorted(p.name for p in tmp_path.glob("*.jsonl")) == ["empty.jsonl"]


def test_an_export_replaces_no_file(exported: Path, full_log: Log):
    before = exported.read_bytes()
    with pytest.raises(FileExistsError):
        export(full_log.database, exported, full_log.public)
    assert exported.read_bytes() == before


def test_a_changed_record_in_an_export_is_named(exported: Path, full_log: Log):
    line = _line(exported, 5)
    line["event"]["body"] = str(line["event"]["body"]).replace("engine", "nobody", 1)
    _edit(exported, 5, line)
    (problem,) = verify_export(exported, full_log.public).problems
    assert (problem.kind, problem.log_index, problem.sequence) == (ProblemKind.CHANGED, 4, 5)


def test_a_removed_record_in_an_export_is_named(exported: Path, full_log: Log):
    _edit(exported, 5, None)
    report = verify_export(exported, full_log.public)
    assert {p.kind for p in report.problems} == {ProblemKind.REMOVED, ProblemKind.GAP, ProblemKind.BROKEN_FILE}
    assert {(p.log_index, p.sequence) for p in report.problems} == {(4, None), (None, 5), (None, None)}


def test_an_export_that_was_cut_off_is_found(exported: Path, full_log: Log):
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(lines[:17]))  # header and two batches
    (problem,) = verify_export(exported, full_log.public).problems
    assert problem.kind is ProblemKind.BROKEN_FILE
    forged_end = canonical_json({"end": {"events": 14, "heads": 2, "unsealed": 0}}) + b"\n"
    exported.write_bytes(b"".join([*lines[:17], forged_end]))
    assert verify_export(exported, full_log.public).sound  # as one that was made at that time is
    report = verify_export(exported, full_log.public, full_log.heads_file)
    assert report.head is not None
    assert (report.size, report.published) == (14, 40)  # the published heads tell that it ends early, and when it ends


def test_heads_that_were_published_after_the_export_say_nothing_against_it(exported: Path, full_log: Log):
    full_log.sealer.seal()
    full_log.record(30)
    full_log.sealer.seal()
    report = verify_export(exported, full_log.public, full_log.heads_file)
    assert report.problems == ()
    assert (report.size, report.published) == (40, 72)


def test_heads_that_end_before_the_export_vouch_for_what_they_have(exported: Path, full_log: Log):
    lines = full_log.heads_file.read_bytes().splitlines(keepends=True)
    full_log.heads_file.write_bytes(b"".join(lines[:3]))
    report = verify_export(exported, full_log.public, full_log.heads_file)
    assert report.problems == ()
    assert (report.size, report.published) == (40, 21)


def test_a_record_cut_off_within_a_batch_is_no_earlier_export(exported: Path, full_log: Log):
    full_log.sealer.seal()
    lines = exported.read_bytes().splitlines(keepends=True)
    forged_end = canonical_json({"end": {"events": 10, "heads": 1, "unsealed": 0}}) + b"\n"
    exported.write_bytes(b"".join([*lines[:12], forged_end]))
    report = verify_export(exported, full_log.public, full_log.heads_file)
    assert {(p.kind, p.log_index, p.last_index) for p in report.problems} == {(ProblemKind.UNVOUCHED, 7, 9)}


def _other_history(full_log: Log, folder: Path) -> Path:
    """The heads file of another log that was signed with the same key."""
    database = Database(f"sqlite:///{folder / 'other.sqlite'}")
    migrate(database)
    other = Log(database, folder, full_log.key, Sealer(database, full_log.key, folder / "other-heads", batch=10))
    other.record(50, "engine@elsewhere")
    other.sealer.seal()
    database.dispose()
    return folder / "other-heads" / "heads.jsonl"


def test_heads_of_another_history_contradict_a_whole_export(exported: Path, full_log: Log, tmp_path: Path):
    report = verify_export(exported, full_log.public, _other_history(full_log, tmp_path))
    assert ProblemKind.FORKED in {p.kind for p in report.problems}


def test_heads_are_compared_with_a_selected_export(selected: Path, full_log: Log, tmp_path: Path):
    full_log.record(3)
    full_log.sealer.seal()
    report = verify_export(selected, full_log.public, full_log.heads_file)
    assert (report.problems, report.size, report.published) == ((), 40, 43)
    (problem,) = verify_export(selected, full_log.public, _other_history(full_log, tmp_path)).problems
    assert problem.kind is ProblemKind.FORKED


@ONLY_SQLITE  # what is read is a file, whichever database it came from
@pytest.mark.parametrize(
    "line",
    [{"event": 1}, {"head": {}}, {"nonsense": {}}, {"event": {"index": 3, "body": "\ud800"}}, [], {"unsealed": {}}, 7],
)
def test_lines_that_do_not_belong_are_found(exported: Path, full_log: Log, line: object):
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join([*lines[:9], json.dumps(line).encode() + b"\n", *lines[9:]]))
    assert not verify_export(exported, full_log.public).sound


def test_an_export_under_another_key_is_not_believed(exported: Path, full_log: Log, tmp_path: Path):
    other = SigningKey.load_or_create(tmp_path / "other" / "key").public
    kinds = {p.kind for p in verify_export(exported, other).problems}
    assert {ProblemKind.BROKEN_FILE, ProblemKind.FORGED_HEAD, ProblemKind.UNVOUCHED} <= kinds


@ONLY_SQLITE
@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"DICM", b'{"header":{"format":"other"}}\n', b'{"header":[]}\n'])
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, full_log: Log, data: bytes):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ExportError, match="is not an export"):
        verify_export(tmp_path / "x", full_log.public)


def test_a_tampered_log_is_exported_as_it_stands(full_log: Log, tmp_path: Path):
    full_log.execute("UPDATE audit_event SET body = :body WHERE log_index = 3", body=b"\xff\xfe")
    full_log.execute("DELETE FROM audit_event WHERE log_index = 30")
    full_log.execute("UPDATE audit_head SET leaves = :none WHERE size = 21", none=b"")
    export(full_log.database, tmp_path / "e", full_log.public)
    found = {(p.kind, p.log_index) for p in verify_export(tmp_path / "e", full_log.public).problems}
    assert {(ProblemKind.CHANGED, 3), (ProblemKind.REMOVED, 30), (ProblemKind.FORGED_HEAD, None)} <= found
    with pytest.raises(ExportError, match="not sound"):
        export(full_log.database, tmp_path / "s", full_log.public, Selection(subject=SUBJECT))


def test_a_selected_export_proves_each_record(selected: Path, full_log: Log):
    report = verify_export(selected, full_log.public)
    assert report.sound
    assert report.size == 40
    bodies = [_line(selected, number)["event"]["body"] for number in range(2, 24)]
    assert all(SUBJECT in str(body) for body in bodies)


def test_records_are_selected_by_time(full_log: Log, tmp_path: Path):
    full_log.record(8)
    full_log.sealer.seal()
    at = full_log.at(40).at
    done = export(full_log.database, tmp_path / "later", full_log.public, Selection(since=at))
    before = export(full_log.database, tmp_path / "before", full_log.public, Selection(until=at))
    assert (before.events, done.events) == (40, 8)
    assert verify_export(tmp_path / "later", full_log.public).sound


def test_a_changed_record_or_proof_in_a_selected_export_is_named(selected: Path, full_log: Log):
    original = selected.read_bytes()
    for key, value in {
        "body": str(_line(selected, 4)["event"]["body"]).replace("engine", "nobody", 1),
        "index": 3,
        "proof": base64.b64encode(bytes(32 * 6)).decode(),
    }.items():
        line = _line(selected, 4)
        line["event"][key] = value
        _edit(selected, 4, line)
        (problem,) = verify_export(selected, full_log.public).problems
        assert (problem.kind, problem.log_index, problem.sequence) == (
            ProblemKind.CHANGED,
            3 if key == "index" else 2,
            3,
        )
        selected.write_bytes(original)


def test_a_forged_head_in_a_selected_export_is_found(selected: Path, full_log: Log):
    line = _line(selected, 1)
    line["head"]["root"] = "00" * 32
    _edit(selected, 1, line)
    assert {p.kind for p in verify_export(selected, full_log.public).problems} == {ProblemKind.FORGED_HEAD}


def test_the_program_in_the_documentation_needs_nothing_of_ours(exported: Path, full_log: Log, tmp_path: Path):
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "outsider.py").write_text(program)
    key = full_log.folder / "heads" / "public-key.pem"

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", tmp_path / "outsider.py", exported, key]
        return subprocess.run(command, capture_output=True, text=True)

    assert run().stdout == "40 records are as they were sealed\n"
    line = _line(exported, 5)
    line["event"]["body"] = str(line["event"]["body"]).replace("engine", "nobody", 1)
    _edit(exported, 5, line)
    assert "a record from 0 to 6 was changed" in run().stderr
