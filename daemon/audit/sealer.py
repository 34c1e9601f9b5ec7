"""Seals the log: orders the events that transactions left unchained, signs the new head, and publishes it outside.

One process at a time may seal, by a lease that each sealing transaction confirms. Order of events: (1) one
transaction gives the records their log index and leaf hash and adds the signed head; (2) the head with its leaf
hashes is appended to `heads.jsonl` and fsynced. A crash between the two is caught up by whoever seals next, since (2)
appends whatever the database has beyond the file's last head. It must never sign a second history: where database,
key and file disagree, it stops.
"""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
import structlog

from daemon.audit.errors import LeaseLostError, LogDivergedError
from daemon.audit.heads import HeadsFile, SignedHead
from daemon.audit.merkle import Frontier, leaf_hash
from daemon.audit.records import head_of_row
from daemon.audit.signing import SigningKey
from daemon.database import Database, database_now
from daemon.database.lease import Lease, acquire, confirm, release
from daemon.database.schema import audit_event, audit_head
from daemon.database.schema import lease as lease_table

LEASE_NAME = "audit-sealer"

_log = structlog.get_logger("audit")


class Sealer:
    """Seals the log of one database. Make one in a process; `run` it in a thread, or call `seal`.

    `interval_seconds` is how long `run` waits between two looks for new events; `lease_seconds` is how long after a
    kill another process may have to wait before it seals on.
    """

    def __init__(
        self,
        database: Database,
        key: SigningKey,
        heads_directory: Path,
        *,
        interval_seconds: float = 0.5,
        lease_seconds: float = 10.0,
        batch: int = 1000,
    ) -> None:
        self._database = database
        self._key = key
        self._heads = HeadsFile(heads_directory)
        self._interval_seconds = interval_seconds
        self._lease_seconds = lease_seconds
        self._batch = batch
        self._owner = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._is_published = False

    def run(self, stop: threading.Event) -> None:
        """Seal until `stop` is set, then seal what is left and give the lease back.

        A database that does not answer is tried again. Raises LogDivergedError, HeadsFileError, SigningKeyError
        (another log's heads lie there) and OSError (heads not writable): nothing is sealed until an operator has
        looked, while events are recorded as before.
        """
        while True:
            is_last = stop.wait(self._interval_seconds)
            try:
                self.seal()
                if is_last:
                    self._give_back()
            except (LeaseLostError, sa.exc.OperationalError) as error:
                self._lease = None
                _log.warning("audit.sealing-postponed", error=type(error).__name__)
            if is_last:
                return

    def seal(self) -> int:
        """Seal and publish all there is; how many records were sealed, 0 also while another process holds the lease.

        Raises LeaseLostError when another process took over meanwhile; and as `run` says.
        """
        if not self._holds_lease():
            return 0
        sealed = 0
        while True:
            if not self._is_published:
                self._publish()
            count = self._seal_batch()
            sealed += count
            if not count:
                return sealed

    def _holds_lease(self) -> bool:
        """Take the lease, or keep the one held; renewed by each batch, and here when half of it has passed."""
        if self._lease is None:
            self._lease = self._database.retrying(
                lambda connection: acquire(connection, LEASE_NAME, self._owner, self._lease_seconds)
            )
            self._is_published = False
            return self._lease is not None
        lease = self._lease
        with self._database.read() as connection:
            left = connection.execute(_LEASE_LEFT, {"name": LEASE_NAME}).scalar_one_or_none()
        if left is None or left < self._lease_seconds / 2:
            self._database.retrying(lambda connection: self._confirm(connection, lease))
        return True

    def _confirm(self, connection: sa.Connection, lease: Lease) -> None:
        if not confirm(connection, lease, self._lease_seconds):
            self._lease = None
            raise LeaseLostError("another process seals the audit log now")

    def _give_back(self) -> None:
        if self._lease is not None:
            lease, self._lease = self._lease, None
            self._database.retrying(lambda connection: release(connection, lease))

    def _seal_batch(self) -> int:
        """One transaction: the oldest unsealed events and their head."""
        with self._database.read() as connection:
            if connection.execute(_UNSEALED.limit(1)).first() is None:
                return 0
        self._is_published = False
        return self._database.retrying(self._seal_in)

    def _seal_in(self, connection: sa.Connection) -> int:
        if self._lease is None:
            raise LeaseLostError("another process seals the audit log now")
        self._confirm(connection, self._lease)
        before = self._last_frontier(connection)
        events = connection.execute(_UNSEALED.limit(self._batch)).all()
        if not events:
            return 0
        leaves = [leaf_hash(event.body) for event in events]
        now = round(connection.execute(sa.select(database_now())).scalar_one() * 1_000_000)
        head = SignedHead.sign(self._key, before, leaves, now)
        connection.execute(
            _SEAL,
            [
                {"event": event.id, "index": before.size + place, "leaf": leaf}
                for place, (event, leaf) in enumerate(zip(events, leaves, strict=True))
            ],
        )
        connection.execute(
            sa.insert(audit_head).values(
                size=head.size,
                root=head.root,
                at=head.at_microseconds / 1_000_000,
                signature=head.signature,
                frontier=head.frontier,
                leaves=head.leaves,
            )
        )
        return len(events)

    def _last_frontier(self, connection: sa.Connection) -> Frontier:
        row = connection.execute(sa.select(audit_head).order_by(audit_head.c.size.desc()).limit(1)).one_or_none()
        if row is None:
            if connection.execute(_HAS_SEALED).first() is not None:
                raise LogDivergedError("the audit log has sealed records but no head; run `kopru audit verify`")
            return Frontier()
        head = head_of_row(row)
        if head is None or not head.is_authentic(self._key.public):
            raise LogDivergedError(
                "the audit log's last head was not signed by this signing key; restore the key that signed it, or run "
                "`kopru audit verify` to see whether the head was forged"
            )
        return head.after()

    def _publish(self) -> None:
        """Bring the heads file up to the database."""
        self._heads.prepare(self._key.public)
        with self._database.read() as connection:
            size = connection.execute(sa.select(sa.func.max(audit_head.c.size))).scalar_one_or_none()
            self._heads.append_after_last(lambda last: self._heads_after(connection, last, size))
        self._is_published = True

    def _heads_after(
        self, connection: sa.Connection, last: SignedHead | None, size: int | None
    ) -> Iterator[SignedHead]:
        """The database's heads beyond the file's last one, which must be among them."""
        if last is not None:
            self._must_have(connection, last)
            if last.size == size:
                return
        newer = sa.select(audit_head).order_by(audit_head.c.size).execution_options(yield_per=100)
        for row in connection.execute(newer.where(audit_head.c.size > (last.size if last else 0))):
            head = head_of_row(row)
            if head is None:
                raise LogDivergedError(f"the audit log's head at size {row.size} is damaged; run `kopru audit verify`")
            yield head

    def _must_have(self, connection: sa.Connection, last: SignedHead) -> None:
        root = connection.execute(
            sa.select(audit_head.c.root).where(audit_head.c.size == last.size)
        ).scalar_one_or_none()
        if root != last.root:
            raise LogDivergedError(
                f"{self._heads.path} ends with a head at size {last.size} that the database does not have: it was "
                "restored or cut off, or belongs to another log. Run `kopru audit verify`; keep the file as evidence "
                "and move it aside to begin a new one"
            )


_LEASE_LEFT = sa.select(lease_table.c.until - database_now()).where(lease_table.c.name == sa.bindparam("name"))
_UNSEALED = (
    sa.select(audit_event.c.id, audit_event.c.body).where(audit_event.c.log_index.is_(None)).order_by(audit_event.c.id)
)
_HAS_SEALED = sa.select(audit_event.c.id).where(audit_event.c.log_index.is_not(None)).limit(1)
_SEAL = (
    sa.update(audit_event)
    .where(audit_event.c.id == sa.bindparam("event"))
    .values(log_index=sa.bindparam("index"), leaf_hash=sa.bindparam("leaf"))
)
