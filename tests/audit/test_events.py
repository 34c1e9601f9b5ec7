"""Events take ids and codes only, and the numbering of each writer has no gaps, whatever rolls back."""

import json
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, IntEnum, StrEnum
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from daemon.audit import AETitle, AuditEvent, AuditWriter, EventError, Id, Kind, Name
from daemon.audit.events import canonical_json, parse_body, time_text
from daemon.database import Database
from daemon.database.schema import audit_event, audit_writer
from tests.audit.conftest import ONLY_POSTGRESQL, SUBJECT, Log, event


class _Purpose(StrEnum):
    REPORT = "report"


class _Status(IntEnum):
    SUCCESS = 0


class _Message(Enum):
    TEXT = "Patient ÖRNEK^AYŞE not found"


def _event_with(value: object) -> AuditEvent:
    return AuditEvent(Kind.VAULT_ANSWERED, "engine", SUBJECT, {"value": value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value",
    [
        "ORNEK",
        "0",
        b"0",
        1.5,
        2**53,
        ["a"],
        {"a": 1},
        ValueError("no such patient: ÖRNEK^AYŞE"),
        _Message.TEXT,
        object(),
    ],
)
def test_text_and_all_else_that_is_no_detail_is_refused_and_not_repeated(value: object):
    with pytest.raises(EventError) as caught:
        _event_with(value)
    assert "RNEK" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ÖRNEK^AYŞE",
        "ORNEK^AYSE",
        "ORNEK, AYSE",
        "Ayse Ornek",
        "12345678901",
        "not found\n",
        "can't read /tmp/x",
        "file 'x.dcm' is gone",
        "",
        "x" * 121,
        "[Errno 2]",
    ],
)
def test_names_and_numbers_of_patients_and_messages_are_no_names(text: str):
    with pytest.raises(EventError) as caught:
        Name(text)
    assert not text or text not in str(caught.value)


@given(st.text(st.characters(exclude_characters=string.ascii_letters + string.digits + "._:/@+-"), min_size=1))
def test_no_other_character_than_those_listed_gets_into_a_name(text: str):
    for candidate in (text, f"a{text}", f"a{text}a"):
        with pytest.raises(EventError):
            Name(candidate)


@pytest.mark.parametrize("text", ["12345678", "1.2.840.113619.2.55.3", "ab" * 3, "AB" * 8, "ab" * 33, "ab" * 8 + "\n"])
def test_ids_that_kopru_did_not_make_are_refused(text: str):
    if text == "12345678":
        assert Id(text) == text  # eight digits are hexadecimal, too; a caller must not wrap what it did not make
        return
    with pytest.raises(EventError):
        Id(text)


def test_a_peers_claim_to_a_title_is_recorded_only_if_it_looks_like_one():
    assert AETitle.claimed(" CT 1 ") == "CT 1"
    for claim in ("ORNEK^AYSE", "ÖRNEK", "", "x" * 17, "A\nB", "ORNEK,AYSE"):
        assert AETitle.claimed(claim) == "?"
        with pytest.raises(EventError):
            AETitle(claim)


@pytest.mark.parametrize(
    "arguments",
    [
        {"actor": "Dr. Ayşe"},
        {"subject": "ÖRNEK^AYŞE"},
        {"subject": "1.2.840.10008"},
        {"details": {"Key": 1}},
        {"details": {"a b": 1}},
        {"details": {f"k{number}": number for number in range(25)}},
        {"kind": "vault.answered"},
    ],
)
def test_what_does_not_fit_an_event_is_refused(arguments: dict[str, object]):
    with pytest.raises(EventError):
        AuditEvent(**({"kind": Kind.VAULT_ANSWERED, "actor": "engine"} | arguments))  # type: ignore[arg-type]


def test_the_body_is_canonical_json_that_says_everything():
    identifier = uuid4()
    body = AuditEvent(
        Kind.VAULT_ANSWERED,
        "uid:1000",
        SUBJECT,
        {
            "purpose": _Purpose.REPORT,
            "status": _Status.SUCCESS,
            "revision": Id(identifier),
            "source": AETitle("CT 1"),
            "host": Name("::1"),
            "count": 3,
            "forced": False,
            "destination": None,
        },
    ).body("engine@ward.00000000", 7, 1_767_225_600_000_001)
    assert body == canonical_json(json.loads(body))
    assert json.loads(body) == {
        "actor": "uid:1000",
        "at": "2026-01-01T00:00:00.000001Z",
        "details": {
            "purpose": "report",
            "status": 0,
            "revision": str(identifier),
            "source": "CT 1",
            "host": "::1",
            "count": 3,
            "forced": False,
            "destination": None,
        },
        "kind": "vault.answered",
        "sequence": 7,
        "subject": SUBJECT,
        "version": 1,
        "writer": "engine@ward.00000000",
    }
    parsed = parse_body(body)
    assert (parsed.writer, parsed.sequence, parsed.kind) == ("engine@ward.00000000", 7, "vault.answered")
    assert (parsed.at_microseconds, parsed.subject) == (1_767_225_600_000_001, SUBJECT)


@given(st.integers(0, 2**51))
def test_times_survive_the_body(microseconds: int):
    body = event().body("w", 1, microseconds)
    assert parse_body(body).at_microseconds == microseconds
    assert json.loads(body)["at"] == time_text(microseconds)


@given(
    st.one_of(
        st.binary(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(canonical_json)
    )
)
def test_what_is_no_body_is_refused(data: bytes):
    with pytest.raises(ValueError):
        parse_body(data)


def _numbers(database: Database) -> dict[str, list[int]]:
    """The numbers of each writer in the order in which their records were inserted."""
    numbers: dict[str, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(sa.select(audit_event).order_by(audit_event.c.id)):
            numbers.setdefault(row.writer, []).append(row.sequence)
    return numbers


class _RollBackError(Exception):
    pass


def test_what_rolls_back_leaves_no_gap(database: Database):
    writer = AuditWriter("engine@ward")
    for number in range(12):
        try:
            with database.write() as connection:
                writer.record(connection, event(number), event(number))
                if number % 3 == 0:
                    raise _RollBackError
        except _RollBackError:
            continue
    ((_, numbers),) = _numbers(database).items()
    assert numbers == list(range(1, 17))


def test_a_savepoint_that_rolls_back_leaves_no_gap(database: Database):
    writer = AuditWriter("engine@ward")
    with database.write() as connection:
        writer.record(connection, event())
        with connection.begin_nested() as savepoint:
            writer.record(connection, event())
            savepoint.rollback()
        writer.record(connection, event())
    assert list(_numbers(database).values()) == [[1, 2]]


def test_a_restarted_process_goes_on_with_the_numbering(database: Database):
    for _ in range(3):
        with database.write() as connection:
            AuditWriter("engine@ward").record(connection, event())
    assert list(_numbers(database).values()) == [[1, 2, 3]]


@ONLY_POSTGRESQL  # SQLite has one writing transaction at a time
def test_transactions_at_once_do_not_wait_for_each_other(database: Database):
    writer = AuditWriter("engine@ward")
    with database.write() as one, database.write() as other:
        writer.record(one, event())
        writer.record(other, event())
        writer.record(one, event())
    assert sorted(map(sorted, _numbers(database).values())) == [[1], [1, 2]]


def test_many_threads_that_commit_and_roll_back_leave_no_gap_and_few_writers(log: Log):
    writer = AuditWriter("engine@ward")
    threads, rounds = 6, 12
    together = threading.Barrier(threads)

    def work(thread: int) -> None:
        together.wait()
        for number in range(rounds):
            try:
                with log.database.write() as connection:
                    for _ in range(1 + number % 3):
                        writer.record(connection, event(number))
                    if (thread + number) % 4 == 0:
                        raise _RollBackError
            except _RollBackError:
                continue

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    numbers = _numbers(log.database)
    assert 0 < len(numbers) <= threads
    for writers_numbers in numbers.values():
        assert writers_numbers == list(range(1, len(writers_numbers) + 1))
    log.sealer.seal()
    assert log.verify().sound
    with log.database.read() as connection:
        counters = {row.writer: row.last for row in connection.execute(sa.select(audit_writer))}
    assert counters == {name: len(writers_numbers) for name, writers_numbers in numbers.items()}


def test_lookup_columns_repeat_the_body(log: Log):
    log.record(2, subject=SUBJECT)
    with log.database.read() as connection:
        for row in connection.execute(sa.select(audit_event)):
            body = parse_body(row.body)
            assert (row.writer, row.sequence, row.kind, row.subject) == (
                body.writer,
                body.sequence,
                body.kind,
                body.subject,
            )
            assert row.at * 1_000_000 == pytest.approx(body.at_microseconds, abs=0.5)
