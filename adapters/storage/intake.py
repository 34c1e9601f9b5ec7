"""How a receiver puts objects into the store: durable under their final name before it may acknowledge (DESIGN §2.1).

Objects go into numbered batch folders. A batch is complete once the next one exists, or its writer is dead: objects get
their final names under one lock, so that none enters a batch after its successor was made.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from adapters.durable_files import Buffer, fsync_directory, make_directory, write_synced
from adapters.storage.container import KeyKind, KeyName, seal_object
from adapters.storage.errors import StoreFull, StoreInUse, store_errors
from adapters.storage.objects import LOCK_NAME, TEMPORARY_FOLDER, ObjectStore, as_buffers
from adapters.storage.receipt import Receipt, ReceiptKind
from adapters.storage.references import INTAKE, Batch, ObjectRef

OBJECTS_PER_BATCH: Final = 256
_HOLD_SECONDS: Final = 1.0


class IntakeWriter:
    """One for each receiver process, for all its threads. Holds the receiver id locked until `close` or its end.

    Refuses instances, not events, while less than `minimum_free_bytes` are free on the disk.
    """

    def __init__(
        self,
        store: ObjectStore,
        receiver_id: str,
        *,
        minimum_free_bytes: int = 0,
        objects_per_batch: int = OBJECTS_PER_BATCH,
    ) -> None:
        Batch(receiver_id, 0)  # refuses an id that is no plain name
        self.receiver_id = receiver_id
        self._store = store
        self._minimum_free_bytes = minimum_free_bytes
        self._objects_per_batch = objects_per_batch
        self._folder = store.root / INTAKE / receiver_id
        self._temporary = self._folder / TEMPORARY_FOLDER
        self._naming = threading.Lock()
        with store_errors(f"intake of {receiver_id}"):
            make_directory(self._temporary)
            for folder in (self._folder, self._folder.parent, store.root):  # a predecessor may have died before it did
                fsync_directory(folder)
            self._lock = _hold(self._folder / LOCK_NAME)
            for leftover in self._temporary.iterdir():  # of a predecessor that was killed: never acknowledged
                leftover.unlink()
        numbers = [batch.number for batch in store.batches(receiver_id)]
        self._number = max(numbers, default=-1)  # its batch is complete: the first write makes the next one
        self._count = objects_per_batch

    def close(self) -> None:
        """Give the receiver id back. Nothing may be written after."""
        os.close(self._lock)

    def write(self, receipt: Receipt, data: bytes | Iterable[Buffer] = b"") -> ObjectRef:
        """Seal and store; on return the object is durable under its final name and can be acknowledged.

        Raises `StoreFull`, `StoreUnavailable` or a `KeyStoreError`: then nothing may be acknowledged. `data` is read
        again when an epoch ends meanwhile: give an iterable that can be iterated twice, not an iterator.
        """
        if receipt.kind is ReceiptKind.INSTANCE and self._store.free_bytes() < self._minimum_free_bytes:
            raise StoreFull("less space is free on the store's disk than must stay free; make room or lower the limit")
        while True:
            epoch = self._store.keys.current_epoch()
            with store_errors("storing an object"):
                ref = self._write_sealed(receipt, as_buffers(data), KeyName(KeyKind.EPOCH, epoch.id), epoch.key)
            # Only an epoch that is still open now is certain to be kept until this object is rewrapped
            # (`adapters.keys.store`). What was written under a closed one stays: it may be indexed already.
            if self._store.keys.is_open(epoch.id):
                return ref

    def _write_sealed(self, receipt: Receipt, data: Iterable[Buffer], key: KeyName, wrapping_key: bytes) -> ObjectRef:
        object_id = secrets.token_hex(16)
        temporary = self._temporary / object_id
        write_synced(temporary, seal_object(object_id, receipt, data, key, wrapping_key))
        try:
            with self._naming:
                ref = ObjectRef(self._batch().folder, object_id)
                final = ref.path(self._store.root)
                temporary.rename(final)
                self._count += 1
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(final.parent)
        return ref

    def _batch(self) -> Batch:
        """The batch that takes the next object, made durably when the last one is full. Called under the lock."""
        if self._count >= self._objects_per_batch:
            following = Batch(self.receiver_id, self._number + 1)
            make_directory(self._store.root / following.folder)
            self._number, self._count = following.number, 0
        return Batch(self.receiver_id, self._number)


def _hold(path: Path) -> int:
    """Take the lock. It may be held for a moment by who asks `ObjectStore.is_live`; whoever keeps it is a writer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + _HOLD_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > give_up:
                os.close(descriptor)
                raise StoreInUse("a live process holds this receiver id; each receiver needs its own") from None
            time.sleep(0.01)
