"""Verifying a log that is being written and sealed at the same time finds nothing to complain of."""

import threading

from daemon.audit import AuditEvent, AuditWriter, Kind, Sealer, SigningKey, verify
from tests.waiting import wait_until


def test_a_log_that_is_sealed_while_it_is_verified_is_sound(database, tmp_path):
    key = SigningKey.load_or_create(tmp_path / "key")
    sealer = Sealer(database, key, tmp_path / "heads", interval_seconds=0.001)
    heads_file = tmp_path / "heads" / "heads.jsonl"
    writer = AuditWriter("test")
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            database.retrying(lambda connection: writer.record(connection, AuditEvent(Kind.COMMAND, actor="test")))

    threads = [threading.Thread(target=write), threading.Thread(target=sealer.run, args=(stop,))]
    for thread in threads:
        thread.start()
    try:
        wait_until(heads_file.exists, "the first head to be published")
        reports = [verify(database, key.public, heads_file) for _ in range(60)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [report.problems for report in reports] == [()] * len(reports)
    assert verify(database, key.public, heads_file).size > 0
