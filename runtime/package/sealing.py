"""Sealed packages: every file but `model.toml` and its signature is encrypted, and plain weights never touch a disk.

`model.toml.sealed` holds the package's data key, wrapped with AES-256-GCM under a key that the caller has (here called
the *site key*). Each file is sealed under a key of its own, derived from the data key, in chunks (AES-256-GCM in the
STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015). All of it is bound to the package's name and
version and to the file's name. The digests in `model.toml` are those of the plain bytes, so a maker's signature stays
good.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, ValidationError

from runtime.errors import PackageError
from runtime.package.files import opened
from runtime.package.parts import Part
from runtime.package.toml import as_json, explained, parse_toml, to_toml

SEALING: Final = "model.toml.sealed"
SUFFIX: Final = ".sealed"
KEY_BYTES: Final = 32
_CHUNK_BYTES: Final = 1 << 20
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_MOST_CHUNKS: Final = 1 << 32


class _Sealing(Part):
    algorithm: Literal["AES-256-GCM-STREAM"]
    site_key: str = Field(pattern="^[0-9a-f]{16}$")
    wrapped: str = Field(max_length=4 * _WRAPPED_BYTES)


class Seal:
    """The data key of one package. It shows in no representation."""

    def __init__(self, name: str, version: str, key: bytes) -> None:
        self._scope = f"kopru model package 1\0{name}\0{version}\0"
        self._key = key

    @classmethod
    def new(cls, name: str, version: str) -> "Seal":
        """A fresh random data key."""
        return cls(name, version, os.urandom(KEY_BYTES))

    @classmethod
    def unwrap(cls, file: Path, data: bytes, name: str, version: str, site_key: bytes) -> "Seal":
        """The data key that is wrapped in `data`, the bytes of `file`. Raises `PackageError`."""
        try:
            found = _Sealing.model_validate_json(as_json(file, parse_toml(file, data)))
            wrapped = base64.b64decode(found.wrapped, validate=True)
        except ValidationError as error:
            raise explained(file, error) from None
        except ValueError:
            raise PackageError(file, "wrapped", "is not base64") from None
        if found.site_key != site_key_id(site_key):
            raise PackageError(
                file, "site_key", "the package was sealed for another installation; import it anew from its maker's"
            )
        scope = cls(name, version, b"")._scope
        try:
            key = AESGCM(site_key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], scope.encode())
        except (InvalidTag, ValueError):
            raise PackageError(
                file, "wrapped", "does not open: it was changed, or is of another model; import the package anew"
            ) from None
        return cls(name, version, key)

    def wrap(self, site_key: bytes) -> bytes:
        """What `unwrap` reads."""
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = nonce + AESGCM(site_key).encrypt(nonce, self._key, self._scope.encode())
        return to_toml(
            {
                "algorithm": "AES-256-GCM-STREAM",
                "site_key": site_key_id(site_key),
                "wrapped": base64.b64encode(wrapped).decode(),
            }
        ).encode()

    def seal(self, name: str, data: bytes) -> Iterator[bytes]:
        """The sealed form of the file `name`. A data key seals each file once: its nonces are counters."""
        cipher, context = self._cipher(name)
        view = memoryview(data)
        for number, start, last in _chunks(len(data), _CHUNK_BYTES):
            yield cipher.encrypt(_nonce(number, last=last), view[start : start + _CHUNK_BYTES], context)

    def open(self, path: Path, name: str) -> bytes:
        """The plain bytes of the file `name` that is sealed in `path`. Raises `PackageError`."""
        cipher, context = self._cipher(name)
        plain = bytearray()
        with opened(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            for number, _, last in _chunks(size, _CHUNK_BYTES + _TAG_BYTES):
                sealed = stream.read() if last else stream.read(_CHUNK_BYTES + _TAG_BYTES)
                try:
                    plain += cipher.decrypt(_nonce(number, last=last), sealed, context)
                except (InvalidTag, ValueError):
                    raise PackageError(
                        path, "", "does not open: changed, cut, or of another package; import the package anew"
                    ) from None
        return bytes(plain)

    def _cipher(self, name: str) -> tuple[AESGCM, bytes]:
        context = (self._scope + name).encode()
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=context).derive(self._key)), context


def site_key_id(site_key: bytes) -> str:
    """16 hex digits that tell site keys apart and give nothing away."""
    return hashlib.sha256(b"kopru site key for models\n" + site_key).hexdigest()[:16]


def _chunks(size: int, chunk: int) -> Iterator[tuple[int, int, bool]]:
    """Number, start, and whether it is the last; an empty file has one chunk."""
    count = max(1, -(-size // chunk))
    if count > _MOST_CHUNKS:
        raise ValueError("too large to be sealed")
    for number in range(count):
        yield number, number * chunk, number == count - 1


def _nonce(number: int, *, last: bool) -> bytes:
    """Seven zero bytes (each file has a key of its own), the chunk's number, and whether it ends the file."""
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])
