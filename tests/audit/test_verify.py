"""Each way of tampering is found and the record named: with the published heads, and where it can be, without them."""

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from daemon.audit import ProblemKind, Report, Sealer, SigningKey
from daemon.audit.heads import SignedHead
from daemon.audit.merkle import Frontier, leaf_hash
from daemon.audit.records import head_of_row
from daemon.database.schema import audit_event, audit_head
from tests.audit.conftest import ONLY_SQLITE, Log


def _found(report: Report) -> set[tuple[ProblemKind, int | None]]:
    return {(problem.kind, problem.log_index) for problem in report.problems}


def _kinds(report: Report) -> set[ProblemKind]:
    return {problem.kind for problem in report.problems}


def _rehash(log: Log, log_index: int) -> None:
    """Make the leaf hash in the row fit its body, as a careful forger would."""
    body = bytes(log.at(log_index).body)
    log.execute(
        "UPDATE audit_event SET leaf_hash = :leaf WHERE log_index = :index", leaf=leaf_hash(body), index=log_index
    )


def _change(log: Log, log_index: int) -> None:
    body = bytes(log.at(log_index).body).replace(b'"engine"', b'"nobody"')
    log.execute("UPDATE audit_event SET body = :body WHERE log_index = :index", body=body, index=log_index)
    assert bytes(log.at(log_index).body) == body


def _swap(log: Log, one: int, other: int) -> None:
    log.execute("UPDATE audit_event SET log_index = -1 WHERE log_index = :one", one=one)
    log.execute("UPDATE audit_event SET log_index = :one WHERE log_index = :other", one=one, other=other)
    log.execute("UPDATE audit_event SET log_index = :other WHERE log_index = -1", other=other)


def _shift(log: Log, start: int, by: int) -> None:
    """Move the records from `start` on; in two steps, since indices are unique."""
    log.execute("UPDATE audit_event SET log_index = -1000 - log_index WHERE log_index >= :start", start=start)
    log.execute("UPDATE audit_event SET log_index = -1000 - log_index + :by WHERE log_index < 0", by=by)


def _insert(log: Log, log_index: object) -> None:
    """A made-up record of a writer that never was."""
    body = bytes(log.at(0).body).replace(b"engine@ward", b"forger@ward")
    log.execute(
        "INSERT INTO audit_event (writer, sequence, at, kind, subject, body, log_index, leaf_hash) "
        "SELECT replace(writer, 'engine@ward', 'forger@ward'), sequence, at, kind, subject, :body, :index, :leaf "
        "FROM audit_event WHERE log_index = 0",
        body=body,
        index=log_index,
        leaf=leaf_hash(body),
    )


def _heads(log: Log) -> list[SignedHead]:
    with log.database.read() as connection:
        rows = connection.execute(sa.select(audit_head).order_by(audit_head.c.size)).all()
    return [head for row in rows if (head := head_of_row(row))]


def _store_head(log: Log, head: SignedHead) -> None:
    with log.database.write() as connection:
        connection.execute(
            sa.update(audit_head)
            .where(audit_head.c.size == head.size)
            .values(root=head.root, signature=head.signature, frontier=head.frontier, leaves=head.leaves)
        )


def _forge_all_heads(log: Log, key: SigningKey) -> None:
    """Make every head fit the records as they are now, signed with some key."""
    frontier = Frontier()
    for head in _heads(log):
        leaves = [leaf_hash(bytes(log.at(index).body)) for index in range(head.first, head.size)]
        forged = SignedHead.sign(key, frontier, leaves, head.at_microseconds)
        _store_head(log, forged)
        frontier = forged.after()


def _check(log: Log) -> Report:
    """Verify with and without the published heads, which must find the same; only those know of heads that are gone."""
    report = log.verify()
    alone = log.verify(with_heads_file=False)
    assert set(alone.problems) == {p for p in report.problems if p.kind is not ProblemKind.REMOVED_HEAD}
    return report


def test_an_empty_log_is_sound(log: Log):
    for _ in range(2):  # before and after the first sealing made the heads file
        report = log.verify()
        assert report.sound
        assert (report.size, report.head, report.unsealed) == (0, None, 0)
        log.sealer.seal()


def test_a_log_that_nobody_touched_is_sound_and_says_what_is_not_sealed_yet(full_log: Log):
    full_log.record(3)
    report = _check(full_log)
    assert report.sound
    assert (report.size, report.unsealed) == (40, 3)
    assert report.head
    assert report.head.is_authentic(full_log.public)


@pytest.mark.parametrize("log_index", [0, 7, 39])
@pytest.mark.parametrize("careful", [False, True])
def test_a_changed_record_is_named(full_log: Log, log_index: int, careful: bool):
    victim = full_log.at(log_index)
    _change(full_log, log_index)
    if careful:
        _rehash(full_log, log_index)
    (problem,) = _check(full_log).problems
    assert (problem.kind, problem.log_index) == (ProblemKind.CHANGED, log_index)
    assert (problem.writer, problem.sequence) == (victim.writer, victim.sequence)


def test_a_record_that_says_another_writer_is_named_by_what_it_was(full_log: Log):
    victim = full_log.at(20)
    body = bytes(victim.body).replace(b"@ward", b"@hell").replace(b'"sequence":', b'"sequence":9')
    full_log.execute("UPDATE audit_event SET body = :body WHERE log_index = 20", body=body)
    report = _check(full_log)
    assert _found(report) == {(ProblemKind.CHANGED, 20), (ProblemKind.COLUMN, 20)}
    assert {(p.writer, p.sequence) for p in report.problems} == {(victim.writer, victim.sequence)}


def test_a_record_that_is_no_event_any_more_is_named_and_not_repeated(full_log: Log):
    victim = full_log.at(20)
    full_log.execute("UPDATE audit_event SET body = :body WHERE log_index = 20", body=b'\xff"ORNEK^AYSE')
    report = _check(full_log)
    assert _found(report) == {(ProblemKind.CHANGED, 20)}
    assert {(p.writer, p.sequence) for p in report.problems} == {(victim.writer, victim.sequence)}
    assert "ORNEK" not in "".join(map(str, report.problems))


@pytest.mark.parametrize("log_index", [0, 13, 38])
def test_a_removed_record_is_named(full_log: Log, log_index: int):
    victim = full_log.at(log_index)
    full_log.execute("DELETE FROM audit_event WHERE log_index = :index", index=log_index)
    report = _check(full_log)
    assert (ProblemKind.REMOVED, log_index) in _found(report)
    assert _kinds(report) == {ProblemKind.REMOVED, ProblemKind.GAP}
    (gap,) = (p for p in report.problems if p.kind is ProblemKind.GAP)
    assert (gap.writer, gap.sequence, gap.last_sequence) == (victim.writer, victim.sequence, victim.sequence)


def test_a_removed_record_is_named_though_the_others_closed_ranks(full_log: Log):
    full_log.execute("DELETE FROM audit_event WHERE log_index = 10")
    _shift(full_log, 11, -1)
    assert _found(_check(full_log)) >= {(ProblemKind.REMOVED, 10)}
    assert _kinds(_check(full_log)) == {ProblemKind.REMOVED, ProblemKind.GAP}


def test_two_records_that_changed_places_are_named(full_log: Log):
    _swap(full_log, 9, 25)
    report = _check(full_log)
    assert _found(report) == {(ProblemKind.REORDERED, 9), (ProblemKind.REORDERED, 25)}


def test_neighbours_of_one_writer_that_changed_places_are_named(full_log: Log):
    _swap(full_log, 2, 3)
    assert _found(_check(full_log)) == {(ProblemKind.REORDERED, 2), (ProblemKind.REORDERED, 3)}


def test_an_inserted_record_is_named_though_the_others_made_room(full_log: Log):
    _shift(full_log, 10, 1)
    _insert(full_log, 10)
    report = _check(full_log)
    assert (ProblemKind.INSERTED, 10) in _found(report)
    assert _kinds(report) == {ProblemKind.INSERTED, ProblemKind.GAP}  # the forger's writer has no counter
    assert all(p.writer is None or p.writer.startswith("forger@ward") for p in report.problems)


def test_a_record_behind_the_last_head_is_named(full_log: Log):
    _insert(full_log, 40)
    assert _found(_check(full_log)) >= {(ProblemKind.UNVOUCHED, 40)}


@ONLY_SQLITE  # PostgreSQL takes only whole numbers
@pytest.mark.parametrize("index", [10.5, "ten"])
def test_a_record_at_what_is_no_index_is_named(full_log: Log, index: object):
    _insert(full_log, index)
    (problem,) = (p for p in _check(full_log).problems if p.kind is ProblemKind.INSERTED)
    assert (problem.writer or "").startswith("forger@ward")


def test_a_record_before_the_first_is_named(full_log: Log):
    _insert(full_log, -5)
    (problem,) = (p for p in _check(full_log).problems if p.kind is ProblemKind.INSERTED)
    assert (problem.writer or "").startswith("forger@ward")


def test_a_record_inserted_before_the_sealing_has_no_number_of_its_writer(full_log: Log):
    _insert(full_log, None)
    full_log.sealer.seal()
    assert any(p.kind is ProblemKind.GAP and (p.writer or "").startswith("forger") for p in _check(full_log).problems)


def test_a_record_removed_before_the_sealing_leaves_a_gap(full_log: Log):
    full_log.record(3)
    with full_log.database.write() as connection:
        victim = connection.execute(sa.select(audit_event).where(audit_event.c.log_index.is_(None)).offset(1)).first()
        assert victim
        connection.execute(sa.delete(audit_event).where(audit_event.c.id == victim.id))
    for _ in range(2):
        (problem,) = _check(full_log).problems
        assert (problem.kind, problem.writer, problem.sequence) == (ProblemKind.GAP, victim.writer, victim.sequence)
        full_log.sealer.seal()


@pytest.mark.parametrize(
    ("column", "value"), [("kind", "'vault.answered'"), ("subject", "'00000000'"), ("at", "at + 1"), ("sequence", "99")]
)
def test_a_lookup_column_that_differs_from_the_body_is_named(full_log: Log, column: str, value: str):
    full_log.execute(f"UPDATE audit_event SET {column} = {value} WHERE log_index = 15")
    (problem,) = _check(full_log).problems
    assert (problem.kind, problem.log_index) == (ProblemKind.COLUMN, 15)
    assert column in problem.what


def test_a_wrong_leaf_hash_beside_a_record_is_named(full_log: Log):
    full_log.execute("UPDATE audit_event SET leaf_hash = :leaf WHERE log_index = 15", leaf=bytes(32))
    assert _found(_check(full_log)) == {(ProblemKind.COLUMN, 15)}


def test_a_record_taken_out_of_the_log_is_named(full_log: Log):
    full_log.execute("UPDATE audit_event SET log_index = NULL WHERE log_index = 15")
    assert _found(_check(full_log)) >= {(ProblemKind.REMOVED, 15), (ProblemKind.COLUMN, None)}


def _cut_off(log: Log, size: int) -> None:
    log.execute("DELETE FROM audit_event WHERE log_index >= :size", size=size)
    log.execute("DELETE FROM audit_head WHERE size > :size", size=size)


def test_a_log_that_was_cut_off_is_found_by_the_published_heads(full_log: Log):
    _cut_off(full_log, 21)
    full_log.execute("DELETE FROM audit_writer")  # a careful forger sets the counters back, too
    for writer, last in _last_numbers(full_log).items():
        full_log.execute("INSERT INTO audit_writer VALUES (:writer, 'engine@ward', :last)", writer=writer, last=last)
    assert full_log.verify(with_heads_file=False).sound  # which is why the heads leave the machine
    report = full_log.verify()
    (problem,) = (p for p in report.problems if p.kind is ProblemKind.TRUNCATED)
    assert (problem.log_index, problem.last_index) == (21, 39)
    assert ProblemKind.REMOVED_HEAD in _kinds(report)
    assert report.published == 40


def _last_numbers(log: Log) -> dict[str, int]:
    last = sa.select(audit_event.c.writer, sa.func.max(audit_event.c.sequence)).group_by(audit_event.c.writer)
    with log.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(last)}


def test_a_log_that_was_cut_off_is_found_by_the_writers_counters(full_log: Log):
    _cut_off(full_log, 21)
    report = full_log.verify(with_heads_file=False)
    assert _kinds(report) == {ProblemKind.GAP}
    assert sum((p.last_sequence or 0) - (p.sequence or 0) + 1 for p in report.problems) == 19


def test_records_cut_off_under_a_head_that_stayed_are_named(full_log: Log):
    full_log.execute("DELETE FROM audit_event WHERE log_index >= 37")
    (problem,) = (p for p in _check(full_log).problems if p.kind is not ProblemKind.GAP)
    assert (problem.kind, problem.log_index, problem.last_index) == (ProblemKind.TRUNCATED, 37, 39)


@pytest.mark.parametrize("column", ["root", "signature", "frontier", "leaves", "at"])
def test_a_forged_head_is_named(full_log: Log, column: str):
    value = "at + 60" if column == "at" else ":value"
    length = len(getattr(_heads(full_log)[2], column if column != "at" else "root"))
    values = {} if column == "at" else {"value": bytes(length)}
    full_log.execute(f"UPDATE audit_head SET {column} = {value} WHERE size = 21", **values)
    report = _check(full_log)
    assert ProblemKind.FORGED_HEAD in _kinds(report)
    assert _kinds(report) <= {ProblemKind.FORGED_HEAD, ProblemKind.REMOVED_HEAD}
    assert any("21" in p.what for p in report.problems)


def test_a_head_that_is_gone_is_named_where_it_was_published(full_log: Log):
    full_log.execute("DELETE FROM audit_head WHERE size = 21")
    (problem,) = full_log.verify().problems
    assert problem.kind is ProblemKind.REMOVED_HEAD
    assert "21" in problem.what
    assert full_log.verify(with_heads_file=False).sound  # the next head vouches for all before it


def test_a_changed_record_is_found_though_its_head_is_gone(full_log: Log):
    full_log.execute("DELETE FROM audit_head WHERE size = 21")
    _change(full_log, 16)
    _rehash(full_log, 16)
    assert _found(full_log.verify()) >= {(ProblemKind.CHANGED, 16)}
    (problem,) = full_log.verify(with_heads_file=False).problems  # its leaf hash is gone with the head
    assert (problem.kind, problem.log_index, problem.last_index) == (ProblemKind.DIVERGED, 14, 27)


def test_a_forger_of_the_whole_database_with_another_key_is_found_exactly(full_log: Log, tmp_path):
    _change(full_log, 16)
    _rehash(full_log, 16)
    _forge_all_heads(full_log, SigningKey.load_or_create(tmp_path / "forged" / "key"))
    assert ProblemKind.FORGED_HEAD in _kinds(full_log.verify(with_heads_file=False))
    report = full_log.verify()
    assert (ProblemKind.CHANGED, 16) in _found(report)
    assert {p.log_index for p in report.problems} == {16, None}


def test_a_forger_with_the_signing_key_is_found_exactly_by_the_published_heads(full_log: Log):
    _change(full_log, 16)
    _rehash(full_log, 16)
    _forge_all_heads(full_log, full_log.key)
    assert full_log.verify(with_heads_file=False).sound
    report = full_log.verify()
    assert (ProblemKind.CHANGED, 16) in _found(report)
    assert _kinds(report) == {ProblemKind.CHANGED, ProblemKind.FORKED}


def test_a_forger_with_the_signing_key_who_sealed_anew_in_other_batches_is_found_exactly(full_log: Log):
    _change(full_log, 16)
    full_log.execute("DELETE FROM audit_head")
    full_log.execute("DELETE FROM lease")
    full_log.execute("UPDATE audit_event SET leaf_hash = NULL, log_index = NULL")
    Sealer(full_log.database, full_log.key, full_log.folder / "forged", batch=10).seal()
    assert full_log.verify(with_heads_file=False).size == 40
    report = full_log.verify()
    assert (ProblemKind.CHANGED, 16) in _found(report)
    assert {p.log_index for p in report.problems} == {16, None}
    assert _kinds(report) >= {ProblemKind.FORKED, ProblemKind.REMOVED_HEAD}


def test_damage_to_the_heads_file_is_named_by_its_line(full_log: Log):
    lines = full_log.heads_file.read_bytes().splitlines(keepends=True)
    third = json.loads(lines[2])
    third["root"] = "00" * 32
    full_log.heads_file.write_bytes(
        b"".join([*lines[:2], json.dumps(third).encode() + b"\n", b"nonsense\n", *lines[4:]])
    )
    report = full_log.verify()
    assert _kinds(report) == {ProblemKind.FORGED_HEAD}
    assert {p.what.split(" of ")[0] for p in report.problems} == {"line 3", "line 4"}


def test_a_heads_file_that_is_gone_is_no_proof(full_log: Log):
    full_log.heads_file.unlink()
    (problem,) = full_log.verify().problems
    assert problem.kind is ProblemKind.REMOVED_HEAD
    assert "heads.jsonl" in problem.what


def test_a_log_that_was_replaced_whole_is_reported_within_bounds(full_log: Log):
    with full_log.database.write() as connection:
        connection.execute(sa.update(audit_event).values(body=b"{}"))
    report = full_log.verify()
    assert {p.log_index for p in report.problems if p.kind is ProblemKind.CHANGED} == set(range(40))


def test_only_so_many_problems_are_listed(full_log: Log, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("daemon.audit.findings.MOST_PROBLEMS", 10)
    full_log.execute("UPDATE audit_event SET kind = 'nothing'")
    report = full_log.verify()
    assert (len(report.problems), report.omitted) == (10, 30)


def test_problems_of_a_log_longer_than_the_window_are_still_named(full_log: Log, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("daemon.audit.placement._WINDOW", 8)
    with full_log.database.write() as connection:
        for row in connection.execute(sa.select(audit_event).where(audit_event.c.log_index >= 3)).all():
            connection.execute(sa.update(audit_event).where(audit_event.c.id == row.id).values(body=b"{" + row.body))
    changed = {p.log_index for p in full_log.verify().problems if p.kind is ProblemKind.CHANGED}
    assert changed == set(range(3, 40))


def test_a_head_is_only_what_was_signed(full_log: Log):
    head = _heads(full_log)[0]
    assert head.is_authentic(full_log.public)
    for forged in (
        replace(head, root=bytes(32)),
        replace(head, at_microseconds=head.at_microseconds + 1),
        replace(head, signature=bytes(64)),
        replace(head, frontier=bytes(len(head.frontier))),
    ):
        assert not forged.is_authentic(full_log.public)
    assert not replace(head, leaves=bytes(len(head.leaves))).extends(Frontier())
