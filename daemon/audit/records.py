"""Sealed and unsealed records as they stand, wherever they stand: what `verify` and `export` read, streaming.

Reading believes nothing: a row may have been changed by whoever could, so a column may hold anything, and what cannot
be a value of its kind comes back as it is (an index) or as None (a head).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from daemon.audit.heads import SignedHead
from daemon.database import Database
from daemon.database.schema import audit_event, audit_head, audit_writer

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns beside a body say: copies of parts of it for look-up, and its leaf hash."""

    writer: Any
    sequence: Any
    at: Any
    kind: Any
    subject: Any
    leaf_hash: Any


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A record. `log_index` is None while it is not sealed; `columns` is None where there are none (in an export)."""

    log_index: Any
    body: bytes
    columns: Columns | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: of one patient (their audit tag), from `since` on, before `until` (seconds since 1970 UTC)."""

    subject: str | None = None
    since: float | None = None
    until: float | None = None


class StoredLog(Protocol):
    """A whole log that can be read front to back, several parts of it at the same time."""

    def heads(self) -> Iterator[tuple[str, SignedHead | None]]:
        """The heads by size, each with words for where it stands; None for what is no head."""

    def sealed(self) -> Iterator[StoredEvent]:
        """The sealed records in the order of their log index."""

    def unsealed(self) -> Iterator[StoredEvent]:
        """The others, in the order in which they were recorded."""

    def counters(self) -> Mapping[str, int] | None:
        """The last number that each writer has taken; None where that is not known."""


class DatabaseLog:
    """The log in a database, as one snapshot; `open_database_log` makes it."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _stream(self, query: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
        return iter(self._connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)))

    def heads(self) -> Iterator[tuple[str, SignedHead | None]]:
        """See `StoredLog`."""
        for row in self._stream(sa.select(audit_head).order_by(audit_head.c.size)):
            yield f"the database's head at size {row.size}", head_of_row(row)

    def sealed(self) -> Iterator[StoredEvent]:
        """See `StoredLog`."""
        index = audit_event.c.log_index
        for row in self._stream(sa.select(audit_event).where(index.is_not(None)).order_by(index, audit_event.c.id)):
            yield _event_of_row(row)

    def unsealed(self) -> Iterator[StoredEvent]:
        """See `StoredLog`."""
        for row in self._stream(
            sa.select(audit_event).where(audit_event.c.log_index.is_(None)).order_by(audit_event.c.id)
        ):
            yield _event_of_row(row)

    def selected(self, selection: Selection) -> Iterator[StoredEvent]:
        """The records that the look-up columns select, sealed ones first, in the order of the log."""
        query = sa.select(audit_event).order_by(
            audit_event.c.log_index.is_(None), audit_event.c.log_index, audit_event.c.id
        )
        if selection.subject is not None:
            query = query.where(audit_event.c.subject == selection.subject)
        if selection.since is not None:
            query = query.where(audit_event.c.at >= selection.since)
        if selection.until is not None:
            query = query.where(audit_event.c.at < selection.until)
        for row in self._stream(query):
            yield _event_of_row(row)

    def counters(self) -> Mapping[str, int] | None:
        """See `StoredLog`."""
        return {row.writer: row.last for row in self._connection.execute(sa.select(audit_writer))}


@contextmanager
def open_database_log(database: Database) -> Iterator[DatabaseLog]:
    """The log as it stands now, whatever is recorded or sealed meanwhile."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:  # there a reading transaction is a snapshot anyway
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield DatabaseLog(connection)


def _event_of_row(row: sa.Row[Any]) -> StoredEvent:
    body = row.body if isinstance(row.body, bytes) else str(row.body).encode()
    return StoredEvent(
        row.log_index, body, Columns(row.writer, row.sequence, row.at, row.kind, row.subject, row.leaf_hash)
    )


def head_of_row(row: sa.Row[Any]) -> SignedHead | None:
    """A row of `audit_head` as a value; None where its columns cannot be those of a head."""
    try:
        at = round(row.at * 1_000_000)
        if not all(isinstance(value, bytes) for value in (row.root, row.signature, row.frontier, row.leaves)):
            return None
        return SignedHead(row.size, row.root, at, row.signature, row.frontier, row.leaves)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None
