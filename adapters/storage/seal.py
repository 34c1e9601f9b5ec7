"""Seals a stream of chunks so that none can be changed, cut off, reordered or taken from another stream unnoticed.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, CRYPTO 2015) with AES-256-GCM: chunk i is sealed under nonce = prefix (7 bytes) + i (32 bits, big
endian) + last flag (1 byte), with the stream's header as associated data. A key must seal one stream only.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.durable_files import Buffer
from adapters.storage.errors import ObjectDamaged

CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
PREFIX_BYTES: Final = 7
_MAXIMUM_CHUNKS: Final = 1 << 32


class _Stream:
    """What both directions share: the key, the header, and the counter in the nonce."""

    def __init__(self, key: bytes, prefix: bytes, header: bytes) -> None:
        if len(prefix) != PREFIX_BYTES:
            raise ValueError(f"the nonce prefix must be {PREFIX_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._prefix = prefix
        self._header = header
        self._counter = 0
        self._ended = False

    def _nonce(self, *, last: bool) -> bytes:
        if self._ended or self._counter >= _MAXIMUM_CHUNKS:
            raise ValueError("the stream has ended")
        nonce = self._prefix + self._counter.to_bytes(4, "big") + bytes([last])
        self._counter += 1
        self._ended = last
        return nonce


class Sealer(_Stream):
    """Seals the chunks of one stream in order."""

    def seal(self, chunk: Buffer, *, last: bool) -> bytes:
        """The sealed chunk, `TAG_BYTES` longer. The chunk with `last` ends the stream; there must be one."""
        return self._cipher.encrypt(self._nonce(last=last), chunk, self._header)


class Opener(_Stream):
    """Opens the chunks of one stream in order."""

    def open(self, sealed: Buffer, *, last: bool) -> bytes:
        """The chunk. Raises `ObjectDamaged` for anything but the very chunk that was sealed in this place."""
        try:
            return self._cipher.decrypt(self._nonce(last=last), sealed, self._header)
        except InvalidTag:
            raise ObjectDamaged(
                f"chunk {self._counter - 1} does not open: changed, cut, reordered or swapped"
            ) from None


def seal_all(sealer: Sealer, data: Iterable[Buffer]) -> Iterator[bytes]:
    """Seal `data`, cut into chunks of `CHUNK_BYTES`; the last one, possibly empty, ends the stream."""
    held: bytes | memoryview = b""
    for chunk in _chunks(data):
        if held:
            yield sealer.seal(held, last=False)
        held = chunk
    yield sealer.seal(held, last=True)


def open_all(opener: Opener, sealed: Buffer) -> Iterator[bytes]:
    """Open what `seal_all` made. Nothing yielded may be used before the iterator has ended without an error."""
    view = memoryview(sealed).cast("B")
    size = CHUNK_BYTES + TAG_BYTES
    starts = range(0, max(len(view), 1), size)
    for start in starts:
        yield opener.open(view[start : start + size], last=start == starts[-1])


def _chunks(data: Iterable[Buffer]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of exactly `CHUNK_BYTES` but for the last; copies only where pieces are joined."""
    joined = bytearray()
    for piece in data:
        view = memoryview(piece).cast("B")
        if joined:
            taken = min(CHUNK_BYTES - len(joined), len(view))
            joined += view[:taken]
            view = view[taken:]
            if len(joined) < CHUNK_BYTES:
                continue
            yield bytes(joined)
            joined.clear()
        while len(view) >= CHUNK_BYTES:
            yield view[:CHUNK_BYTES]
            view = view[CHUNK_BYTES:]
        joined += view
    if joined:
        yield bytes(joined)
