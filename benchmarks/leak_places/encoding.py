"""Data sets written by hand, byte for byte (PS3.5 section 7, annex A), so that a place can write what no library would.

It writes what it is told, malformed or not, and checks nothing. It shares no code with what it is used to test.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

_LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_PADDED_WITH_NUL = frozenset({"OB", "UI", "UN"})
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# How each VR of binary numbers packs one value (PS3.5 6.2); an Attribute Tag is two numbers.
_PACKING = {"AT": "H", "FD": "d", "FL": "f", "OB": "B", "OW": "H", "SL": "i", "SS": "h", "UL": "I", "US": "H"}
_PACKING |= {"OD": "d", "OF": "f", "OL": "I", "OV": "Q", "SV": "q", "UV": "Q"}


@dataclass(frozen=True)
class Encoding:
    """How tags, VRs, lengths and binary numbers are written."""

    explicit: bool
    little: bool

    @property
    def order(self) -> str:
        """The byte order as `struct` names it."""
        return "<" if self.little else ">"


IMPLICIT_LITTLE = Encoding(explicit=False, little=True)
EXPLICIT_LITTLE = Encoding(explicit=True, little=True)
EXPLICIT_BIG = Encoding(explicit=True, little=False)


class Syntax(Enum):
    """The transfer syntaxes that instances are planted in (PS3.5 annex A)."""

    IMPLICIT = "1.2.840.10008.1.2"
    EXPLICIT = "1.2.840.10008.1.2.1"
    BIG_ENDIAN = "1.2.840.10008.1.2.2"
    DEFLATED = "1.2.840.10008.1.2.1.99"
    JPEG = "1.2.840.10008.1.2.4.50"
    RLE = "1.2.840.10008.1.2.5"
    JPEG_2000 = "1.2.840.10008.1.2.4.90"

    @property
    def encoding(self) -> Encoding:
        """How its data set is encoded."""
        return {Syntax.IMPLICIT: IMPLICIT_LITTLE, Syntax.BIG_ENDIAN: EXPLICIT_BIG}.get(self, EXPLICIT_LITTLE)


@dataclass(frozen=True)
class Numbers:
    """Binary numbers, packed as the VR and the byte order say."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Items:
    """The items of a sequence; `after_end` lies in the Sequence Delimitation Item, whose length should be 0."""

    items: tuple[tuple["Written", ...], ...]
    undefined: bool = False
    always: Encoding | None = None
    after_end: bytes = b""


@dataclass(frozen=True)
class Fragments:
    """Encapsulated pixel data (PS3.5 A.4): the Basic Offset Table's bytes, then the fragments."""

    offsets: bytes
    fragments: tuple[bytes, ...]
    after_end: bytes = b""


@dataclass(frozen=True)
class Element:
    """One data element. `vr` packs the value; `vr_written`, if given, is what the header claims."""

    tag: int
    vr: str
    value: bytes | Numbers | Items | Fragments
    vr_written: str | None = None
    reserved: bytes = b"\0\0"


@dataclass(frozen=True)
class Raw:
    """Bytes that are no well-formed element, put where `tag` would stand."""

    tag: int
    write: Callable[[Encoding], bytes]


Written = Element | Raw


def tag_bytes(tag: int, encoding: Encoding) -> bytes:
    return struct.pack(encoding.order + "HH", tag >> 16, tag & 0xFFFF)


def header(tag: int, vr: str, length: int, encoding: Encoding, reserved: bytes = b"\0\0") -> bytes:
    """An element's header, as PS3.5 7.1 has it."""
    start = tag_bytes(tag, encoding)
    if not encoding.explicit or tag >> 16 == 0xFFFE:
        return start + struct.pack(encoding.order + "I", length)
    if vr in _LONG_FORM:
        return start + vr.encode() + reserved + struct.pack(encoding.order + "I", length)
    return start + vr.encode() + struct.pack(encoding.order + "H", length)


def packed(vr: str, numbers: Numbers, encoding: Encoding) -> bytes:
    """The value field of binary numbers."""
    return struct.pack(f"{encoding.order}{len(numbers.values)}{_PACKING[vr]}", *numbers.values)


def encode(elements: Iterable[Written], encoding: Encoding, ordered: bool = True) -> bytes:
    """A data set's bytes, its elements by ascending tag unless `ordered` is false."""
    listed = sorted(elements, key=lambda element: element.tag) if ordered else elements
    return b"".join(_written(element, encoding) for element in listed)


def _written(element: Written, encoding: Encoding) -> bytes:
    if isinstance(element, Raw):
        return element.write(encoding)
    claimed = element.vr_written or element.vr
    if isinstance(element.value, Items):
        body = _items(element.value, element.value.always or encoding)
        length = _UNDEFINED if element.value.undefined else len(body)
    elif isinstance(element.value, Fragments):
        body, length = _fragments(element.value, encoding), _UNDEFINED
    else:
        body = _value(element, encoding)
        length = len(body)
    return header(element.tag, claimed, length, encoding, element.reserved) + body


def _value(element: Element, encoding: Encoding) -> bytes:
    assert not isinstance(element.value, Items | Fragments)
    value = packed(element.vr, element.value, encoding) if isinstance(element.value, Numbers) else element.value
    padding = b"\0" if (element.vr_written or element.vr) in _PADDED_WITH_NUL else b" "
    return value + padding * (len(value) % 2)


def _items(items: Items, encoding: Encoding) -> bytes:
    body = b""
    for item in items.items:
        content = encode(item, encoding)
        if items.undefined:
            body += header(_ITEM, "", _UNDEFINED, encoding) + content + header(_ITEM_END, "", 0, encoding)
        else:
            body += header(_ITEM, "", len(content), encoding) + content
    if items.undefined:
        body += header(_SEQUENCE_END, "", len(items.after_end), encoding) + items.after_end
    return body


def _fragments(fragments: Fragments, encoding: Encoding) -> bytes:
    body = b"".join(
        header(_ITEM, "", len(fragment), encoding) + fragment for fragment in (fragments.offsets, *fragments.fragments)
    )
    return body + header(_SEQUENCE_END, "", len(fragments.after_end), encoding) + fragments.after_end


def deflated(data_set: bytes, tail: bytes = b"") -> bytes:
    """A data set as Deflated Explicit VR Little Endian has it (PS3.5 A.5): raw deflate, padded to even length."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    stream = compressor.compress(data_set) + compressor.flush() + tail
    return stream + b"\0" * (len(stream) % 2)


def sequence(tag: int, *items: Sequence[Written], undefined: bool = False) -> Element:
    return Element(tag, "SQ", Items(tuple(tuple(item) for item in items), undefined))


def numbers(tag: int, vr: str, *values: float) -> Element:
    return Element(tag, vr, Numbers(values))


def text(tag: int, vr: str, value: str | bytes) -> Element:
    return Element(tag, vr, value if isinstance(value, bytes) else value.encode("ascii"))
