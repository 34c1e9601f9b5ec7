"""What may stay of a look-up table: the entries that its descriptor announces, and nothing else.

A table longer than that, or entries of more bits, can carry anything unseen. A sound table stays byte for byte; one
that is not what it says is for the caller to hold, never to mend: a wrong table shows wrong densities. PS3.3 C.11.1.1,
C.11.2.1.1, C.7.6.3.1.5, C.7.6.3.1.6 and, for segments, C.7.9.2.
"""

import struct
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

_LUT_DESCRIPTOR: Final = 0x00283002
_PALETTE_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103, 0x00281104)
_BLENDING_DESCRIPTOR: Final = 0x00281407

_SEGMENTED: Final = {descriptor + 0x120: descriptor for descriptor in _PALETTE_DESCRIPTORS}
TABLES: Final = {
    0x00283006: _LUT_DESCRIPTOR,  # LUT Data: Modality, VOI, Presentation and the like, each in its item
    **{descriptor + 0x100: descriptor for descriptor in _PALETTE_DESCRIPTORS},
    **_SEGMENTED,
    0x00281408: _BLENDING_DESCRIPTOR,
}
"""The attribute that holds a table, and the one in the same data set that describes it."""

DESCRIPTORS: Final = frozenset(TABLES.values())

_Words = npt.NDArray[Any]


class Table(NamedTuple):
    """The entries of a table, as they were encoded, and whether they are what the descriptor announces."""

    value: bytes
    is_sound: bool


def read_table(tag: int, value: bytes, descriptor: bytes | None, order: str) -> Table:
    """What of `value` is the table `tag`; both values as encoded, `order` is "<" or ">".

    What lies behind the last entry announced is left out; a table may be shorter than announced, which some devices
    send and every reader must cope with. Not sound are a table without a descriptor, entries of more bits than
    announced, and segments that do not give the number of entries announced.
    """
    if descriptor is None or len(descriptor) != 6 or len(value) & 1:
        return Table(value, is_sound=False)
    entries, _, bits = struct.unpack(order + "HHH", descriptor)  # the second, signed or not, is no matter here
    entries = entries or 1 << 16
    if not 8 <= bits <= 16:
        return Table(value, is_sound=False)
    if tag in _SEGMENTED:
        return _segments(value, entries, bits, order)
    if bits == 8 and len(value) < 2 * entries:  # two entries a word; others give each a word of its own
        return Table(_of_bytes(value, entries, order), is_sound=True)
    table = value[: 2 * entries]
    return Table(table, is_sound=_fits(np.frombuffer(table, f"{order}u2"), bits))


def _fits(entries: _Words, bits: int) -> bool:
    return not entries.size or int(entries.max()) < 1 << bits


def _of_bytes(value: bytes, entries: int, order: str) -> bytes:
    """The first entries of one byte each, the word of an odd last one filled up with zero (in the upper half)."""
    table = bytearray(value[: entries + (entries & 1)])
    if entries & 1 and len(table) > entries:
        table[entries if order == "<" else entries - 1] = 0
    return bytes(table)


def _segments(value: bytes, entries: int, bits: int, order: str) -> Table:
    if bits == 8:
        words: _Words = np.frombuffer(value, "u1")
        if order == ">":
            words = np.frombuffer(np.frombuffer(value, ">u2").astype("<u2").tobytes(), "u1")
    else:
        words = np.frombuffer(value, f"{order}u2")
    used = _walk_segments(words, entries, bits, address_words=4 if bits == 8 else 2)
    if used is None:
        return Table(value, is_sound=False)
    return Table(_of_bytes(value, used, order) if bits == 8 else value[: 2 * used], is_sound=True)


def _walk_segments(words: _Words, entries: int, bits: int, address_words: int) -> int | None:
    """How many words the segments take that give `entries`; None where they do not, or are not what C.7.9.2 has."""
    expanded: dict[int, int] = {}  # entries that the direct segment at a word gives
    position = total = 0
    while total < entries:
        if position + 3 > words.size:
            return None
        kind, length = int(words[position]), int(words[position + 1])
        if kind == 0:  # discrete
            end = position + 2 + length
            if not _fits(words[position + 2 : end], bits):
                return None
            expanded[position] = length
        elif kind == 1:  # linear: up to an end point
            end = position + 3
            if not _fits(words[position + 2 : end], bits):
                return None
            expanded[position] = length
        elif kind == 2:  # indirect: so many direct segments again, from a byte on
            end = position + 2 + address_words
            address = b"".join(int(word).to_bytes(4 // address_words, "little") for word in words[position + 2 : end])
            again = _repeated(expanded, int.from_bytes(address, "little") * address_words // 4, length)
            if again is None:
                return None
            length = again
        else:
            return None
        if not length or end > words.size:
            return None
        position, total = end, total + length
    return position if total == entries else None


def _repeated(expanded: dict[int, int], first: int, segments: int) -> int | None:
    """The entries of so many direct segments from the word `first`; None where there are not as many."""
    starts = sorted(expanded)
    if first not in expanded:
        return None
    chosen = starts[starts.index(first) :][:segments]
    return sum(expanded[start] for start in chosen) if len(chosen) == segments else None
