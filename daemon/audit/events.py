"""What the audit log records, and how a transaction adds to it. An event names things by ids and codes only: the
types refuse free text, so that a message, a name or any other value from a patient's data cannot slip in (DESIGN
§2.3).

Numbering without gaps
    Each event carries its writer and that writer's sequence number: 1, 2, 3 …. The counters are rows of
    `audit_writer`, and the number is taken *in the caller's transaction*: what is rolled back gives its numbers back
    with it, a crash or a lost connection at commit leaves counter and events agreeing, and a restart goes on where
    the last process stopped. Taking a number locks the row until the transaction ends, which keeps each writer's
    events in order. Transactions that run at once never wait for each other: each takes a row of its process's name
    that nobody holds (SKIP LOCKED), or makes a new one. So a name has as many writers (``engine@ward.3f9a01c2``) as
    it ever had transactions at once. SQLite has one at a time anyway.

The body
    What is hashed is the event's canonical JSON (keys sorted, no spaces, UTF-8), stored as bytes and never made again.
"""

import json
import re
import secrets
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa

from daemon.audit.errors import EventError
from daemon.database import database_now
from daemon.database.schema import audit_event, audit_writer


class Kind(StrEnum):
    """Everything that is recorded. The value is what stands in the log; it never changes its meaning."""

    PROCESS_STARTED = "process.started"
    PROCESS_STOPPED = "process.stopped"
    CHILD_DIED = "process.child-died"
    CONFIGURATION_LOADED = "configuration.loaded"
    CONFIGURATION_REFUSED = "configuration.refused"
    DATABASE_MIGRATED = "database.migrated"
    INDEXING_FAILED = "index.failed"
    COMMAND = "command.run"

    ASSOCIATION_OPENED = "association.opened"
    ASSOCIATION_RELEASED = "association.released"
    ASSOCIATION_ABORTED = "association.aborted"
    ASSOCIATION_LOST = "association.lost"
    ASSOCIATION_REJECTED = "association.rejected"

    INSTANCE_RECEIVED = "instance.received"
    INSTANCE_REFUSED = "instance.refused"
    INSTANCE_QUARANTINED = "instance.quarantined"
    INSTANCE_DUPLICATE = "instance.duplicate"
    INSTANCE_COPY_USED = "instance.copy-used"
    INSTANCE_VARIANT = "instance.variant"
    INSTANCE_CORRECTION = "instance.correction"
    INSTANCE_CONFLICT = "instance.pixel-conflict"
    INSTANCE_REJECTED = "instance.rejected"
    INSTANCE_OWN_RESULT = "instance.own-result"
    INSTANCE_UNSELECTED = "instance.unselected"

    PATIENT_CREATED = "patient.created"
    PATIENT_CORRECTED = "study.patient-corrected"
    CONTRADICTION_KEPT = "study.contradiction-kept"
    CONTRADICTION_CORRECTED = "study.contradiction-corrected"
    REVISION_OPENED = "revision.opened"
    REVISION_MOVED = "revision.moved"

    DEIDENTIFIED = "deidentification.done"
    DEIDENTIFICATION_REFUSED = "deidentification.refused"
    QUARANTINE_RELEASED = "quarantine.released"
    QUARANTINE_REJECTED = "quarantine.rejected"
    QUARANTINE_RESTORED = "quarantine.restored"
    QUARANTINE_RETRIED = "quarantine.retried"
    VAULT_ANSWERED = "vault.answered"
    VAULT_REFUSED = "vault.refused"
    MODEL_LOADED = "model.loaded"
    DRIFT_BEGAN = "model.drift-began"
    DRIFT_ENDED = "model.drift-ended"
    MODEL_REGISTERED = "model.registered"
    MODEL_MOVED = "model.moved"
    MODEL_UNLIKE = "model.unlike"
    EXPERIMENT_STARTED = "experiment.started"
    EXPERIMENT_ENDED = "experiment.ended"
    SIGNED_OFF = "report.signed-off"
    INFERRED = "inference.done"
    INFERENCE_FAILED = "inference.failed"
    REPORTED = "report.made"
    INSTANCES_MADE = "instances.made"
    WITHDRAWN = "report.withdrawal-made"
    NOT_RECALLED = "delivery.not-recalled"
    DELIVERY_ATTEMPTED = "delivery.attempted"
    DELIVERED = "delivery.done"
    DELIVERY_FAILED = "delivery.failed"
    DELIVERY_DEAD = "delivery.dead"
    SEEN_TO = "delivery.seen-to"

    TASK_DEAD = "task.dead"
    TASK_RETRIED = "task.retried"
    TASK_CLOSED = "task.closed"

    HANDED_OVER = "key.handed-over"
    EPOCH_CLOSED = "key.epoch-closed"
    EPOCH_DESTROYED = "key.epoch-destroyed"

    LOG_EXPORTED = "audit.exported"
    LOG_VERIFIED = "audit.verified"


_NAME = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:/@+-]{0,119}")
_ID = re.compile(r"[0-9a-f]{8,64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_AE_TITLE = re.compile(r"[A-Za-z0-9_.:/@#+-](?:[A-Za-z0-9 _.:/@#+-]{0,14}[A-Za-z0-9_.:/@#+-])?")
_LARGEST_INTEGER = 2**53 - 1  # RFC 8259 6: beyond it JSON readers disagree
_MOST_DETAILS = 24


class Id(str):
    """An id that kopru made: lower-case hexadecimal of 8 to 64 digits, or a UUID. Never an id that came with the
    data.
    """

    __slots__ = ()

    def __new__(cls, value: str | UUID) -> "Id":  # noqa: D102
        text = str(value)
        if not _ID.fullmatch(text):
            raise EventError(
                "an id in an audit event must be one that kopru made (hexadecimal or UUID); this one is not"
            )
        return super().__new__(cls, text)


class Name(str):
    """A name from the settings, a model package, a standard or the network: no spaces, 1 to 120 of
    ``A-Za-z0-9._:/@+-``.

    For destinations, pipelines, versions, addresses, SOP class UIDs. Never for what came in a data set, nor for an
    exception's message; a name of digits only is refused, since that is what patients' numbers look like.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> "Name":  # noqa: D102
        if not _NAME.fullmatch(value) or value.isdigit():
            raise EventError(
                "a name in an audit event is up to 120 letters, digits and ._:/@+- without spaces, not digits only; "
                "this one is not, so record a code in its place"
            )
        return super().__new__(cls, value)


class AETitle(str):
    """An application entity title (PS3.5 6.2, VR AE), at most 16 characters, inner spaces allowed; no ``^`` and no
    comma.

    `AETitle.claimed` is for a title that an unknown peer sent: what does not look like one is recorded as ``?``.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> "AETitle":  # noqa: D102
        if not _AE_TITLE.fullmatch(value):
            raise EventError(
                "an AE title in an audit event is 1 to 16 letters, digits, spaces and _.:/@#+-; this one is not"
            )
        return super().__new__(cls, value)

    @classmethod
    def claimed(cls, value: str) -> "AETitle":
        """The title a peer gave itself, or ``?`` when that is none; never raises."""
        title = value.strip(" ")
        return cls(title) if _AE_TITLE.fullmatch(title) else super().__new__(cls, "?")


Detail: TypeAlias = Id | Name | AETitle | Enum | int | bool | None
"""What an event may say about itself. A plain string is refused, whatever it holds; an Enum stands for its value."""


def _plain(key: str, value: object) -> str | int | bool | None:
    """A detail as JSON. Raises EventError for whatever is no `Detail`."""
    if isinstance(value, Enum):
        code = value.value
        if isinstance(code, str) and _NAME.fullmatch(code):
            return str(code)
        if isinstance(code, int):
            return int(code)
    elif isinstance(value, Id | Name | AETitle):
        return str(value)
    elif value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= _LARGEST_INTEGER):
        return value
    raise EventError(
        f"audit detail {key!r} is a {type(value).__name__} that the log does not take; give an Id, Name, AETitle, "
        "Enum of codes, int or bool, never text from data or from an exception"
    )


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened. Raises `EventError` where it holds anything but ids and codes.

    `actor` is who did it: a process (``engine``) or a person as the operating system knows them (``uid:1000``).
    `subject` is the random audit tag of the patient concerned, never their name or number.
    """

    kind: Kind
    actor: str
    subject: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            raise EventError("an audit event's kind is a member of `Kind`")
        Name(self.actor)
        if self.subject is not None:
            Id(self.subject)
        if len(self.details) > _MOST_DETAILS:
            raise EventError(f"an audit event has at most {_MOST_DETAILS} details; this {self.kind.value} has more")
        for key in self.details:
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise EventError("the keys of an audit event's details are lower-case words with underscores")
        plain = {key: _plain(key, value) for key, value in self.details.items()}
        object.__setattr__(self, "details", MappingProxyType(plain))

    def body(self, writer: str, sequence: int, at_microseconds: int) -> bytes:
        """The bytes that are stored and hashed. `at_microseconds` counts from 1970-01-01 UTC."""
        return canonical_json(
            {
                "actor": self.actor,
                "at": time_text(at_microseconds),
                "details": dict(self.details),
                "kind": self.kind.value,
                "sequence": sequence,
                "subject": self.subject,
                "version": 1,
                "writer": writer,
            }
        )


class AuditWriter:
    """Records what one process does. `name` is the process and its host: ``engine@ward``. Threads may share it."""

    def __init__(self, name: str) -> None:
        if len(name) > 48:
            raise EventError("an audit writer's name has at most 48 characters")
        self.name = Name(name)

    def record(self, connection: sa.Connection, *events: AuditEvent) -> None:
        """Add events to the log in the caller's transaction: they are there if and only if it commits.

        The connection must be in a transaction that may write. Raises what the database raises.
        """
        if not events:
            return
        writer, last, now = self._take_numbers(connection, len(events))
        at = round(now * 1_000_000)
        first = last - len(events) + 1
        rows = [
            {
                "writer": writer,
                "sequence": sequence,
                "at": at / 1_000_000,
                "kind": event.kind.value,
                "subject": event.subject,
                "body": event.body(writer, sequence, at),
            }
            for sequence, event in enumerate(events, first)
        ]
        connection.execute(sa.insert(audit_event), rows if len(rows) > 1 else rows[0])

    def _take_numbers(self, connection: sa.Connection, count: int) -> tuple[str, int, float]:
        """A writer of this name, locked until the transaction ends; its last number with `count` taken; the time."""
        transaction = connection.get_transaction() or connection.begin()
        held_in, held_name, held = connection.info.get(_HELD, (None, None, None))
        taken = None
        if held_in is not None and held_in() is transaction and held_name == self.name:
            taken = connection.execute(_TAKE_HELD, {"held": held, "count": count}).one_or_none()
        if taken is None:
            taken = connection.execute(_TAKE_FREE, {"of_name": str(self.name), "count": count}).one_or_none()
        if taken is None:
            new = {"name": str(self.name), "writer": f"{self.name}.{secrets.token_hex(4)}", "last": count}
            taken = connection.execute(_MAKE, new).one()
        connection.info[_HELD] = (weakref.ref(transaction), self.name, taken.writer)
        return taken.writer, taken.last, taken.now


_HELD = "kopru.audit-writer"
"""Where a connection notes its transaction's writer, so that one transaction keeps to one."""

_free = audit_writer.alias("free")
_FREE = (
    sa.select(_free.c.writer)
    .where(_free.c.name == sa.bindparam("of_name"))
    .order_by(_free.c.writer)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_NUMBERS: Sequence[sa.ColumnElement[Any]] = (audit_writer.c.writer, audit_writer.c.last, database_now().label("now"))
_TAKE = (
    sa.update(audit_writer)
    .values(last=audit_writer.c.last + sa.bindparam("count", type_=sa.BigInteger))
    .returning(*_NUMBERS)
)
_TAKE_HELD = _TAKE.where(audit_writer.c.writer == sa.bindparam("held"))
_TAKE_FREE = _TAKE.where(audit_writer.c.writer == _FREE)
_MAKE = sa.insert(audit_writer).returning(*_NUMBERS)


@dataclass(frozen=True, slots=True)
class Body:
    """What a stored body says about itself; `parse_body` makes it."""

    writer: str
    sequence: int
    at_microseconds: int
    kind: str
    subject: str | None


def parse_body(body: bytes) -> Body:
    """Read a stored body. Raises ValueError when the bytes are none that `AuditEvent.body` could have made."""
    try:
        raw = json.loads(body)
        parsed = Body(raw["writer"], raw["sequence"], _microseconds(raw["at"]), raw["kind"], raw["subject"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("the bytes are no audit event") from error
    texts = (parsed.writer, parsed.kind, "" if parsed.subject is None else parsed.subject)
    if not all(isinstance(text, str) for text in texts) or type(parsed.sequence) is not int:
        raise ValueError("the bytes are no audit event")
    return parsed


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: the only form in which anything of the log is written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def time_text(microseconds: int) -> str:
    """Microseconds since 1970-01-01 UTC as RFC 3339: ``2026-01-31T12:00:00.000000Z``."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:06d}Z"


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() != timedelta(0):
        raise ValueError("an event's time is in UTC")
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond
