"""The key store: intake-epoch and patient keys, apart from database and objects, in two mirrors (DESIGN §5).

It must never give out a key that the erasure ledger names, nor report a key as made before both mirrors have it on
disk.

How an epoch ends without losing an object. A receiver acknowledges an object wrapped under an epoch only if the epoch
was still open *after* the object had its final name; otherwise it stores the object again under the next epoch. So
whoever closes an epoch and lists the intake afterwards sees every acknowledged object of it, rewraps them, and may then
destroy the key. What still needs the key after that was never acknowledged.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import Final

import structlog

from adapters.keys.entries import (
    EpochKey,
    EpochStatus,
    PatientEntry,
    decode_closing,
    decode_epoch,
    decode_patient,
    encode,
    encode_patient,
)
from adapters.keys.errors import (
    KeyDestroyed,
    KeyMissing,
    KeyStoreCorrupt,
    KeyStoreError,
    KeyStoreUnavailable,
    MasterKeyError,
)
from adapters.keys.ledger import ErasureLedger
from adapters.keys.master import MasterKey
from adapters.keys.mirrors import Found, Mirrors
from adapters.keys.sealing import KEY_BYTES

_EPOCHS: Final = "epochs"
_CLOSED: Final = "closed-epochs"
_PATIENTS: Final = "patients"
_SCOPES: Final = "scopes"
_SHELVES: Final = (_EPOCHS, _CLOSED, _PATIENTS, _SCOPES)
_ENTRIES_TO_TRY: Final = 32

_PSEUDONYM_PREFIX: Final = "KP-"
_PSEUDONYM_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: nothing to misread
_PSEUDONYM_LENGTH: Final = 12  # 60 bits: among ten million patients, two alike by a chance of 1 in 20,000
_DATE_OFFSET_DAYS: Final = range(30, 3651)

_log = structlog.get_logger(__name__)


class KeyStore:
    """Shared by all processes of the service: opening it repairs the mirrors and replays the erasure ledger."""

    def __init__(self, mirrors: Sequence[Path], master: MasterKey) -> None:
        if len(set(mirrors)) < 2:
            raise KeyStoreError("the key store needs two different folders to mirror it in")
        self._mirrors = Mirrors(mirrors, _SHELVES, master.subkey("key store entries"))
        self._ledger = ErasureLedger(self._mirrors.roots, master.subkey("erasure ledger"))
        self._current: EpochKey | None = None
        self._current_lock = threading.Lock()
        with self._mirrors.changing():
            self._check_master_key()  # before the ledger is read: under another key it would seem to be empty
            self._mirrors.remove_leftovers()
            self._ledger.repair()
            self._replay()
            self._complete_mirrors()

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever made here."""
        return not self._ledger.names() and not any(self._mirrors.names(shelf) for shelf in _SHELVES)

    def _check_master_key(self) -> None:
        """Refuse a master key that opens nothing of what is here: it is another one."""
        entries = [(shelf, name) for shelf in _SHELVES for name in self._mirrors.names(shelf)][:_ENTRIES_TO_TRY]
        for shelf, name in entries:
            try:
                self._mirrors.get(shelf, name)
            except (KeyStoreCorrupt, KeyMissing):
                continue
            return
        if entries:
            raise MasterKeyError(
                "the master key is not that of the key store, which it does not open; restore the one that goes with"
                " these folders, or if it is that one, the key store's backup"
            )

    # Epochs

    def current_epoch(self) -> EpochKey:
        """The epoch to wrap new objects under, made if none is open. Cheap: a few stat calls while it stays open."""
        with self._current_lock:
            if self._current is None or not self.is_open(self._current.id):
                with self._mirrors.changing():
                    self._current = self._newest_open_epoch() or self._create_epoch()
            return self._current

    def is_open(self, epoch_id: str) -> bool:
        """Whether receivers may still acknowledge objects of the epoch."""
        return not self._mirrors.has(_CLOSED, epoch_id) and self._mirrors.has(_EPOCHS, epoch_id)

    def close_epoch(self, epoch_id: str | None = None) -> str | None:
        """Close the epoch, or the open one; gives its id, None where none was open. Closing twice changes nothing."""
        with self._mirrors.changing():
            if epoch_id is None:
                epoch = self._newest_open_epoch()
                if epoch is None:
                    return None
                epoch_id = epoch.id
            self._existing(_EPOCHS, epoch_id)
            if not self._mirrors.has(_CLOSED, epoch_id):
                self._mirrors.put(_CLOSED, epoch_id, encode({"closed_at": time()}))
        return epoch_id

    def epoch(self, epoch_id: str) -> EpochKey:
        """The epoch's key. Raises `KeyDestroyed` after `destroy_epoch`, `KeyMissing` if it never was or is lost."""
        return decode_epoch(self._read(_EPOCHS, epoch_id))

    def epochs(self) -> list[EpochStatus]:
        """All epochs whose keys exist, oldest first."""
        found = []
        for name in sorted(self._mirrors.names(_EPOCHS)):
            with suppress(KeyDestroyed, KeyMissing):  # destroyed while we listed
                epoch = self.epoch(name)
                found.append(EpochStatus(epoch.id, epoch.created_at, self._closed_at(name)))
        return found

    def destroy_epoch(self, epoch_id: str) -> None:
        """Destroy a closed epoch's key everywhere. All objects listed after its closing must have been rewrapped."""
        with self._mirrors.changing():
            if self.is_open(epoch_id):
                raise KeyStoreError(f"epoch {epoch_id} is open; close it and rewrap its objects first")
            self._destroy(_EPOCHS, epoch_id)
            self._mirrors.remove(_CLOSED, epoch_id, secret=False)

    # Patients

    def create_patient(self, scope_tag: str) -> PatientEntry:
        """Make a key, a pseudonym and the rest for a scope; a scope that has a living entry gets that one again."""
        with self._mirrors.changing():
            with suppress(KeyMissing, KeyDestroyed):
                known = self._existing(_SCOPES, scope_tag).value.decode()
                entry = decode_patient(self._existing(_PATIENTS, known).value)
                self._mirrors.repair(_PATIENTS, known)  # an earlier attempt may have reached one mirror only
                return entry
            entry = _new_patient(scope_tag)
            # The pointer first: cut short, it points to nothing; an entry without one would be listed all the same.
            self._mirrors.put(_SCOPES, scope_tag, entry.id.encode())
            self._mirrors.put(_PATIENTS, entry.id, encode_patient(entry))
            return entry

    def patient(self, patient_id: str) -> PatientEntry:
        """The patient's entry. Raises `KeyDestroyed` after an erasure, `KeyMissing` if it never was or is lost."""
        return decode_patient(self._read(_PATIENTS, patient_id))

    def patients(self) -> Iterator[PatientEntry]:
        """All living entries that open, in no order: what the index is rebuilt from."""
        for name in self._mirrors.names(_PATIENTS):
            try:
                entry = self.patient(name)
            except (KeyDestroyed, KeyMissing):  # destroyed while we listed
                continue
            except KeyStoreCorrupt as error:  # concerns one patient; whoever needs the entry gets the error
                _log.error("key_store_entry_corrupt", reason=str(error))
                continue
            yield entry

    def destroy_patient(self, patient_id: str) -> None:
        """Destroy the patient's key in both mirrors for good; what it sealed is dead, in backups too.

        The ledger is written first: cut short anywhere, the next call, or opening the store, finishes the work.
        """
        with self._mirrors.changing():
            scope_tag = None
            with suppress(KeyDestroyed):
                scope_tag = decode_patient(self._existing(_PATIENTS, patient_id).value).scope_tag
            self._destroy(_PATIENTS, patient_id)
            if scope_tag is not None:
                self._mirrors.remove(_SCOPES, scope_tag, secret=False)

    # Ways of both

    def _read(self, shelf: str, name: str) -> bytes:
        """The entry's value, unless its key was destroyed; a mirror that has lost it is repaired on the way."""
        found = self._existing(shelf, name)
        if not found.whole:
            try:
                with self._mirrors.changing():
                    self._existing(shelf, name)  # it may have been destroyed meanwhile
                    self._mirrors.repair(shelf, name)
            except KeyStoreUnavailable as error:  # the reader has what it needs; the operator must see to the disk
                _log.error("key_store_mirror_unavailable", reason=str(error))
        return found.value

    def _existing(self, shelf: str, name: str) -> Found:
        if f"{shelf}/{name}" in self._ledger:
            raise KeyDestroyed(f"{shelf}/{name}: the key was destroyed, what it sealed cannot be opened any more")
        return self._mirrors.get(shelf, name)

    def _destroy(self, shelf: str, name: str) -> None:
        full_name = f"{shelf}/{name}"
        if full_name not in self._ledger:
            if not self._mirrors.has(shelf, name):
                raise KeyMissing(f"{full_name}: there is no such key to destroy")
            self._ledger.append(full_name, time())
        self._mirrors.remove(shelf, name, secret=True)

    def _replay(self) -> None:
        """Remove what a restored backup or an erasure cut short left of destroyed keys."""
        for full_name in self._ledger.names():
            shelf, _, name = full_name.partition("/")
            if self._mirrors.has(shelf, name):
                self._mirrors.remove(shelf, name, secret=True)
                _log.warning("destroyed_key_removed_again", entry=full_name)
            if shelf == _EPOCHS:
                self._mirrors.remove(_CLOSED, name, secret=False)

    def _complete_mirrors(self) -> None:
        """Give each mirror the entries that only the other has."""
        for shelf in _SHELVES:
            for name in self._mirrors.names(shelf):
                if not self._mirrors.is_whole(shelf, name):
                    try:
                        self._mirrors.repair(shelf, name)
                    except KeyStoreCorrupt as error:  # concerns one patient; whoever needs the entry gets the error
                        _log.error("key_store_entry_corrupt", reason=str(error))

    def _newest_open_epoch(self) -> EpochKey | None:
        for name in sorted(self._mirrors.names(_EPOCHS), reverse=True):
            if self.is_open(name):
                self._mirrors.repair(_EPOCHS, name)  # its maker may have reached one mirror only
                return decode_epoch(self._existing(_EPOCHS, name).value)
        return None

    def _create_epoch(self) -> EpochKey:
        destroyed = (name.partition("/")[2] for name in self._ledger.names() if name.startswith(f"{_EPOCHS}/"))
        number = max((int(name.partition("-")[0]) for name in {*self._mirrors.names(_EPOCHS), *destroyed}), default=-1)
        # The random part keeps two histories apart when an older backup is restored.
        epoch = EpochKey(f"{number + 1:08d}-{secrets.token_hex(8)}", secrets.token_bytes(KEY_BYTES), time())
        self._mirrors.put(_EPOCHS, epoch.id, encode(asdict(epoch)))
        return epoch

    def _closed_at(self, epoch_id: str) -> float | None:
        if not self._mirrors.has(_CLOSED, epoch_id):
            return None
        return decode_closing(self._mirrors.get(_CLOSED, epoch_id).value)


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of the pseudonyms that a key store gives."""
    letters = text.removeprefix(_PSEUDONYM_PREFIX)
    return letters != text and len(letters) == _PSEUDONYM_LENGTH and set(letters) <= set(_PSEUDONYM_LETTERS)


def _new_patient(scope_tag: str) -> PatientEntry:
    letters = "".join(secrets.choice(_PSEUDONYM_LETTERS) for _ in range(_PSEUDONYM_LENGTH))
    return PatientEntry(
        id=secrets.token_hex(16),
        key=secrets.token_bytes(KEY_BYTES),
        scope_tag=scope_tag,
        pseudonym=f"{_PSEUDONYM_PREFIX}{letters}",
        date_offset_days=secrets.choice((-1, 1)) * secrets.choice(_DATE_OFFSET_DAYS),
        audit_tag=secrets.token_hex(16),
        created_at=time(),
    )
