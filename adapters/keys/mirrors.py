"""Small sealed files kept alike in two folders: written to both before anyone is told, read from whichever has it.

The store's mechanics only; what the entries mean is in `adapters.keys.store`. Every change happens under one lock file,
so that processes need no other agreement. An entry is sealed to its shelf and name: files cannot be swapped.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

import structlog

from adapters.durable_files import fsync_directory, locked, make_directory, overwrite_and_remove, write_synced
from adapters.keys.errors import KeyMissing, KeyStoreCorrupt, KeyStoreUnavailable, Tampered
from adapters.keys.sealing import open_value, seal_value

_SUFFIX: Final = ".key"
_TEMPORARY: Final = ".tmp"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """An entry's value; `whole` is whether, as far as was seen, every mirror has it."""

    value: bytes
    whole: bool


class Mirrors:
    """Shelves (folders) of sealed entries in each of `roots`; the first root holds the lock."""

    def __init__(self, roots: Sequence[Path], shelves: Sequence[str], key: bytes) -> None:
        self.roots = tuple(roots)
        self._shelves = tuple(shelves)
        self._key = key
        with _unavailable():
            for root in self.roots:
                for shelf in self._shelves:
                    make_directory(root / shelf)
                fsync_directory(root)  # another process may have made them and died before it did

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock that every change needs, against threads and processes. Not reentrant."""
        with _unavailable(), locked(self.roots[0] / "lock"):
            yield

    def names(self, shelf: str) -> set[str]:
        """The names of all entries that any mirror has."""
        found: set[str] = set()
        errors: list[OSError] = []
        for root in self.roots:
            try:
                with os.scandir(root / shelf) as entries:
                    found.update(e.name.removesuffix(_SUFFIX) for e in entries if e.name.endswith(_SUFFIX))
            except OSError as error:
                errors.append(error)
        if len(errors) == len(self.roots):
            raise KeyStoreUnavailable(f"no mirror of the key store can be listed: {errors[0].strerror}")
        return found

    def has(self, shelf: str, name: str) -> bool:
        """Whether any mirror has the entry, readable or not."""
        return any(os.path.exists(path) for path in self._paths(shelf, name))  # noqa: PTH110 - Path.exists raises on EIO

    def put(self, shelf: str, name: str, value: bytes) -> None:
        """Seal `value` and write it to every mirror durably. The caller holds the lock."""
        sealed = seal_value(self._key, _context(shelf, name), value)
        for path in self._paths(shelf, name):
            _place(path, sealed)

    def get(self, shelf: str, name: str) -> Found:
        """The value, from the first mirror that has it intact. Raises `KeyMissing`, `KeyStoreCorrupt`."""
        damaged = missing = False
        unreadable: OSError | None = None
        for path in self._paths(shelf, name):
            try:
                value = open_value(self._key, _context(shelf, name), path.read_bytes())
                return Found(value, not (damaged or missing or unreadable) and self.is_whole(shelf, name))
            except FileNotFoundError:
                missing = True
            except Tampered:
                damaged = True
            except OSError as error:
                unreadable = error
        if damaged:
            raise KeyStoreCorrupt(f"{shelf}/{name}: damaged in every mirror; restore the key store's backup")
        if unreadable is not None:
            raise KeyStoreUnavailable(f"{shelf}/{name}: no mirror can be read: {unreadable.strerror}")
        raise KeyMissing(f"{shelf}/{name}: in no mirror of the key store; restore the key store's backup")

    def is_whole(self, shelf: str, name: str) -> bool:
        """Whether every mirror has the entry; one stat a mirror, the content is not read."""
        return all(os.path.exists(path) for path in self._paths(shelf, name))  # noqa: PTH110

    def repair(self, shelf: str, name: str) -> None:
        """Write the entry to the mirrors that lack it or have it damaged. The caller holds the lock."""
        value = self.get(shelf, name).value
        sealed = seal_value(self._key, _context(shelf, name), value)
        for path in self._paths(shelf, name):
            try:
                open_value(self._key, _context(shelf, name), path.read_bytes())
            except (FileNotFoundError, Tampered):
                _place(path, sealed)
                _log.warning("key_store_entry_repaired", shelf=shelf, entry=name, mirror=str(path.parent.parent))

    def remove(self, shelf: str, name: str, *, secret: bool) -> None:
        """Remove the entry in every mirror, overwritten before if it is `secret`. The caller holds the lock."""
        for path in self._paths(shelf, name):
            if secret:
                overwrite_and_remove(path)
            else:
                path.unlink(missing_ok=True)
                fsync_directory(path.parent)

    def remove_leftovers(self) -> None:
        """Destroy temporary files that a killed writer left: they hold sealed keys. The caller holds the lock."""
        for root in self.roots:
            for shelf in self._shelves:
                for path in (root / shelf).glob(f".*{_TEMPORARY}"):
                    overwrite_and_remove(path)

    def _paths(self, shelf: str, name: str) -> list[Path]:
        if not _NAME.fullmatch(name):  # it may come from a damaged header; it must not lead out of the shelf
            raise KeyMissing(f"{shelf}: there is no key of that name, it is none that we give")
        return [root / shelf / f"{name}{_SUFFIX}" for root in self.roots]


def _context(shelf: str, name: str) -> bytes:
    return f"{shelf}/{name}".encode()


def _place(path: Path, sealed: bytes) -> None:
    temporary = path.with_name(f".{token_hex(8)}{_TEMPORARY}")
    write_synced(temporary, [sealed])
    temporary.replace(path)
    fsync_directory(path.parent)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        raise KeyStoreUnavailable(
            f"key store{where}: {error.strerror or error}; see to the disk of that mirror"
        ) from error
