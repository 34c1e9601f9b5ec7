"""Records and seals without a pause until it is killed: ``python -m tests.audit.sealing_process URL FOLDER``."""

import sys
import threading
from pathlib import Path

from daemon.audit import AuditWriter, Sealer, SigningKey
from daemon.database import Database
from tests.audit.conftest import event


def _record(database: Database) -> None:
    writer = AuditWriter("engine@ward")
    never = threading.Event()
    while not never.wait(0.002):  # so that the sealer gets its turn at SQLite's one write lock
        database.retrying(lambda connection: writer.record(connection, event(1), event(2)))


def main(url: str, folder: Path) -> None:
    database = Database(url)
    key = SigningKey.load_or_create(folder / "audit-signing.key")
    sealer = Sealer(database, key, folder / "heads", lease_seconds=0.2, batch=3)
    threading.Thread(target=_record, args=(database,), daemon=True).start()
    while True:
        sealer.seal()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
