"""A log to tamper with: small, of several writers and batches, sealed and published."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from daemon.audit import AuditEvent, AuditWriter, Id, Kind, PublicKey, Report, Sealer, SigningKey, verify
from daemon.database import Database
from daemon.database.schema import audit_event

SUBJECT = "5ab1ec75" * 4


ONLY_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize(
    "dialect", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


def event(number: int = 0, subject: str | None = None) -> AuditEvent:
    """An event such as the engine records."""
    return AuditEvent(Kind.REVISION_MOVED, "engine", subject, {"revision": Id(f"{number:032x}"), "number": number})


@dataclass
class Log:
    """A log with all that belongs to it."""

    database: Database
    folder: Path
    key: SigningKey
    sealer: Sealer

    @property
    def heads_file(self) -> Path:
        return self.folder / "heads" / "heads.jsonl"

    @property
    def public(self) -> PublicKey:
        return self.key.public

    def record(self, count: int, writer: str = "engine@ward", subject: str | None = None) -> None:
        with self.database.write() as connection:
            AuditWriter(writer).record(connection, *(event(number, subject) for number in range(count)))

    def verify(self, *, with_heads_file: bool = True) -> Report:
        return verify(self.database, self.public, self.heads_file if with_heads_file else None)

    def execute(self, statement: str, **values: object) -> None:
        """What a forger with the database's password does."""
        with self.database.write() as connection:
            connection.execute(sa.text(statement), values)

    def at(self, log_index: int) -> sa.Row[tuple[object, ...]]:
        with self.database.read() as connection:
            return connection.execute(sa.select(audit_event).where(audit_event.c.log_index == log_index)).one()


def make_log(database: Database, folder: Path) -> Log:
    key = SigningKey.load_or_create(folder / "audit-signing.key")
    return Log(database, folder, key, Sealer(database, key, folder / "heads", batch=7))


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    """An empty log."""
    return make_log(database, tmp_path)


@pytest.fixture
def full_log(log: Log) -> Log:
    """40 sealed records of three writers under 6 heads, published."""
    with log.database.write() as connection:
        for name in ("engine@ward", "console@ward", "cli@ward"):
            AuditWriter(name).record(connection, *(event(number, SUBJECT) for number in range(6)))
            AuditWriter(name).record(connection, *(event(number) for number in range(6)))
        AuditWriter("engine@ward").record(connection, *(event(number, SUBJECT) for number in range(4)))
    assert log.sealer.seal() == 40
    return log
