"""The format of one sealed object: a clear header without identifiers, then the STREAM of receipt and data.

    magic "KPO1" · object id (16) · nonce prefix (7) · receipt length (4, big endian)    the stream's associated data
    kind of wrapping key (1) · its id (40, NUL padded) · wrapped data key (61)           superseded by wraps.log
    receipt, sealed as chunk 0 · data, sealed in chunks of 1 MiB, the last one flagged

The data key is random and used for this object only. It is wrapped for the object: moved to another, a wrap does not
open.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, unique
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from adapters.durable_files import Buffer
from adapters.keys import Tampered, open_value, seal_value
from adapters.storage.errors import ObjectDamaged
from adapters.storage.receipt import Receipt
from adapters.storage.seal import PREFIX_BYTES, TAG_BYTES, Opener, Sealer, open_all, seal_all

_MAGIC: Final = b"KPO1"
_FIXED: Final = Struct(">4s16s7sI")
_WRAP: Final = Struct(">B40s61s")
HEADER_BYTES: Final = _FIXED.size + _WRAP.size
WRAP_BYTES: Final = _WRAP.size
_MAXIMUM_RECEIPT_BYTES: Final = 1 << 16
_DATA_KEY_BYTES: Final = 32


@unique
class KeyKind(Enum):
    """Whose key wraps a data key."""

    EPOCH = 0
    PATIENT = 1


class KeyName(NamedTuple):
    """The name of a wrapping key in the key store."""

    kind: KeyKind
    id: str


@dataclass(frozen=True, slots=True)
class Wrap:
    """A data key, wrapped for one object under the named key."""

    key: KeyName
    sealed: bytes = field(repr=False)

    def pack(self) -> bytes:
        """The form in headers and in wraps.log: `WRAP_BYTES` long."""
        return _WRAP.pack(self.key.kind.value, self.key.id.encode("ascii"), self.sealed)

    @classmethod
    def unpack(cls, packed: Buffer) -> "Wrap":
        """Read what `pack` wrote; raises `ObjectDamaged`."""
        try:
            kind, key_id, sealed = _WRAP.unpack(packed)
            return cls(KeyName(KeyKind(kind), key_id.rstrip(b"\0").decode("ascii")), sealed)
        except ValueError:
            raise ObjectDamaged("a wrapped key is damaged") from None

    @classmethod
    def read(cls, file: BinaryIO) -> "Wrap":
        """Read the wrap in an object's file, though the rest of its header be damaged; raises `ObjectDamaged`."""
        file.seek(_FIXED.size)
        packed = file.read(WRAP_BYTES)
        if len(packed) != WRAP_BYTES:
            raise ObjectDamaged("cut off within the header")
        return cls.unpack(packed)

    @classmethod
    def of(cls, data_key: bytes, object_id: str, key: KeyName, wrapping_key: bytes) -> "Wrap":
        """Wrap `data_key` for the object."""
        return cls(key, seal_value(wrapping_key, _wrap_context(object_id, key), data_key))

    def data_key(self, object_id: str, wrapping_key: bytes) -> bytes:
        """Unwrap. Raises `ObjectDamaged` when the wrap is of another object or under another key."""
        try:
            return open_value(wrapping_key, _wrap_context(object_id, self.key), self.sealed)
        except Tampered:
            raise ObjectDamaged(f"object {object_id}: its wrapped key does not open") from None


def _wrap_context(object_id: str, key: KeyName) -> bytes:
    return f"wrap {object_id} {key.kind.value} {key.id}".encode()


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of an object."""

    object_id: str
    prefix: bytes
    receipt_bytes: int
    wrap: Wrap

    @property
    def fixed(self) -> bytes:
        """The part that is authenticated with every chunk."""
        return _FIXED.pack(_MAGIC, bytes.fromhex(self.object_id), self.prefix, self.receipt_bytes)

    @classmethod
    def read(cls, file: BinaryIO) -> "Header":
        """Read the header from the start of an object's file; raises `ObjectDamaged`."""
        raw = file.read(HEADER_BYTES)
        if len(raw) != HEADER_BYTES or raw[:4] != _MAGIC:
            raise ObjectDamaged("not an object of this store, or cut off within its header")
        _, object_id, prefix, receipt_bytes = _FIXED.unpack_from(raw)
        if receipt_bytes > _MAXIMUM_RECEIPT_BYTES:
            raise ObjectDamaged("the header is damaged")
        return cls(object_id.hex(), prefix, receipt_bytes, Wrap.unpack(raw[_FIXED.size :]))


def seal_object(
    object_id: str, receipt: Receipt, data: Iterable[Buffer], key: KeyName, wrapping_key: bytes
) -> Iterator[bytes]:
    """The bytes of a new object, piece by piece."""
    data_key = os.urandom(_DATA_KEY_BYTES)
    packed_receipt = receipt.to_json()
    if len(packed_receipt) > _MAXIMUM_RECEIPT_BYTES:
        raise ValueError("the receipt is too long")
    wrap = Wrap.of(data_key, object_id, key, wrapping_key)
    header = Header(object_id, os.urandom(PREFIX_BYTES), len(packed_receipt), wrap)
    sealer = Sealer(data_key, header.prefix, header.fixed)
    yield header.fixed + wrap.pack() + sealer.seal(packed_receipt, last=False)
    yield from seal_all(sealer, data)


class OpenObject:
    """Reads an object's file with its data key, in order: the receipt, then the data."""

    def __init__(self, file: BinaryIO, header: Header, data_key: bytes) -> None:
        self._file = file
        self._opener = Opener(data_key, header.prefix, header.fixed)
        self.receipt = Receipt.from_json(self._opener.open(file.read(header.receipt_bytes + TAG_BYTES), last=False))

    def data(self) -> bytes:
        """All data, after every byte of it was authenticated."""
        return b"".join(open_all(self._opener, self._file.read()))
