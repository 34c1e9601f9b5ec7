"""The sealed object store: opens, rewraps, lists and deletes objects, and keeps those that we derive (DESIGN §5).

Any number of processes share it. Nothing identified is ever in a name or in clear bytes. What receivers add comes
through `adapters.storage.intake`.
"""

import fcntl
import math
import os
import secrets
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from adapters.durable_files import Buffer, fsync_directory, make_directory, write_synced
from adapters.keys import KeyDestroyed, KeyMissing, KeyStore, PatientEntry
from adapters.storage.container import (
    HEADER_BYTES,
    WRAP_BYTES,
    Header,
    KeyKind,
    KeyName,
    OpenObject,
    Wrap,
    seal_object,
)
from adapters.storage.errors import ObjectDamaged, ObjectMissing, StoreUnavailable, store_errors
from adapters.storage.receipt import Receipt, ReceiptKind
from adapters.storage.references import DERIVED, INTAKE, SUFFIX, Batch, ObjectRef
from adapters.storage.wraps import FILE_NAME, append_wraps, forget_earlier_wraps, pack_record, read_wraps

TEMPORARY: Final = ".tmp"
TEMPORARY_FOLDER: Final = "tmp"
LOCK_NAME: Final = "writer.lock"
_WRAP_PURPOSE: Final = "objects"
_CACHED_FOLDERS: Final = 64


class ObjectStore:
    """The store below one folder. Opening an object needs the key store; listing does not."""

    def __init__(self, root: Path, keys: KeyStore) -> None:
        self.root = root
        self.keys = keys
        self._wraps: OrderedDict[str, tuple[int, dict[str, Wrap]]] = OrderedDict()
        self._wraps_lock = threading.Lock()
        with store_errors(f"object store {root}"):
            self._check_that_it_is_there()
            make_directory(root / INTAKE)
            make_directory(root / DERIVED)

    def _check_that_it_is_there(self) -> None:
        """Refuse to begin anew in the place of a disk that is not mounted: what is acknowledged there is hidden once
        it is. Of the store and the key store, neither is empty without the other.
        """
        if self.keys.is_empty:
            if any((self.root / INTAKE).glob(f"*/*/*{SUFFIX}")):
                raise StoreUnavailable(
                    f"object store {self.root}: objects are there, and the key store is empty; is its disk mounted?"
                    " If it is, restore the key store's backup"
                )
        elif not (self.root / INTAKE).is_dir():
            raise StoreUnavailable(
                f"object store {self.root}: it is empty, and the key store is not; is its disk mounted? If it is to"
                f" begin anew, make the folder {INTAKE} in it"
            )

    # Opening

    def open(self, ref: ObjectRef) -> tuple[Receipt, bytes]:
        """The receipt and the data. Raises `ObjectMissing`, `ObjectDamaged`, and the key store's errors."""
        with self._opened(ref) as opened:
            return opened.receipt, opened.data()

    def open_receipt(self, ref: ObjectRef) -> Receipt:
        """The receipt alone, without reading the data."""
        with self._opened(ref) as opened:
            return opened.receipt

    def key_of(self, ref: ObjectRef) -> KeyName:
        """Which key opens the object now. Raises `ObjectDamaged` where its header does not say so for certain."""
        with self._file(ref) as (_, header):
            return (self._logged_wrap(ref) or header.wrap).key

    # Keys

    def rewrap(self, refs: Iterable[ObjectRef], patient: PatientEntry) -> None:
        """Hand objects over to the patient's key; durable on return. The payload is not touched."""
        self.rewrap_each((ref, patient) for ref in refs)

    def rewrap_each(self, owners: Iterable[tuple[ObjectRef, PatientEntry]]) -> None:
        """Hand each object over to its patient's key: one fsync a folder, however many patients."""
        records: dict[str, list[bytes]] = defaultdict(list)
        wrapping_keys: dict[str, bytes] = {}
        for ref, patient in owners:
            data_key = self._data_key(ref, self._wrap(ref))
            if patient.id not in wrapping_keys:
                wrapping_keys[patient.id] = patient.subkey(_WRAP_PURPOSE)
            wrap = Wrap.of(data_key, ref.id, KeyName(KeyKind.PATIENT, patient.id), wrapping_keys[patient.id])
            records[ref.folder].append(pack_record(ref.id, wrap))
        for folder, packed in records.items():
            with store_errors(f"rewrapping in {folder}"):
                append_wraps(self.root / folder, packed)

    def with_keys(self, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Those of which a key opens the data key: not what was deleted, or is damaged just there. Of a file that is
        damaged elsewhere the key opens that still, so it counts.
        """
        return [ref for ref in refs if self._has_key(ref)]

    def _has_key(self, ref: ObjectRef) -> bool:
        try:
            self._data_key(ref, self._wrap(ref))
        except (ObjectDamaged, ObjectMissing, KeyMissing, KeyDestroyed):
            return False
        return ref.path(self.root).exists()

    def hand_over(self, refs: Iterable[ObjectRef], patient: PatientEntry) -> None:
        """Leave the patient's key the only one that opens the objects; durable on return, and the same if repeated.

        Other than `rewrap`, it overwrites what earlier keys wrapped. (What a copying file system, a flash disk or a
        backup has kept is beyond it.) What no key opens is passed over (`with_keys`).
        """
        there_are = self.with_keys(refs)
        self.rewrap(there_are, patient)
        by_folder: dict[str, set[str]] = defaultdict(set)
        for ref in there_are:
            by_folder[ref.folder].add(ref.id)
        for folder, ids in by_folder.items():
            with store_errors(f"handing over in {folder}"):
                forget_earlier_wraps(self.root / folder, ids)
        for ref in there_are:
            if self._is_another_patients(ref, patient):
                self._replace_wrap(ref, self._wrap(ref))

    def _is_another_patients(self, ref: ObjectRef, patient: PatientEntry) -> bool:
        """Whether the object's file itself holds a wrap under another patient's key, or one that is damaged."""
        try:
            key = self._wrap_in_file(ref).key
        except ObjectDamaged:
            return True
        return key.kind is KeyKind.PATIENT and key.id != patient.id

    def _replace_wrap(self, ref: ObjectRef, wrap: Wrap) -> None:
        """Write the wrap that counts over that in the object's header, which the stream does not authenticate."""
        with store_errors(f"handing over {ref}"), ref.path(self.root).open("r+b", buffering=0) as file:
            file.seek(HEADER_BYTES - WRAP_BYTES)
            file.write(wrap.pack())
            os.fsync(file.fileno())

    # Derived objects and deletion

    def put_derived(self, patient: PatientEntry, data: bytes | Iterable[Buffer]) -> ObjectRef:
        """Keep something made from a patient's data, sealed under the patient's key; durable on return."""
        ref = ObjectRef.derived(secrets.token_hex(16))
        receipt = Receipt(ReceiptKind.DERIVED, received_at=time.time())
        key = KeyName(KeyKind.PATIENT, patient.id)
        sealed = seal_object(ref.id, receipt, as_buffers(data), key, patient.subkey(_WRAP_PURPOSE))
        final = ref.path(self.root)
        with store_errors(f"storing {ref}"):
            make_directory(final.parent)
            temporary = final.with_suffix(TEMPORARY)
            write_synced(temporary, sealed)
            temporary.rename(final)
            fsync_directory(final.parent)
        return ref

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object, durably. Deleting twice is no error."""
        path = ref.path(self.root)
        with store_errors(f"deleting {ref}"):
            path.unlink(missing_ok=True)
            if path.parent.exists():
                fsync_directory(path.parent)

    def remove_abandoned(self, older_than_seconds: float = 86_400.0) -> int:
        """Remove temporary files that killed processes left, so were never acknowledged; gives how many."""
        limit = time.time() - older_than_seconds
        with store_errors("removing abandoned files"):
            abandoned = list((self.root / DERIVED).glob(f"*/*{TEMPORARY}"))
            for receiver_id in self.receivers():
                if not self.is_live(receiver_id):
                    abandoned += (self.root / INTAKE / receiver_id / TEMPORARY_FOLDER).glob("*")
            old = [path for path in abandoned if _modified_at(path) < limit]
            for path in old:
                path.unlink(missing_ok=True)
        return len(old)

    # Recovery and indexing

    def receivers(self) -> list[str]:
        """The ids of all receivers that ever wrote here, dead or alive."""
        return self._subfolders(INTAKE)

    def is_live(self, receiver_id: str) -> bool:
        """Whether a process holds the intake of that receiver open, on this host or another that shares the lock."""
        try:
            descriptor = os.open(self.root / INTAKE / receiver_id / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def batches(self, receiver_id: str) -> list[Batch]:
        """The receiver's batches, oldest first. All but the newest are complete."""
        names = self._subfolders(f"{INTAKE}/{receiver_id}")
        return sorted(Batch(receiver_id, int(name)) for name in names if name.isdecimal())

    def is_complete(self, batch: Batch) -> bool:
        """Whether nothing will ever be added: the next batch exists, or the receiver is dead.

        Ask before listing `objects`, not after.
        """
        following = Batch(batch.receiver_id, batch.number + 1)
        return (self.root / following.folder).is_dir() or not self.is_live(batch.receiver_id)

    def objects(self, batch: Batch) -> list[ObjectRef]:
        """The objects that have their final name, in no meaningful order."""
        return self._listed(batch.folder)

    def filled_at(self, batch: Batch) -> float:
        """When the batch was last added to, by the file system's clock."""
        with store_errors(batch.folder):
            return (self.root / batch.folder).stat().st_mtime

    def stored_at(self, ref: ObjectRef) -> float:
        """When the object was written, by the file system's clock; never, for one that is gone."""
        with store_errors(f"object {ref}"):
            return _modified_at(ref.path(self.root))

    def derived_objects(self) -> Iterator[ObjectRef]:
        """All derived objects."""
        for shelf in self._subfolders(DERIVED):
            yield from self._listed(f"{DERIVED}/{shelf}")

    def free_bytes(self) -> int:
        """Space that an unprivileged process may still use on the store's disk."""
        with store_errors(f"object store {self.root}"):
            status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    # Ways

    @contextmanager
    def _file(self, ref: ObjectRef) -> Iterator[tuple[BinaryIO, Header]]:
        with store_errors(f"object {ref}"):
            try:
                file = ref.path(self.root).open("rb")
            except FileNotFoundError:
                raise ObjectMissing(f"object {ref} is not in the store") from None
            with file:
                header = Header.read(file)
                if header.object_id != ref.id:
                    raise ObjectDamaged(f"object {ref}: the file is that of another object")
                yield file, header

    @contextmanager
    def _opened(self, ref: ObjectRef) -> Iterator[OpenObject]:
        with self._file(ref) as (file, header):
            yield OpenObject(file, header, self._data_key(ref, self._logged_wrap(ref) or header.wrap))

    def _data_key(self, ref: ObjectRef, wrap: Wrap) -> bytes:
        if wrap.key.kind is KeyKind.PATIENT:
            return wrap.data_key(ref.id, self.keys.patient(wrap.key.id).subkey(_WRAP_PURPOSE))
        return wrap.data_key(ref.id, self.keys.epoch(wrap.key.id).key)

    def _wrap(self, ref: ObjectRef) -> Wrap:
        """The last wrap of the object in its folder's log, else that in its file."""
        return self._logged_wrap(ref) or self._wrap_in_file(ref)

    def _wrap_in_file(self, ref: ObjectRef) -> Wrap:
        with store_errors(f"object {ref}"):
            try:
                with ref.path(self.root).open("rb") as file:
                    return Wrap.read(file)
            except FileNotFoundError:
                raise ObjectMissing(f"object {ref} is not in the store") from None

    def _logged_wrap(self, ref: ObjectRef) -> Wrap | None:
        path = self.root / ref.folder / FILE_NAME
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        with self._wraps_lock:
            cached = self._wraps.get(ref.folder)
            if cached is None or cached[0] != size:
                cached = (size, read_wraps(path.parent))
            self._wraps[ref.folder] = cached
            self._wraps.move_to_end(ref.folder)
            if len(self._wraps) > _CACHED_FOLDERS:
                self._wraps.popitem(last=False)
        return cached[1].get(ref.id)

    def _subfolders(self, folder: str) -> list[str]:
        with store_errors(folder), os.scandir(self.root / folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def _listed(self, folder: str) -> list[ObjectRef]:
        with store_errors(folder), os.scandir(self.root / folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        return [ObjectRef(folder, name.removesuffix(SUFFIX)) for name in names]


def _modified_at(path: Path) -> float:
    """When the file was last written; never, from now on, if it has got its final name meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def as_buffers(data: Buffer | Iterable[Buffer]) -> Iterable[Buffer]:
    """One buffer is an iterable of one."""
    return (data,) if isinstance(data, bytes | bytearray | memoryview) else data
