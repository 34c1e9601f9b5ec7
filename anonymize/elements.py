"""Walks over an encoded data set and yields its raw elements, without decoding or copying a value (PS3.5 7).

Every byte is accounted for before the walk ends: what is not exactly a data set raises `MalformedDataSet`. It must
never follow a length out of its container, recurse, or put a value into an error.

Refused: truncation, lengths beyond the container, unknown VRs, undefined lengths where PS3.5 allows none, delimiters
that close nothing or have a length, an attribute twice in one data set (two readers would see two patients), the
groups that PS3.5 7.1 forbids, sequences nested deeper than `MAX_DEPTH`, and more than `MAX_ELEMENTS` elements.
Tolerated, because PACS send it: elements out of ascending order, values of odd length, zero bytes after the last
element, sequences encoded as UN (6.2.2), and a deflated stream followed by zero bytes or by the trailer of gzip.
"""

import zlib
from collections.abc import Iterator
from enum import Enum
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from pydicom._dicom_dict import DicomDictionary

from anonymize.errors import MalformedDataSet

MAX_DEPTH: Final = 64
"""Items within items that are followed. Structured reports reach about 20; recursive readers fail at some 300."""

MAX_ELEMENTS: Final = 2_000_000
"""Elements and items of a data set that are followed; a slide of 50,000 frames has about a million."""

MAX_INFLATED_BYTES: Final = 1 << 30
"""What a deflated data set may grow to. Deflate reaches 1,032:1, so that 2 MB could otherwise ask for 2 GB."""

UNDEFINED_LENGTH: Final = 0xFFFFFFFF

ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010

SHORT_VRS: Final = frozenset(  # 16-bit length, PS3.5 Table 7.1-2
    vr for row in ("AE AS AT CS DA DS DT FD FL IS LO", "LT PN SH SL SS ST TM UI UL US") for vr in row.split()
)
LONG_VRS: Final = frozenset(  # 32-bit length, PS3.5 Table 7.1-1
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)

_SHORT: Final = {vr.encode(): vr for vr in SHORT_VRS}
_LONG: Final = {vr.encode(): vr for vr in LONG_VRS}
_SEQUENCES: Final = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_GZIP_TRAILER: Final = Struct("<II")  # CRC-32 and size (RFC 1952 2.3.1): some writers cut off gzip's head only
_FORBIDDEN_GROUPS: Final = frozenset({0x0000, 0x0001, 0x0003, 0x0005, 0x0007, 0xFFFF})


class Encoding(Enum):
    """The three ways to encode an element (PS3.5 A.1, A.2, A.3)."""

    IMPLICIT_LITTLE = ("<", False)
    EXPLICIT_LITTLE = ("<", True)
    EXPLICIT_BIG = (">", True)

    def __init__(self, order: str, explicit: bool) -> None:
        self.order = order
        self.explicit = explicit
        self.head = Struct(order + ("HH2sH" if explicit else "HHI"))
        self.item_head = Struct(order + "HHI")
        self.uint32 = Struct(order + "I")


class Kind(Enum):
    """What an `Element` is."""

    VALUE = "value"  # an element with a value of known length
    FRAGMENTS = "fragments"  # encapsulated pixel data, its items and its delimiter included (PS3.5 A.4)
    SEQUENCE = "sequence"  # a sequence begins
    ITEM = "item"  # an item of it begins
    ITEM_END = "item end"
    SEQUENCE_END = "sequence end"


class Element(NamedTuple):
    """One step of the walk.

    `tag` is ``group << 16 | element``; `vr` is the VR as encoded, None in implicit VR. The header begins at `start`,
    the value takes `length` bytes from `value`; for `SEQUENCE` and `ITEM` of undefined length that is
    `UNDEFINED_LENGTH`. `depth` counts the items around the element: 0 at the top. `encoding` is the encoding of the
    element itself, which within a sequence encoded as UN is not that of the data set.
    """

    kind: Kind
    tag: int
    vr: str | None
    start: int
    value: int
    length: int
    depth: int
    encoding: Encoding


_VALUE: Final = Kind.VALUE
_HEAD_BYTES: Final = 8  # of an element whose length has 16 bits, and of any in implicit VR
_element: Final = tuple.__new__  # as Element(…), without its Python function: there is one for each element


class _Level:
    """A container that the walk is in: a data set (the top one or an item) or the item list of a sequence."""

    __slots__ = ("depth", "encoding", "end", "holds_items", "opened", "seen", "undefined")

    def __init__(
        self, opened: Element | None, end: int, encoding: Encoding, depth: int, *, holds_items: bool, undefined: bool
    ) -> None:
        self.opened = opened
        self.end = end
        self.encoding = encoding
        self.depth = depth
        self.holds_items = holds_items
        self.undefined = undefined  # ends with a delimiter; `end` is then where the container around it ends
        self.seen: set[int] = set()


class _Over(Exception):
    """All of the data set has been walked over."""


class _Walk:
    """The walk's state: a position and the containers around it."""

    def __init__(self, data: bytes | memoryview, start: int, level: _Level) -> None:
        self._view = memoryview(data)
        self._position = start
        self._levels = [level]
        self._left = MAX_ELEMENTS

    def __iter__(self) -> Iterator[Element]:
        try:
            while True:
                level = self._levels[-1]
                if level.holds_items:
                    yield self._next_item(level)
                else:
                    if level.encoding.explicit:
                        yield from self._plain_elements(level)
                    yield self._next_element(level)
                self._count(1)
        except _Over:
            return

    def _count(self, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            raise MalformedDataSet(self._position, f"there are more than {MAX_ELEMENTS} elements and items")

    def _plain_elements(self, level: _Level) -> Iterator[Element]:
        """The next elements in explicit VR whose length has 16 bits, as most are: up to the first that is no such, or
        is wrong. `_next_element` does the same and more; this does it in half the time.
        """
        view, unpack, end, seen = self._view, level.encoding.head.unpack_from, level.end, level.seen
        depth, encoding, position, before = level.depth, level.encoding, self._position, len(level.seen)
        for _ in range(self._left + 1):
            if end - position < _HEAD_BYTES:
                break
            group, number, code, length = unpack(view, position)
            vr, tag, value = _SHORT.get(code), group << 16 | number, position + _HEAD_BYTES
            after = value + length
            if vr is None or tag in seen or after > end or group in _FORBIDDEN_GROUPS:
                break
            seen.add(tag)
            yield _element(Element, (_VALUE, tag, vr, position, value, length, depth, encoding))
            position = after
        self._position = position
        self._count(len(seen) - before)

    def _next_element(self, level: _Level) -> Element:
        start = self._position
        left = level.end - start
        if left <= 0 and not level.undefined:
            return self._close(level)
        if left < 8:
            self._end_in_padding(level, start, "the data ends within an element's header")
        encoding = level.encoding
        vr: str | None = None
        value = start + 8
        if encoding.explicit:
            group, number, code, length = encoding.head.unpack_from(self._view, start)
            tag = group << 16 | number
            if (vr := _SHORT.get(code)) is None and group != 0xFFFE:
                vr, value, length = self._long_form(level, start, tag, code)
        else:
            group, number, length = encoding.head.unpack_from(self._view, start)
            tag = group << 16 | number
        if group == 0xFFFE:
            return self._end_of_item(level, start, tag)
        if group in _FORBIDDEN_GROUPS:
            self._end_in_padding(level, start, "the group is one that no data set holds")
        if tag in level.seen:
            raise MalformedDataSet(start, "the attribute occurs twice in one data set")
        level.seen.add(tag)
        if length == UNDEFINED_LENGTH or vr == "SQ" or (vr is None and tag in _SEQUENCES):
            return self._open(level, Element(Kind.SEQUENCE, tag, vr, start, value, length, level.depth, encoding))
        self._position = value + length
        if self._position > level.end:
            raise MalformedDataSet(start, "the value is longer than what is left of its container")
        return _element(Element, (_VALUE, tag, vr, start, value, length, level.depth, encoding))

    def _long_form(self, level: _Level, start: int, tag: int, code: bytes) -> tuple[str, int, int]:
        vr = _LONG.get(code)
        if vr is None:
            if tag == 0:
                self._end_in_padding(level, start, "the group is one that no data set holds")
            raise MalformedDataSet(start, "the value representation is unknown")
        if level.end - start < 12:
            raise MalformedDataSet(start, "the data ends within an element's header")
        return vr, start + 12, level.encoding.uint32.unpack_from(self._view, start + 8)[0]

    def _open(self, level: _Level, element: Element) -> Element:
        """Step into a sequence, or over encapsulated pixel data."""
        vr, undefined = element.vr, element.length == UNDEFINED_LENGTH
        if vr in ("OB", "OW"):
            return self._fragments(level, element)
        if vr not in ("SQ", "UN", None) or (vr is None and element.tag == PIXEL_DATA):
            raise MalformedDataSet(element.start, "an undefined length where the value representation has none")
        end = level.end if undefined else element.value + element.length
        if end > level.end:
            raise MalformedDataSet(element.start, "the sequence is longer than what is left of its container")
        encoding = Encoding.IMPLICIT_LITTLE if vr == "UN" else level.encoding  # PS3.5 6.2.2, note on UN
        self._levels.append(_Level(element, end, encoding, level.depth, holds_items=True, undefined=undefined))
        self._position = element.value
        return element

    def _fragments(self, level: _Level, element: Element) -> Element:
        position, item_head = element.value, level.encoding.item_head
        while level.end - position >= 8:
            group, number, length = item_head.unpack_from(self._view, position)
            tag = group << 16 | number
            if tag == SEQUENCE_DELIMITATION and length == 0:
                self._position = position + 8
                return element._replace(kind=Kind.FRAGMENTS, length=self._position - element.value)
            if tag != ITEM:
                raise MalformedDataSet(position, "encapsulated pixel data holds something that is no fragment")
            position += 8 + length
        raise MalformedDataSet(element.start, "encapsulated pixel data has no end")

    def _next_item(self, level: _Level) -> Element:
        start = self._position
        if start == level.end and not level.undefined:
            return self._close(level)
        if level.end - start < 8:
            raise MalformedDataSet(start, "the data ends within a sequence")
        group, number, length = level.encoding.item_head.unpack_from(self._view, start)
        tag, value = group << 16 | number, start + 8
        if tag == SEQUENCE_DELIMITATION and length == 0 and level.undefined:
            self._position = value
            return self._close(level)
        if tag != ITEM:
            raise MalformedDataSet(start, "a sequence holds something that is no item")
        depth, undefined = level.depth + 1, length == UNDEFINED_LENGTH
        if depth > MAX_DEPTH:
            raise MalformedDataSet(start, f"sequences are nested deeper than {MAX_DEPTH}")
        end = level.end if undefined else value + length
        if end > level.end:
            raise MalformedDataSet(start, "the item is longer than what is left of its sequence")
        item = Element(Kind.ITEM, tag, None, start, value, length, depth, level.encoding)
        self._levels.append(_Level(item, end, level.encoding, depth, holds_items=False, undefined=undefined))
        self._position = value
        return item

    def _end_of_item(self, level: _Level, start: int, tag: int) -> Element:
        length = level.encoding.uint32.unpack_from(self._view, start + 4)[0]
        if tag != ITEM_DELIMITATION or length != 0 or not level.undefined:
            raise MalformedDataSet(start, "a delimiter that closes nothing")
        self._position = start + 8
        return self._close(level)

    def _close(self, level: _Level) -> Element:
        """Leave a container; at the top, the walk is over."""
        self._levels.pop()
        opened = level.opened
        if opened is None:
            raise _Over
        kind = Kind.SEQUENCE_END if level.holds_items else Kind.ITEM_END
        return opened._replace(kind=kind, start=self._position, value=self._position, length=0)

    def _end_in_padding(self, level: _Level, start: int, reason: str) -> NoReturn:
        if level.opened is None and level.depth == 0 and not bytes(self._view[start : level.end]).strip(b"\0"):
            raise _Over
        raise MalformedDataSet(start, reason)


def walk(data: bytes | memoryview, encoding: Encoding) -> Iterator[Element]:
    """Yield every element of an encoded data set in the order of its bytes, sequences opened at every depth.

    Raises `MalformedDataSet` at the first byte that does not fit; what was yielded before is then worth nothing.
    """
    return iter(_Walk(data, 0, _Level(None, len(data), encoding, 0, holds_items=False, undefined=False)))


def walk_unknown(data: bytes | memoryview, element: Element) -> Iterator[Element]:
    """Yield what lies in a `VALUE` element with VR UN that is known to be a sequence (PS3.5 6.2.2): items, implicit VR.

    The first element is the `SEQUENCE` itself, the last its `SEQUENCE_END`.
    """
    sequence = element._replace(kind=Kind.SEQUENCE)
    end = element.value + element.length
    items = _Level(None, end, Encoding.IMPLICIT_LITTLE, element.depth, holds_items=True, undefined=False)
    yield sequence
    yield from _Walk(data, element.value, items)
    yield element._replace(kind=Kind.SEQUENCE_END, start=end, value=end, length=0)


def inflate(data: bytes | memoryview, max_bytes: int = MAX_INFLATED_BYTES) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5). Raises `MalformedDataSet` beyond `max_bytes` or on a broken stream."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, max_bytes + 1)
    except zlib.error:
        raise MalformedDataSet(0, "the deflated stream is broken") from None
    if len(inflated) > max_bytes:
        raise MalformedDataSet(0, f"the deflated data set grows beyond {max_bytes} bytes")
    if not stream.eof:
        raise MalformedDataSet(0, "the deflated stream is truncated")
    trailer = stream.unused_data.rstrip(b"\0")
    if trailer and trailer != _GZIP_TRAILER.pack(zlib.crc32(inflated), len(inflated)).rstrip(b"\0"):
        raise MalformedDataSet(len(data) - len(stream.unused_data), "bytes after the deflated stream")
    return inflated
