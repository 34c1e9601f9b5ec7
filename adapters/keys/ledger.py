"""The erasure ledger: which keys were destroyed, so that a restored backup of the key store does not bring them back.

An append-only text file, the same in both mirrors: one line for each key, each with a keyed checksum. It names random
ids only. A line that does not verify was cut by a crash before its append was acknowledged, and is skipped.
"""

import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from adapters.durable_files import fsync_directory, write_all
from adapters.keys.errors import KeyStoreUnavailable

FILE_NAME: Final = "erased.ledger"


class ErasureLedger:
    """The union of the ledgers of all mirrors. Reads again whenever a file has changed."""

    def __init__(self, mirrors: tuple[Path, ...], key: bytes) -> None:
        self._paths = tuple(mirror / FILE_NAME for mirror in mirrors)
        self._key = key
        self._sizes: tuple[int | None, ...] = ()
        self._lines: tuple[frozenset[str], ...] = ()
        self._destroyed: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        """Whether the key of that name (``patient/…``, ``epoch/…``) was destroyed."""
        return name in self.names()

    def names(self) -> frozenset[str]:
        """The names of all destroyed keys."""
        sizes = tuple(_size(path) for path in self._paths)
        if all(size is None for size in sizes):
            raise KeyStoreUnavailable("no mirror's erasure ledger can be read; no key is given out without it")
        if sizes != self._sizes:
            self._lines = tuple(self._read(path) for path in self._paths)
            self._destroyed = frozenset(line.split(" ")[0] for lines in self._lines for line in lines)
            self._sizes = sizes
        return self._destroyed

    def append(self, name: str, at: float) -> None:
        """Add the key to every mirror's ledger, durably. The caller holds the store's lock."""
        line = f"{name} {at:.0f}"
        for path in self._paths:
            self._append(path, [line])

    def repair(self) -> None:
        """Give each mirror a ledger, with the lines that only the other has. The caller holds the store's lock."""
        for path in self._paths:
            if not path.exists():
                self._append(path, [])
        self.names()
        everything = frozenset().union(*self._lines)
        for path, lines in zip(self._paths, self._lines, strict=True):
            if missing := sorted(everything - lines):
                self._append(path, missing)

    def _append(self, path: Path, lines: list[str]) -> None:
        created = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            text = "\n" * torn + "".join(f"{line} {self._checksum(line)}\n" for line in lines)
            write_all(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            fsync_directory(path.parent)

    def _read(self, path: Path) -> frozenset[str]:
        found = set()
        for raw in (path.read_bytes() if _size(path) else b"").decode("ascii", errors="replace").splitlines():
            line, _, checksum = raw.rpartition(" ")
            if hmac.compare_digest(checksum.encode(), self._checksum(line).encode()):
                found.add(line)
        return frozenset(found)

    def _checksum(self, line: str) -> str:
        return hmac.new(self._key, line.encode(), hashlib.sha256).hexdigest()[:32]


def _size(path: Path) -> int | None:
    """The file's size, None where it cannot be reached: the other mirror has the same lines."""
    try:
        return path.stat().st_size
    except OSError:
        return None
