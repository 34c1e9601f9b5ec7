"""Each record is sealed once, by one sealer at a time, and what was sealed leaves the machine even after a kill."""

import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from daemon.audit import HeadsFileError, LeaseLostError, LogDivergedError, Sealer, SigningKey, SigningKeyError
from daemon.audit.heads import SignedHead, read_heads
from daemon.database import Database
from daemon.database.lease import acquire, confirm, release
from daemon.database.schema import audit_event, audit_head, lease
from tests.audit.conftest import ONLY_POSTGRESQL, Log, make_log
from tests.waiting import wait_until


def _published(log: Log) -> list[SignedHead]:
    heads = [head for _, head in read_heads(log.heads_file)]
    return [head for head in heads if head]


def _second_sealer(log: Log) -> Sealer:
    """As another process would make it."""
    return Sealer(log.database, log.key, log.folder / "heads", batch=7)


def _let_the_lease_run_out(log: Log) -> None:
    with log.database.write() as connection:
        connection.execute(sa.update(lease).values(until=0.0))


def test_events_are_sealed_in_order_and_published_with_their_leaf_hashes(log: Log):
    log.record(16)
    assert log.sealer.seal() == 16
    assert log.sealer.seal() == 0
    heads = _published(log)
    assert [head.size for head in heads] == [7, 14, 16]
    for head in heads:
        assert head.is_authentic(log.public)
        for index in range(head.first, head.size):
            assert head.leaf(index) == log.at(index).leaf_hash
    assert [log.at(index).sequence for index in range(16)] == list(range(1, 17))


def test_events_are_sealed_within_a_second_while_it_runs(log: Log):
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(log.sealer.run, stop)
        try:
            wait_until(log.heads_file.exists, "the first look")
            for size in (3, 6):
                log.record(3)
                wait_until(lambda: log.verify().published == size, "the records to be sealed", 10)  # noqa: B023
            log.record(3)
        finally:
            stop.set()
        running.result(timeout=20)
    assert log.verify().published == 9  # what was left is sealed at the stop
    log.record(1)
    assert _second_sealer(log).seal() == 1  # the lease was given back


def test_two_sealers_never_work_at_once(log: Log):
    other = _second_sealer(log)
    log.record(3)
    assert log.sealer.seal() == 3
    log.record(3)
    assert other.seal() == 0
    _let_the_lease_run_out(log)
    assert other.seal() == 3
    log.record(3)
    with pytest.raises(LeaseLostError):
        log.sealer.seal()
    assert log.sealer.seal() == 0
    assert other.seal() == 3
    assert log.verify().sound


@ONLY_POSTGRESQL  # on SQLite there is no other transaction meanwhile
def test_nobody_takes_a_lease_during_a_transaction_that_confirmed_it(log: Log):
    with log.database.write() as connection:
        mine = acquire(connection, "a", "one", 10)
        assert mine
    with log.database.write() as connection:
        connection.execute(sa.update(lease).values(until=0.0))
    with ThreadPoolExecutor(1) as pool, log.database.write() as connection:
        assert confirm(connection, mine, 10)  # holds the row, so the other waits for this transaction …
        taken = pool.submit(lambda: log.database.retrying(lambda c: acquire(c, "a", "other", 10)))
        connection.commit()
        assert taken.result(timeout=20) is None  # … and then finds the lease renewed


def test_a_lease_of_before_the_clock_was_set_back_is_free(database: Database):
    with database.write() as connection:
        assert acquire(connection, "test", "first", 15.0)
        connection.execute(sa.update(lease).values(until=lease.c.until + 7200.0))
        assert acquire(connection, "test", "second", 15.0)


def test_a_lease_passes_on_with_a_greater_generation(database: Database):
    with database.write() as connection:
        first = acquire(connection, "a", "one", 60)
        assert first
        assert acquire(connection, "a", "two", 60) is None
        assert acquire(connection, "b", "two", 60)
        assert release(connection, first)
        second = acquire(connection, "a", "two", 60)
        assert second
        assert second.generation > first.generation
        assert not confirm(connection, first, 60)
        assert not release(connection, first)
        assert confirm(connection, second, 60)


def test_many_processes_that_want_a_new_lease_at_once_get_it_once(database: Database):
    def take(owner: int) -> object:
        return database.retrying(lambda connection: acquire(connection, "a", str(owner), 60))

    with ThreadPoolExecutor(6) as pool:
        assert sum(granted is not None for granted in pool.map(take, range(6))) == 1


def test_many_sealers_at_once_seal_each_record_once(log: Log):
    for _ in range(5):
        log.record(9)
    sealers = [_second_sealer(log) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda sealer: sealer.seal(), sealers)) == 45
    assert log.verify().sound
    assert log.verify().published == 45


def test_heads_that_a_crash_kept_from_leaving_leave_later_and_once(full_log: Log):
    whole = full_log.heads_file.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in (b"".join(lines[:4]), b"".join(lines[:4]) + lines[4][:50], lines[0][:-1], b""):
        full_log.heads_file.write_bytes(kept)
        _let_the_lease_run_out(full_log)
        _second_sealer(full_log).seal()
        assert full_log.heads_file.read_bytes() == whole


def test_a_folder_of_heads_that_is_not_writable_keeps_nothing_from_being_recorded(full_log: Log):
    full_log.heads_file.rename(full_log.folder / "aside")
    full_log.heads_file.mkdir()
    full_log.record(2)
    sealer = _second_sealer(full_log)
    _let_the_lease_run_out(full_log)
    with pytest.raises(OSError, match="heads"):
        sealer.seal()
    full_log.heads_file.rmdir()
    (full_log.folder / "aside").rename(full_log.heads_file)
    assert sealer.seal() == 2
    assert full_log.verify().published == 42


def test_nothing_is_sealed_on_top_of_a_database_that_was_set_back(full_log: Log):
    full_log.execute("DELETE FROM audit_event WHERE log_index >= 21")
    full_log.execute("DELETE FROM audit_head WHERE size > 21")
    full_log.record(3)
    _let_the_lease_run_out(full_log)
    with pytest.raises(LogDivergedError, match="does not have"):
        _second_sealer(full_log).seal()
    assert full_log.verify(with_heads_file=False).size == 21


def test_nothing_is_sealed_on_top_of_a_forged_head(full_log: Log):
    full_log.execute("UPDATE audit_head SET signature = :none WHERE size = 40", none=bytes(64))
    full_log.record(3)
    with pytest.raises(LogDivergedError, match="signing key"):
        full_log.sealer.seal()
    full_log.execute("DELETE FROM audit_head")
    with pytest.raises(LogDivergedError, match="does not have"):
        full_log.sealer.seal()
    _let_the_lease_run_out(full_log)
    with pytest.raises(LogDivergedError, match="no head"):
        Sealer(full_log.database, full_log.key, full_log.folder / "elsewhere").seal()


def test_nothing_is_sealed_behind_a_heads_file_that_is_damaged(full_log: Log):
    full_log.heads_file.write_bytes(full_log.heads_file.read_bytes() + b"nonsense\n")
    _let_the_lease_run_out(full_log)
    with pytest.raises(HeadsFileError):
        _second_sealer(full_log).seal()


def test_a_log_goes_on_under_its_own_key_only(full_log: Log, tmp_path: Path):
    other = SigningKey.load_or_create(tmp_path / "other" / "key")
    full_log.record(1)
    _let_the_lease_run_out(full_log)
    with pytest.raises(SigningKeyError, match="not the public half"):
        Sealer(full_log.database, other, full_log.folder / "heads").seal()
    _let_the_lease_run_out(full_log)
    with pytest.raises(LogDivergedError):
        Sealer(full_log.database, other, full_log.folder / "elsewhere").seal()


def test_the_signing_key_is_made_once_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "keys" / "audit-signing.key"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(SigningKey.load_or_create, [path] * 8))
    assert len({key.public.fingerprint for key in keys}) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["audit-signing.key", "audit-signing.key.pub"]
    path.chmod(0o640)
    with pytest.raises(SigningKeyError, match="0600"):
        SigningKey.load_or_create(path)
    path.write_bytes(b"nonsense")
    path.chmod(0o600)
    with pytest.raises(SigningKeyError, match="cannot be read"):
        SigningKey.load_or_create(path)
    path.unlink()
    with pytest.raises(SigningKeyError, match="is gone"):
        SigningKey.load_or_create(path)
    assert not path.exists()


def test_openssl_agrees_with_a_heads_signature(full_log: Log, tmp_path: Path):
    head = _published(full_log)[-1]
    message = (
        b"kopru audit head v1\n" + head.size.to_bytes(8, "big") + head.root + head.at_microseconds.to_bytes(8, "big")
    )
    (tmp_path / "message").write_bytes(message)
    (tmp_path / "signature").write_bytes(head.signature)
    arguments = [
        "-pubin",
        "-inkey",
        full_log.folder / "heads" / "public-key.pem",
        "-rawin",
        "-in",
        tmp_path / "message",
    ]
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", *arguments, "-sigfile", tmp_path / "signature"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def kill_log(database_url: str, database: Database, tmp_path: Path) -> tuple[Log, str]:
    return make_log(database, tmp_path), database_url


def _run_and_kill(log: Log, url: str, delay: float) -> None:
    """Start a process that records and seals; kill it a random time after it is under way."""
    before = log.heads_file.stat().st_size if log.heads_file.exists() else 0
    with subprocess.Popen([sys.executable, "-m", "tests.audit.sealing_process", url, str(log.folder)]) as process:
        try:
            wait_until(
                lambda: log.heads_file.exists() and log.heads_file.stat().st_size > before, "a head to leave", 60
            )
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
        finally:
            process.send_signal(signal.SIGKILL)


def _kill_and_check(log: Log, url: str, kills: int, seed: int) -> None:
    moments = random.Random(seed)
    for kill in range(kills):
        _run_and_kill(log, url, moments.uniform(0, 0.3))
        report = log.verify()  # as the kill left it: at most, heads have not left yet
        assert report.sound, f"seed {seed}, kill {kill}: {[str(problem) for problem in report.problems]}"
        assert report.published is not None
        assert report.published <= report.size
    _let_the_lease_run_out(log)
    log.sealer.seal()
    report = log.verify()
    assert report.sound
    with log.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(audit_event)).scalar_one() == report.size
        sizes = list(connection.execute(sa.select(audit_head.c.size).order_by(audit_head.c.size)).scalars())
    assert [head.size for head in _published(log)] == sizes
    assert report.published == report.size > kills


def test_a_killed_sealer_loses_nothing_and_publishes_all_once(kill_log: tuple[Log, str]):
    _kill_and_check(*kill_log, kills=3, seed=20261121)


@pytest.mark.soak
def test_a_hundred_killed_sealers_lose_nothing_and_publish_all_once(kill_log: tuple[Log, str]):
    _kill_and_check(*kill_log, kills=100, seed=2)
