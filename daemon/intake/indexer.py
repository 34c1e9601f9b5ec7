"""Turns what receivers stored into rows: finds new objects, hands them to their patient's key, places them, closes
revisions.

One indexer works at a time (a lease). It is driven by the store, not by messages: a wake-up only saves waiting, and
with the database gone it reads everything again (DESIGN §2.1, §5). Before a row is committed the object is under its
patient's key, so an erasure can never miss one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa
import structlog

from adapters.keys import KeyDestroyed, KeyMissing, KeyStoreCorrupt, KeyStoreError, PatientEntry
from adapters.storage import Batch, ObjectDamaged, ObjectRef, Receipt, ReceiptKind, StoreError
from anonymize import MalformedDataSet
from daemon.audit import AuditEvent, Detail, Id, Kind
from daemon.database import CLOCK_TOLERANCE_SECONDS
from daemon.database import schema as t
from daemon.database.lease import Lease, confirm
from daemon.intake.arrival import Arrival
from daemon.intake.associations import ensure_association, insert_event, mark_lost, open_associations, plain
from daemon.intake.closing import close_due
from daemon.intake.correcting import Corrections
from daemon.intake.placing import place
from daemon.intake.reading import Reader
from daemon.intake.twins import Twins
from daemon.logs import places
from daemon.node import Node
from daemon.states import Standing
from daemon.workers import Workers

INDEX_LEASE_SECONDS: Final = 15.0
DOES_NOT_OPEN: Final = "the object does not open"
_PATIENCE_SECONDS: Final = 600.0
_COMPARING_SECONDS: Final = 1.0
"""How long a pass waits for images that are being compared: everything else waits that long with it."""

_BATCHES_AT_ONCE: Final = 64
"""Whose objects are put in order together: more than are ever open, few enough when a whole store is read again."""

_OBJECTS_PER_TRANSACTION = 32
_BYTES_PER_TRANSACTION = 64 << 20
_log = structlog.get_logger(__name__)


@dataclass
class _Group:
    """What one transaction will take in."""

    arrivals: list[tuple[Arrival, PatientEntry, ObjectRef, Receipt]] = field(default_factory=list)
    events: list[tuple[ObjectRef, Receipt]] = field(default_factory=list)
    unreadable: list[tuple[ObjectRef, Receipt | None, str]] = field(default_factory=list)
    size: int = 0
    was_set_aside: str | None = None
    """Id of the only member, which had not opened before: its row goes when it gets a new one."""

    def __len__(self) -> int:
        return len(self.arrivals) + len(self.events) + len(self.unreadable)

    def ends_with_a_twin(self) -> bool:
        """Whether the last arrival has the SOP Instance UID of another one."""
        *others, last = [arrival.uid_tag for arrival, *_ in self.arrivals] or [""]
        return last in others

    def singles(self) -> Iterator["_Group"]:
        """A group for each member."""
        yield from (_Group(arrivals=[one]) for one in self.arrivals)
        yield from (_Group(events=[event]) for event in self.events)
        yield from (_Group(unreadable=[one]) for one in self.unreadable)

    def set_aside(self, error: str) -> "_Group":
        """The only member as something that cannot be indexed, and why."""
        members = [(ref, receipt) for _, _, ref, receipt in self.arrivals] + self.events
        aside = _Group(was_set_aside=self.was_set_aside)
        aside.unreadable += [(ref, receipt, f"cannot be indexed: {error}") for ref, receipt in members]
        return aside


class IndexingLost(Exception):
    """Another engine indexes now; nothing was written."""


class Indexer:
    """One pass at a time, by `pass_once`, from one thread. Each transaction confirms `lease`, so that two never
    index at once. `workers` decode where an image came in two encodings.
    """

    def __init__(self, node: Node, lease: Lease, workers: Workers) -> None:
        self._node = node
        self._twins = Twins(node, workers)
        self.lease = lease
        self._confirmed_at = time.monotonic()
        self._entries = {entry.scope_tag: entry for entry in node.keys.patients()}
        self._pseudonyms = {entry.pseudonym for entry in self._entries.values()}
        self._reader = Reader(node.master, node.settings.source_for, self._entry_for, self._pseudonyms.__contains__)
        self._seen: dict[Batch, set[str]] = {}
        with node.database.read() as connection:
            rows = connection.execute(sa.select(t.receiver.c.id, t.receiver.c.complete_batch)).all()
        self._complete: dict[str, int] = {row.id: row.complete_batch for row in rows}
        self.indexed_until = 0.0
        self._unread: dict[str, float] = {}  # objects whose disk or key failed, since when
        self._unread_for = ""
        self._waiting: dict[str, _Group] = {}  # by its only arrival's id: what is being compared with what is here
        self._corrections = Corrections(node, self._reader)
        self._read_again()

    @property
    def trouble(self) -> str | None:
        """The kind of error for which the last pass had to leave objects unread; None if it read them all."""
        return self._unread_for if self._unread else None

    def pass_once(self) -> int:
        """Index everything that lies in the store now, then close what is complete; gives how many objects were new.

        What must be compared with an image that is here is indexed in a later pass, and its study stays open until
        then.
        """
        started = time.time()
        self._keep_lease()
        receivers = self._node.store.receivers()
        # Asked before listing, so that nothing is missed.
        dead = [receiver_id for receiver_id in receivers if not self._node.store.is_live(receiver_id)]
        batches = self._unfinished(receivers)
        found = 0
        for start in range(0, len(batches), _BATCHES_AT_ONCE):
            found += self._read_batches(batches[start : start + _BATCHES_AT_ONCE])
        for receiver_id in dead:
            self._mark_lost(receiver_id)
        self._index_compared()
        # With something unread it stays, but not in the future when the clock was set back.
        self.indexed_until = min(self.indexed_until, started) if self._unread else started
        waiting = {arrival.study_uid_tag for group in self._waiting.values() for arrival, *_ in group.arrivals}
        self._corrections.make_due(self._write, self._keep_lease, self.indexed_until, waiting)
        close_due(self._node.database, self._write, self._node.audit, self._node.settings, self.indexed_until, waiting)
        return found

    def _index_compared(self) -> None:
        """Index what waited for a comparison that has ended, as far as there is time for it in this pass."""
        until = time.monotonic() + _COMPARING_SECONDS
        while (compared := self._twins.wait(max(0.0, until - time.monotonic()))) is not None:
            self._commit(self._waiting.pop(compared))
            self._keep_lease()

    def _unfinished(self, receivers: Iterable[str]) -> list[Batch]:
        """The batches that are not known to be complete, of all receivers in the order in which they were filled."""
        store = self._node.store
        batches = (batch for one in receivers for batch in store.batches(one))
        unfinished = [batch for batch in batches if batch.number > self._complete.get(batch.receiver_id, -1)]
        return sorted(unfinished, key=lambda batch: (_in_order(store.filled_at(batch)), batch))

    def _read_batches(self, batches: Sequence[Batch]) -> int:
        """Index what is new in them, in the order in which it was stored, whichever receiver did: after an outage, what
        corrects a study must not be placed before what it corrects.
        """
        store, found = self._node.store, 0
        complete = {batch: store.is_complete(batch) for batch in batches}
        new = {batch: self._new_objects(batch) for batch in batches}
        in_order = sorted(
            (ref for refs in new.values() for ref in refs), key=lambda ref: _in_order(store.stored_at(ref))
        )
        for group in self._groups(in_order):
            self._commit(group)
            found += len(group)
        for batch in sorted(new):
            unread = {ref.id for ref in new[batch] if ref.id in self._unread}
            self._seen[batch].update(ref.id for ref in new[batch] if ref.id not in unread)
            all_indexed = not unread and self._seen[batch].isdisjoint(self._waiting)
            if complete[batch] and all_indexed and batch.number == self._complete.get(batch.receiver_id, -1) + 1:
                self._finish(batch)
        return found

    def _read_again(self) -> None:
        """Try objects that were set aside because they did not open: the operator may have restored a key or a disk."""
        with self._node.database.read() as connection:
            rows = connection.execute(
                sa.select(t.instance.c.id, t.instance.c.object_ref).where(
                    t.instance.c.standing == Standing.QUARANTINED, t.instance.c.reason.startswith(DOES_NOT_OPEN)
                )
            ).all()
        for row in rows:
            group = _Group(was_set_aside=row.id)
            self._read_into(group, ObjectRef.parse(row.object_ref))
            if group.arrivals or group.events or any(receipt for _, receipt, _ in group.unreadable):
                self._commit(group)
        self._unread.clear()  # these are listed and tried again at the next start: no study waits for them

    def _new_objects(self, batch: Batch) -> list[ObjectRef]:
        refs = self._node.store.objects(batch)
        if batch not in self._seen:
            with self._node.database.read() as connection:
                self._seen[batch] = {ref.id for ref in refs if is_indexed(connection, ref.id)}
        seen = self._seen[batch]
        return [ref for ref in refs if ref.id not in seen]

    def _groups(self, refs: list[ObjectRef]) -> Iterator[_Group]:
        """The objects, opened and read, in groups small enough for one transaction."""
        group = _Group()
        for ref in refs:
            self._read_into(group, ref)
            if group.ends_with_a_twin():  # it is compared with the other, which must be in the index by then
                twin = group.arrivals.pop()
                yield group
                group = _Group(arrivals=[twin], size=twin[0].byte_length)
            if len(group) >= _OBJECTS_PER_TRANSACTION or group.size >= _BYTES_PER_TRANSACTION:
                yield group
                group = _Group()
        if group:
            yield group

    def _read_into(self, group: _Group, ref: ObjectRef) -> None:
        receipt: Receipt | None = None
        waits_since = self._unread.pop(ref.id, time.monotonic())
        try:
            receipt, data = self._node.store.open(ref)
            if receipt.kind is ReceiptKind.EVENT:
                group.events.append((ref, receipt))
                return
            arrival, entry = self._reader.read(ref, receipt, data)
        except KeyDestroyed:
            return  # erased, or never acknowledged: nothing is left to index
        except MalformedDataSet:
            group.unreadable.append((ref, receipt, "the data set cannot be read"))
        except (ObjectDamaged, KeyMissing, KeyStoreCorrupt) as error:
            _log.error("object_unreadable", object=str(ref), error=type(error).__name__)
            group.unreadable.append((ref, None, f"{DOES_NOT_OPEN}: {type(error).__name__}"))
        except (StoreError, KeyStoreError, OSError) as error:
            _log.error("object_not_read", object=str(ref), error=type(error).__name__)
            if time.monotonic() - waits_since <= _PATIENCE_SECONDS:
                self._unread[ref.id] = waits_since  # a later pass reads it, and nothing is closed before
                self._unread_for = type(error).__name__
            else:
                group.unreadable.append((ref, receipt, f"{DOES_NOT_OPEN}: {type(error).__name__}"))
        except Exception as error:  # noqa: BLE001 - one object that nobody foresaw must not stop all others
            _log.error("object_not_indexable", object=str(ref), error=type(error).__name__, trace=places(error))
            what = "cannot be indexed" if receipt else DOES_NOT_OPEN
            group.unreadable.append((ref, receipt, f"{what}: {type(error).__name__}"))
        else:
            group.arrivals.append((arrival, entry, ref, receipt))
            group.size += arrival.byte_length

    def _commit(self, group: _Group, *, again: bool = False) -> None:
        """Index a group; if the database refuses one of its values, index one by one and set that one aside."""
        try:
            self._commit_together(group)
        except (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.ProgrammingError, ValueError) as error:
            if len(group) == 1 and group.unreadable:
                raise
            if len(group) == 1 and not again:
                self._commit(group, again=True)  # it may have lost to another transaction
                return
            _log.error("group_not_indexable", objects=len(group), error=type(error).__name__, trace=places(error))
            for single in group.singles() if len(group) > 1 else [group.set_aside(type(error).__name__)]:
                self._commit(single)

    def _commit_together(self, group: _Group) -> None:
        """Compare and rewrap first, then one transaction for rows and audit events."""
        self._compare(group)
        if not group:
            return
        owners = [(ref, entry) for _, entry, ref, _ in group.arrivals]
        owners += [(ref, self._own_scope(ref)) for ref, receipt, _ in group.unreadable if receipt is not None]
        self._node.store.rewrap_each(owners)
        self._write(lambda connection: self._insert(connection, group))
        self._twins.forget([ref.id for ref, _ in owners])

    def _compare(self, group: _Group) -> None:
        """Let the arrivals know which of their twins show the same image; those of which that is not known yet wait."""
        twins = self._twins.of(arrival for arrival, *_ in group.arrivals)
        ready = []
        for arrival, entry, ref, receipt in group.arrivals:
            self._keep_lease()
            same = self._twins.same_as(arrival, twins.get(arrival.instance_id, []))
            if same is None:
                waits = _Group([(arrival, entry, ref, receipt)], was_set_aside=group.was_set_aside)
                self._waiting[arrival.instance_id] = waits
            else:
                ready.append((replace(arrival, same_pixels=same), entry, ref, receipt))
        group.arrivals = ready

    def _insert(self, connection: sa.Connection, group: _Group) -> None:
        audit = self._node.audit
        if group.was_set_aside:
            _forget(connection, group.was_set_aside)
        for ref, receipt in sorted(group.events, key=lambda pair: pair[1].received_at):
            insert_event(connection, audit, ref, receipt)
        for arrival, _, ref, receipt in sorted(group.arrivals, key=lambda one: one[0].received_at):
            ensure_association(connection, arrival.association_id, ref, receipt)
            place(connection, audit, arrival)
        for ref, known, reason in group.unreadable:
            connection.execute(sa.insert(t.instance).values(_unreadable_row(ref, known, reason)))
            details: dict[str, Detail] = {"instance": Id(ref.id)}
            audit.record(connection, AuditEvent(Kind.INSTANCE_QUARANTINED, actor="indexer", details=details))

    def _finish(self, batch: Batch) -> None:
        """Remember that the batch need never be looked at again."""

        def remember(connection: sa.Connection) -> None:
            changed = connection.execute(
                sa.update(t.receiver).where(t.receiver.c.id == batch.receiver_id).values(complete_batch=batch.number)
            )
            if not changed.rowcount:
                connection.execute(sa.insert(t.receiver).values(id=batch.receiver_id, complete_batch=batch.number))

        self._write(remember)
        self._complete[batch.receiver_id] = batch.number
        del self._seen[batch]

    def _mark_lost(self, receiver_id: str) -> None:
        """A dead receiver's associations are over, whatever they had still to bring."""
        with self._node.database.read() as connection:
            any_open = connection.execute(open_associations(receiver_id).limit(1)).first()
        if any_open:
            self._write(lambda connection: mark_lost(connection, self._node.audit, receiver_id))

    def _write(self, work: Callable[[sa.Connection], None]) -> None:
        """A transaction of the indexer: only while the lease is ours. Raises `IndexingLost`."""

        def fenced(connection: sa.Connection) -> None:
            if not confirm(connection, self.lease, INDEX_LEASE_SECONDS):
                raise IndexingLost
            work(connection)

        self._node.database.retrying(fenced)
        self._confirmed_at = time.monotonic()

    def _keep_lease(self) -> None:
        """Confirm the lease if that is due: called in whatever takes longer than it lasts."""
        if time.monotonic() - self._confirmed_at >= INDEX_LEASE_SECONDS / 3:
            self._write(lambda _connection: None)

    def _own_scope(self, ref: ObjectRef) -> PatientEntry:
        """A scope for one object that does not tell whose it is: under a key of its own it can be erased, too."""
        return self._entry_for(self._node.master.lookup_tag("scope", f"object\0{ref.id}"))

    def _entry_for(self, scope_tag: str) -> PatientEntry:
        """The scope's entry in the key store; a new one where the old was erased meanwhile."""
        known = self._entries.get(scope_tag)
        if known is not None:
            with suppress(KeyDestroyed):
                return self._node.keys.patient(known.id)
        entry = self._entries[scope_tag] = self._node.keys.create_patient(scope_tag)
        self._pseudonyms.add(entry.pseudonym)
        return entry


def _forget(connection: sa.Connection, instance_id: str) -> None:
    """Remove the row of an object that was set aside, since it opens now and gets one of its own."""
    connection.execute(sa.delete(t.instance).where(t.instance.c.id == instance_id, t.instance.c.study_id.is_(None)))


def _in_order(moment: float) -> tuple[bool, float]:
    """A key to sort moments by. What seems to come from the future came before the clock was set back, so first."""
    return moment <= time.time() + CLOCK_TOLERANCE_SECONDS, moment


def is_indexed(connection: sa.Connection, object_id: str) -> bool:
    """Whether the index knows the object, as an instance or as an event."""
    known = sa.union_all(
        sa.select(t.instance.c.id).where(t.instance.c.id == object_id),
        sa.select(t.intake_event.c.id).where(t.intake_event.c.id == object_id),
    )
    return connection.execute(known).first() is not None


def _unreadable_row(ref: ObjectRef, receipt: Receipt | None, reason: str) -> dict[str, object]:
    """The row of an object that cannot be placed in any study: listed, so that a person can look."""
    return {
        "id": ref.id,
        "object_ref": str(ref),
        "association_id": receipt.association_id if receipt else None,
        "uid_tag": "",
        "sop_class_uid": plain(receipt.sop_class_uid, 64) if receipt else "",
        "transfer_syntax_uid": plain(receipt.transfer_syntax_uid, 64) if receipt else "",
        "standing": Standing.QUARANTINED,
        "reason": reason,
        "content_tag": "",
        "identity_tag": "",
        "pixel_tag": "",
        "byte_length": 0,
        "received_at": receipt.received_at if receipt else time.time(),
    }
