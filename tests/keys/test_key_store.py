"""The key store: mirrors that heal, erasures that last, epochs and patients among processes."""

import contextlib
import multiprocessing
import multiprocessing.pool
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapters.durable_files
from adapters.keys import (
    KeyDestroyed,
    KeyMissing,
    KeyStore,
    KeyStoreCorrupt,
    KeyStoreError,
    KeyStoreUnavailable,
    MasterKey,
    MasterKeyError,
    PatientEntry,
)

MASTER = MasterKey(bytes(range(32)))


def open_store(root: Path) -> KeyStore:
    return KeyStore([root / "a", root / "b"], MASTER)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return open_store(tmp_path)


def entry_files(root: Path, name: str) -> list[Path]:
    return sorted(path for mirror in ("a", "b") for path in (root / mirror).rglob(f"*{name}*"))


def test_an_entry_is_random_and_complete(keys: KeyStore) -> None:
    first, second = keys.create_patient("tag-1"), keys.create_patient("tag-2")
    assert len(first.key) == 32
    assert first.key != second.key
    assert first.pseudonym != second.pseudonym
    assert first.pseudonym.startswith("KP-")
    assert len(first.pseudonym) <= 64  # a LO, PS3.5 6.2
    assert first.date_offset_days != 0
    assert len({first.id, second.id, first.audit_tag, second.audit_tag}) == 4
    assert first.subkey("uid") != first.subkey("objects") != first.key
    assert {entry.id for entry in keys.patients()} == {first.id, second.id}


def test_another_master_key_is_refused_and_changes_nothing(tmp_path: Path, keys: KeyStore) -> None:
    erased, kept = keys.create_patient("tag-1"), keys.create_patient("tag-2")
    keys.destroy_patient(erased.id)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(MasterKeyError, match="is not that of the key store"):
        KeyStore([tmp_path / "a", tmp_path / "b"], MasterKey(bytes(32)))
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert open_store(tmp_path).patient(kept.id) == kept


def test_a_scope_gets_the_same_entry_again(tmp_path: Path, keys: KeyStore) -> None:
    assert keys.create_patient("tag") == keys.create_patient("tag") == open_store(tmp_path).create_patient("tag")
    assert len(list(keys.patients())) == 1


def test_date_offsets_are_whole_days_in_both_directions_and_never_zero(keys: KeyStore) -> None:
    offsets = {keys.create_patient(f"tag-{number}").date_offset_days for number in range(40)}
    assert min(offsets) < 0 < max(offsets)
    assert all(30 <= abs(offset) <= 3650 for offset in offsets)


def test_nothing_of_an_entry_is_in_the_clear(tmp_path: Path, keys: KeyStore) -> None:
    entry = keys.create_patient("tag")
    files = entry_files(tmp_path, entry.id)
    assert len(files) == 2
    for path in files:
        raw = path.read_bytes()
        assert entry.key not in raw
        assert entry.key.hex().encode() not in raw
        assert entry.pseudonym.encode() not in raw
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mirror", ["a", "b"])
@pytest.mark.parametrize("damage", ["lost", "cut", "flipped"])
def test_a_damaged_mirror_is_read_around_and_healed(tmp_path: Path, keys: KeyStore, mirror: str, damage: str) -> None:
    entry = keys.create_patient("tag")
    path = tmp_path / mirror / "patients" / f"{entry.id}.key"
    whole = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(whole[:20] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    other = tmp_path / ("b" if mirror == "a" else "a") / "patients" / path.name
    assert keys.patient(entry.id) == entry
    if damage == "lost" or mirror == "a":  # damage in the second mirror shows only when it is needed
        other.unlink()
    assert keys.patient(entry.id) == entry


def test_an_entry_damaged_in_both_mirrors_is_said_to_be_so(tmp_path: Path, keys: KeyStore) -> None:
    entry = keys.create_patient("tag")
    for path in entry_files(tmp_path, entry.id):
        path.write_bytes(b"\x01" + bytes(60))
    with pytest.raises(KeyStoreCorrupt, match="backup"):
        keys.patient(entry.id)


def test_entries_cannot_be_swapped(tmp_path: Path, keys: KeyStore) -> None:
    one, two = keys.create_patient("tag-1"), keys.create_patient("tag-2")
    for mirror in ("a", "b"):
        shelf = tmp_path / mirror / "patients"
        shutil.copy(shelf / f"{one.id}.key", shelf / f"{two.id}.key")
    with pytest.raises(KeyStoreCorrupt):
        keys.patient(two.id)


def test_a_lost_mirror_is_made_anew_when_the_store_is_opened(tmp_path: Path, keys: KeyStore) -> None:
    entry, epoch = keys.create_patient("tag"), keys.current_epoch()
    shutil.rmtree(tmp_path / "a")
    open_store(tmp_path)
    shutil.rmtree(tmp_path / "b")
    again = open_store(tmp_path)
    assert again.patient(entry.id) == entry
    assert again.current_epoch() == epoch


def test_what_never_was_is_missing_and_what_was_destroyed_is_destroyed(keys: KeyStore) -> None:
    entry = keys.create_patient("tag")
    keys.destroy_patient(entry.id)
    with pytest.raises(KeyDestroyed):
        keys.patient(entry.id)
    with pytest.raises(KeyMissing):
        keys.patient("0" * 32)
    with pytest.raises(KeyMissing):
        keys.destroy_patient("0" * 32)
    keys.destroy_patient(entry.id)  # twice changes nothing
    assert list(keys.patients()) == []


def test_destroying_leaves_no_copy_of_the_sealed_key(tmp_path: Path, keys: KeyStore) -> None:
    entry = keys.create_patient("tag")
    sealed = entry_files(tmp_path, entry.id)[0].read_bytes()
    keys.destroy_patient(entry.id)
    remains = [path for path in tmp_path.rglob("*") if path.is_file() and sealed[:20] in path.read_bytes()]
    assert remains == []


def test_a_scope_that_comes_back_after_an_erasure_gets_a_new_key_and_pseudonym(keys: KeyStore) -> None:
    before = keys.create_patient("tag")
    keys.destroy_patient(before.id)
    after = keys.create_patient("tag")
    assert (before.id, before.key, before.pseudonym) != (after.id, after.key, after.pseudonym)
    assert keys.patient(after.id) == after


@pytest.mark.parametrize("lost_ledger", ["a", "b", None])
def test_a_restored_backup_does_not_bring_an_erased_key_back(
    tmp_path: Path, keys: KeyStore, lost_ledger: str | None
) -> None:
    erased, kept = keys.create_patient("tag-1"), keys.create_patient("tag-2")
    backup = tmp_path / "backup"
    for mirror in ("a", "b"):
        shutil.copytree(tmp_path / mirror / "patients", backup / mirror / "patients")
        shutil.copytree(tmp_path / mirror / "scopes", backup / mirror / "scopes")
    keys.destroy_patient(erased.id)
    shutil.copytree(backup, tmp_path, dirs_exist_ok=True)
    if lost_ledger:
        (tmp_path / lost_ledger / "erased.ledger").unlink()
    with pytest.raises(KeyDestroyed):  # a process that runs on is not fooled either
        keys.patient(erased.id)
    again = open_store(tmp_path)
    assert entry_files(tmp_path, erased.id) == []
    with pytest.raises(KeyDestroyed):
        again.patient(erased.id)
    assert again.patient(kept.id) == kept
    assert again.create_patient("tag-1").id != erased.id


def test_a_torn_line_of_the_ledger_loses_no_other(tmp_path: Path, keys: KeyStore) -> None:
    first, second = keys.create_patient("tag-1"), keys.create_patient("tag-2")
    keys.destroy_patient(first.id)
    for mirror in ("a", "b"):
        with (tmp_path / mirror / "erased.ledger").open("a") as ledger:
            ledger.write(f"patients/{second.id} 17")  # a crash within the append: never acknowledged
    again = open_store(tmp_path)
    assert again.patient(second.id) == second
    again.destroy_patient(second.id)
    for entry in (first, second):
        with pytest.raises(KeyDestroyed):
            open_store(tmp_path).patient(entry.id)


class _PowerCut(BaseException):
    """The process ends here."""


def _cut_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the `step`-th fsync be the last thing that happens."""
    done = iter(range(step))
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if next(done, None) is None:
            raise _PowerCut
        real(descriptor)

    monkeypatch.setattr(adapters.durable_files.os, "fsync", fsync)


@pytest.mark.parametrize("step", range(9))
def test_an_erasure_cut_short_anywhere_is_finished_or_never_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    keys = open_store(tmp_path)
    entry = keys.create_patient("tag")
    with monkeypatch.context() as patched:
        _cut_at(patched, step)
        with contextlib.suppress(_PowerCut):
            keys.destroy_patient(entry.id)
    again = open_store(tmp_path)
    try:
        assert again.patient(entry.id) == entry
    except KeyDestroyed:
        assert entry_files(tmp_path, entry.id) == []
    again.destroy_patient(entry.id)
    assert entry_files(tmp_path, entry.id) == []


@pytest.mark.parametrize("step", range(12))
def test_a_creation_cut_short_anywhere_leaves_at_most_one_entry_and_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    keys = open_store(tmp_path)
    with monkeypatch.context() as patched:
        _cut_at(patched, step)
        with contextlib.suppress(_PowerCut):
            keys.create_patient("tag")
    again = open_store(tmp_path)
    entry = again.create_patient("tag")
    assert list(again.patients()) == [entry]
    assert len(entry_files(tmp_path, entry.id)) == 2
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_mirror_that_cannot_be_written_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = open_store(tmp_path)
    entry = keys.create_patient("tag-1")
    real = os.open

    def broken(path: Path, flags: int, mode: int = 0o777) -> int:
        if str(path).startswith(str(tmp_path / "b")) and flags & os.O_WRONLY:
            raise OSError(5, "Input/output error", str(path))
        return real(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(adapters.durable_files.os, "open", broken)
        with pytest.raises(KeyStoreUnavailable, match="disk"):
            keys.create_patient("tag-2")
        assert keys.patient(entry.id) == entry  # reading goes on
    assert len(entry_files(tmp_path, keys.create_patient("tag-2").id)) == 2


def test_two_mirrors_are_demanded(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="two"):
        KeyStore([tmp_path, tmp_path], MASTER)


@pytest.mark.parametrize("name", ["", "../patients/x", "a/b", "a\0", "a" * 200])
def test_a_name_never_leads_out_of_the_store(keys: KeyStore, name: str) -> None:
    for ask in (keys.patient, keys.epoch, keys.destroy_patient):
        with pytest.raises(KeyMissing):
            ask(name)


# Epochs


def test_an_epoch_is_used_until_it_is_closed(tmp_path: Path, keys: KeyStore) -> None:
    other = open_store(tmp_path)
    epoch = keys.current_epoch()
    assert other.current_epoch() == keys.current_epoch() == epoch
    assert other.close_epoch() == epoch.id
    assert not keys.is_open(epoch.id)
    following = keys.current_epoch()
    assert following.id > epoch.id
    assert other.current_epoch() == following
    assert keys.epoch(epoch.id) == epoch  # closed, not gone
    assert [(e.id, e.closed_at is None) for e in keys.epochs()] == [(epoch.id, False), (following.id, True)]


def test_an_open_epoch_cannot_be_destroyed_and_a_destroyed_one_stays_so(tmp_path: Path, keys: KeyStore) -> None:
    epoch = keys.current_epoch()
    with pytest.raises(KeyStoreError, match="close it"):
        keys.destroy_epoch(epoch.id)
    keys.close_epoch(epoch.id)
    keys.close_epoch(epoch.id)
    keys.destroy_epoch(epoch.id)
    for store in (keys, open_store(tmp_path)):
        with pytest.raises(KeyDestroyed):
            store.epoch(epoch.id)
    assert keys.epochs() == []
    assert keys.current_epoch().id > epoch.id  # numbers are never used twice


def test_closing_without_an_open_epoch_changes_nothing(keys: KeyStore) -> None:
    assert keys.close_epoch() is None
    assert keys.epochs() == []


# Processes


def _epoch_of(root: Path) -> str:
    return open_store(root).current_epoch().id


def _patient_of(arguments: tuple[Path, str]) -> PatientEntry:
    root, tag = arguments
    return open_store(root).create_patient(tag)


@pytest.fixture(scope="module")
def pool() -> Iterator[multiprocessing.pool.Pool]:
    with multiprocessing.get_context("spawn").Pool(4) as workers:
        yield workers


def test_processes_that_start_at_once_agree_on_one_epoch(tmp_path: Path, pool: multiprocessing.pool.Pool) -> None:
    assert len(set(pool.map(_epoch_of, [tmp_path] * 8, chunksize=1))) == 1


def test_processes_that_create_one_scope_at_once_get_one_entry(tmp_path: Path, pool: multiprocessing.pool.Pool) -> None:
    entries = pool.map(_patient_of, [(tmp_path, f"tag-{number % 2}") for number in range(8)], chunksize=1)
    assert len({entry.id for entry in entries}) == 2
    assert len(list(open_store(tmp_path).patients())) == 2
