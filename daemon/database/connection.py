"""Opens the database so that what DESIGN §5 promises holds: SQLite in WAL with full sync, PostgreSQL with
synchronous commit.

`Database.write()` is the only way to change anything: on SQLite it takes the write lock at once (`BEGIN IMMEDIATE`), so
that a transaction never fails half-way for a lock it did not have; on PostgreSQL it is an ordinary transaction.
Neither may hold I/O other than its own statements. `Database.read()` is a consistent snapshot.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

T = TypeVar("T")

_BUSY_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 5
_IDLE_SECONDS = 10.0
_TURNING_SECONDS = 30.0


class Database:
    """A pool of connections to one database. Safe to share between threads, never between processes."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = sa.create_engine(
                self.url,
                connect_args={"timeout": _BUSY_TIMEOUT_SECONDS, "check_same_thread": False, "isolation_level": None},
                poolclass=sa.pool.QueuePool,
                pool_size=16,
                max_overflow=16,
            )
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(
                self.url,
                pool_size=16,
                max_overflow=16,
                connect_args={"options": "-c synchronous_commit=on -c lock_timeout=30000"},
            )
            sa.event.listen(self.engine, "checkin", _note_use)
            sa.event.listen(self.engine, "checkout", _ping_if_idle)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction that may change rows; commits when the block ends, rolls back when it raises."""
        with self.engine.connect() as connection:
            connection = connection.execution_options(kopru_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that only reads, all of it from one moment."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:  # where a transaction sees one state anyway
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def retrying(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a write transaction; if another transaction was in its way, run it again, a few times.

        `work` must have no effect outside the connection, since it may run more than once.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not _is_contention(error):
                    raise
                time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def dispose(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _ping_if_idle(connection: Any, record: Any, _proxy: Any) -> None:
    """See whether the server still knows a connection that has lain idle; one in steady use need not be asked."""
    if time.monotonic() - record.info.get("used", time.monotonic()) < _IDLE_SECONDS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """The first to open a database turns it; SQLite lets nobody wait for that: whoever comes meanwhile asks again."""
    until = time.monotonic() + _TURNING_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
            time.sleep(0.005)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("kopru_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")


def _is_contention(error: DBAPIError) -> bool:
    """Whether the transaction lost to another one and can simply be repeated."""
    if getattr(error.orig, "sqlstate", None) in {"40001", "40P01", "55P03"}:
        return True
    return isinstance(error, OperationalError) and "locked" in str(error.orig)
