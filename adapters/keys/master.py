"""The master key: 32 random bytes from which every key of ours that is not random is derived (HKDF-SHA-256, RFC 5869).

It comes from a file that only its owner can read; a systemd credential is such a file (systemd.exec(5)). It must never
be logged, copied into the database, or lie beside a backup of the key store.
"""

import hashlib
import hmac
import os
import stat
from functools import cache
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from adapters.durable_files import fsync_directory, make_directory, write_synced
from adapters.keys.errors import MasterKeyError
from adapters.keys.sealing import KEY_BYTES


class MasterKey:
    """The key at the root; it shows in no representation."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"the master key has {len(key)} bytes instead of {KEY_BYTES}")
        self._key = bytes(key)
        self.subkey = cache(self._derive)
        """`subkey(purpose)` is the 32-byte key for that purpose; purposes never share a key."""

    def __repr__(self) -> str:
        return "MasterKey(…)"

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the key. The file must be a plain file that neither group nor others can touch, or a credential."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MasterKeyError(f"master key {path}: {error.strerror}; restore it, or make a new one") from None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or (status.st_mode & 0o077 and not is_credential(path)):
                raise MasterKeyError(f"master key {path}: others can reach it; make it a plain file with mode 0600")
            return cls(file.read(KEY_BYTES + 1))

    @classmethod
    def create_file(cls, path: Path) -> Self:
        """Make a new random key on the first start; raises `MasterKeyError` where there is a file already."""
        key = os.urandom(KEY_BYTES)
        try:
            make_directory(path.parent)
            write_synced(path, [key])
            fsync_directory(path.parent)
        except OSError as error:
            raise MasterKeyError(f"master key {path} cannot be made: {error.strerror}") from None
        return cls(key)

    def lookup_tag(self, kind: str, value: str) -> str:
        """The keyed digest (HMAC-SHA-256, 64 hex digits) that stands for a normalised value in a look-up column.

        `kind` names the column's domain ("patient", "study", …): equal values of two kinds have unrelated tags.
        """
        return hmac.new(self.subkey(f"lookup {kind}"), value.encode(), hashlib.sha256).hexdigest()

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"kopru 1 " + purpose.encode()).derive(self._key)


def is_credential(path: Path) -> bool:
    """Whether systemd provides the file: read-only, and guarded by an access list that the mode does not show."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and path.parent == Path(folder)
