"""wraps.log: the last whole record counts, whatever a crash left behind it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.storage.container import KeyKind, KeyName, Wrap
from adapters.storage.wraps import (
    FILE_NAME,
    RECORD_BYTES,
    append_wraps,
    forget_earlier_wraps,
    pack_record,
    parse_records,
    read_wraps,
)

object_ids = st.sampled_from([f"{number:032x}" for number in range(4)])
wraps = st.builds(
    Wrap,
    st.builds(KeyName, st.sampled_from(KeyKind), st.text("0123456789abcdef-", min_size=1, max_size=40)),
    st.binary(min_size=61, max_size=61),
)
entries = st.lists(st.tuples(object_ids, wraps), max_size=12)


def log_of(records: list[tuple[str, Wrap]]) -> bytes:
    return b"".join(pack_record(object_id, wrap) for object_id, wrap in records)


@given(entries)
def test_the_last_record_of_an_object_wins(records: list[tuple[str, Wrap]]) -> None:
    assert parse_records(log_of(records)) == dict(records)


@given(entries, st.integers(0, RECORD_BYTES * 12))
def test_a_torn_tail_takes_only_the_torn_record(records: list[tuple[str, Wrap]], kept: int) -> None:
    whole = log_of(records)
    kept = min(kept, len(whole))
    assert parse_records(whole[:kept]) == dict(records[: kept // RECORD_BYTES])


@given(entries.filter(bool), st.data())
def test_a_damaged_record_takes_no_other(records: list[tuple[str, Wrap]], data: st.DataObject) -> None:
    log = bytearray(log_of(records))
    number = data.draw(st.integers(0, len(records) - 1))
    log[number * RECORD_BYTES + data.draw(st.integers(0, RECORD_BYTES - 1))] ^= 0x40
    assert parse_records(bytes(log)) == dict(records[:number] + records[number + 1 :])


@given(entries.filter(bool), st.binary(max_size=RECORD_BYTES * 2), st.tuples(object_ids, wraps))
def test_appending_after_a_crash_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, Wrap]],
    debris: bytes,
    following: tuple[str, Wrap],
) -> None:
    folder: Path = tmp_path_factory.mktemp("batch")
    append_wraps(folder, [pack_record(*record) for record in records])
    with (folder / FILE_NAME).open("ab") as log:
        log.write(debris)
    append_wraps(folder, [pack_record(*following)])
    assert read_wraps(folder) == dict([*records, following])


def test_a_folder_without_a_log_has_no_wraps(tmp_path: Path) -> None:
    assert read_wraps(tmp_path) == {}


@given(entries.filter(bool), st.sets(object_ids), st.binary(max_size=RECORD_BYTES - 1))
def test_forgetting_leaves_the_last_record_of_the_named_and_all_of_the_others(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, Wrap]], named: set[str], debris: bytes
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    before = log_of(records) + debris
    (folder / FILE_NAME).write_bytes(before)
    forget_earlier_wraps(folder, named)
    after = (folder / FILE_NAME).read_bytes()
    assert (len(after), read_wraps(folder)) == (len(before), parse_records(before))
    for number, (object_id, _) in enumerate(records):
        place = slice(number * RECORD_BYTES, (number + 1) * RECORD_BYTES)
        is_last = all(later != object_id for later, _ in records[number + 1 :])
        assert after[place] == (before[place] if is_last or object_id not in named else bytes(RECORD_BYTES))
