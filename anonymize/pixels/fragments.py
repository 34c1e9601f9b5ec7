"""Takes encapsulated pixel data apart into frames and puts it together again, offset tables made true (PS3.5 A.4).

What stays as it was is passed on as views of the received bytes, so that memory does not grow with the number of
frames. Offset tables that say something else than where the frames are (and so could say anything) are made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import Final

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.words import Bytes

_HEAD: Final = Struct("<HHI")
_ITEM: Final = (0xFFFE, 0xE000)
_DELIMITER: Final = _HEAD.pack(0xFFFE, 0xE0DD, 0)
_LONGEST: Final = 0xFFFFFFFE

_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # of JPEG and JPEG-LS, JPEG 2000, JP2


@dataclass(frozen=True, slots=True)
class ExtendedOffsets:
    """The raw values of (7FE0,0001) and (7FE0,0002): 64-bit offsets and lengths of the frames."""

    offsets: bytes
    lengths: bytes


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """Encapsulated pixel data: `frames` are the fragments of each frame; `table` the Basic Offset Table."""

    value: memoryview
    table: memoryview
    frames: tuple[tuple[memoryview, ...], ...]

    def frame(self, index: int) -> memoryview:
        """One frame's codestream, joined if it came in several fragments."""
        fragments = self.frames[index]
        return fragments[0] if len(fragments) == 1 else memoryview(b"".join(fragments))


@dataclass(frozen=True, slots=True)
class Written:
    """Encapsulated pixel data to be written: the pieces of its value with the delimiter, and its offset tables."""

    pieces: tuple[Bytes, ...]
    extended_offsets: ExtendedOffsets | None


def read_fragments(value: memoryview, frames: int) -> Encapsulated:
    """Find the frames in `value`: items and the delimiter after them.

    Frames are told apart by the Basic Offset Table, else by one fragment each, else by how codestreams begin. Raises
    `MalformedPixels` unless exactly `frames` of them are there.
    """
    items = _items(value)
    if len(items) < 2:
        raise MalformedPixels(PixelReason.MALFORMED_FRAGMENTS, "there is no fragment")
    table, fragments = items[0], items[1:]
    if frames == 1:
        return Encapsulated(value, table, (tuple(fragments),))
    firsts = _first_fragments(table, fragments, frames)
    ends = [*firsts[1:], len(fragments)]
    grouped = tuple(tuple(fragments[first:end]) for first, end in zip(firsts, ends, strict=True))
    return Encapsulated(value, table, grouped)


def _items(value: memoryview) -> list[memoryview]:
    items: list[memoryview] = []
    position = 0
    while len(value) - position >= 8:
        group, number, length = _HEAD.unpack_from(value, position)
        position += 8
        if (group, number) != _ITEM:
            if position == len(value) and bytes(value[position - 8 :]) == _DELIMITER:
                return items
            break
        items.append(value[position : position + length])
        position += length
    raise MalformedPixels(PixelReason.MALFORMED_FRAGMENTS, "the items do not end where the value does")


def _first_fragments(table: memoryview, fragments: Sequence[memoryview], frames: int) -> list[int]:
    """The number of the fragment that each frame begins with."""
    if len(fragments) == frames:
        return list(range(frames))
    starts = list(accumulate((len(fragment) + 8 for fragment in fragments), initial=0))
    places = {start: number for number, start in enumerate(starts[:-1])}
    offsets = [offset for (offset,) in Struct("<I").iter_unpack(table)] if len(table) % 4 == 0 else []
    if len(offsets) == frames and offsets[0] == 0 and offsets == sorted(set(offsets)) and places.keys() >= set(offsets):
        return [places[offset] for offset in offsets]
    firsts = [number for number, fragment in enumerate(fragments) if bytes(fragment[:12]).startswith(_STARTS)]
    if len(firsts) == frames and firsts[0] == 0:
        return firsts
    raise MalformedPixels(PixelReason.MALFORMED_FRAGMENTS, "the fragments cannot be told to be that many frames")


def write_fragments(
    received: Encapsulated, changed: Sequence[tuple[Bytes, ...] | None], extended: ExtendedOffsets | None
) -> Written:
    """Write the frames, each as received where `changed` has None, else as one fragment of the pieces in `changed`.

    A Basic Offset Table is written if there was one, an extended one if there was one and each frame is one fragment.
    """
    written = [
        _one_fragment(pieces)
        if pieces is not None
        else tuple(piece for one in fragments for piece in _one_fragment((one,)))
        for fragments, pieces in zip(received.frames, changed, strict=True)
    ]
    lengths = [sum(map(len, pieces)) for pieces in written]
    offsets = list(accumulate(lengths, initial=0))[:-1]
    fits = len(received.table) > 0 and extended is None and offsets[-1] <= _LONGEST
    table = b"".join(map(Struct("<I").pack, offsets)) if fits else b""
    single = all(
        pieces is not None or len(fragments) == 1 for fragments, pieces in zip(received.frames, changed, strict=True)
    )
    tables = None
    if extended is not None and single:
        long = Struct("<Q").pack
        tables = ExtendedOffsets(b"".join(map(long, offsets)), b"".join(long(length - 8) for length in lengths))
    if all(pieces is None for pieces in changed) and table == received.table:
        return Written((received.value,), tables)
    pieces = (_head(len(table)) + table, *(piece for frame in written for piece in frame), _DELIMITER)
    return Written(pieces, tables)


def _head(length: int) -> bytes:
    return _HEAD.pack(*_ITEM, length)


def _one_fragment(pieces: tuple[Bytes, ...]) -> tuple[Bytes, ...]:
    length = sum(map(len, pieces))
    padding = (b"\0",) if length & 1 else ()
    return (_head(length + len(padding)), *pieces, *padding)
