"""What stored pixel values mean, as an instance says: Modality LUT, palettes, Presentation LUT Shape (PS3.3 C.11).

For the indexer: two instances with the same pixels show the same image only where this agrees. A window or VOI LUT
chooses what of the image is seen, and is no part of it: a PACS changes it at will. It reads values and changes none.
How a value is written counts for nothing, nor does a default that is said or left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from anonymize.elements import Element, Kind

_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PIXEL_PRESENTATION: Final = 0x00089205
_SLOPE: Final = 0x00281053
_INTERCEPT: Final = 0x00281052
_PRESENTATION_LUT_SHAPE: Final = 0x20500020

_NUMBERS: Final = frozenset({_SLOPE, _INTERCEPT})
_NAMES: Final = frozenset({_PHOTOMETRIC_INTERPRETATION, _PIXEL_PRESENTATION, _PRESENTATION_LUT_SHAPE})
_PALETTES: Final = frozenset(  # descriptors, data and segmented data of red, green, blue and alpha (PS3.3 C.7.9)
    base + channel for base in (0x00281101, 0x00281201, 0x00281221) for channel in range(4)
)
_TABLES: Final = frozenset({0x00283002, 0x00283006})  # LUT Descriptor and LUT Data
DISPLAYING: Final = _NUMBERS | _NAMES | _PALETTES | _TABLES
"""The elements with anything of this."""

_MODALITY_LUT: Final = 0x00283000
_PER_FRAME: Final = 0x52009230
SEQUENCES: Final = frozenset({_MODALITY_LUT, 0x52009229, _PER_FRAME})
"""Those at the top level in which anything of this lies: the LUT, and the functional groups (PS3.3 C.7.6.16)."""

_PIXEL_VALUE_TRANSFORMATION: Final = 0x00289145
_SAYS_NOTHING: Final = {_SLOPE: "1.0", _INTERCEPT: "0.0"}  # PS3.3 C.11.1

Place = tuple[int, int, int]
"""In which top-level sequence (0: none), in which item of it, and the tag."""


@dataclass(frozen=True, slots=True)
class Display:
    """Values by their place. Equal ones mean the same."""

    values: Mapping[Place, str] = field(repr=False)

    @classmethod
    def of(cls, data: bytes | memoryview, elements: Iterable[Element]) -> "Display":
        """Read it from elements of the top level, and all of those in `SEQUENCES`."""
        found = dict(_values(data, elements))
        photometric = found.pop((0, 0, _PHOTOMETRIC_INTERPRETATION), "")
        presentation = found.pop((0, 0, _PIXEL_PRESENTATION), "")
        shape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"  # what it is if nothing is said
        if found.get((0, 0, _PRESENTATION_LUT_SHAPE)) == shape:
            del found[0, 0, _PRESENTATION_LUT_SHAPE]
        coloured = photometric == "PALETTE COLOR" or presentation in ("COLOR", "MIXED")
        return cls({place: value for place, value in found.items() if coloured or place[2] not in _PALETTES})

    def to_bytes(self) -> bytes:
        """The same for equal ones, and different for others."""
        return repr(sorted(self.values.items())).encode()


def _values(data: bytes | memoryview, elements: Iterable[Element]) -> Iterator[tuple[Place, str]]:
    outer, inner, item = 0, 0, 0
    for element in elements:
        tag, depth = element.tag, element.depth
        match element.kind:
            case Kind.SEQUENCE if depth == 0:
                outer, inner, item = tag, 0, 0
            case Kind.SEQUENCE if depth == 1:
                inner = tag
            case Kind.SEQUENCE_END if depth == 0:
                outer = 0
            case Kind.ITEM if depth == 1:
                item += 1
            case Kind.VALUE if tag in DISPLAYING and _is_in_place(outer, inner, item, depth):
                value = _value(element, data)
                if value and value != _SAYS_NOTHING.get(tag):
                    yield (outer, item if outer else 0, tag), value
            case _:
                pass


def _is_in_place(outer: int, inner: int, item: int, depth: int) -> bool:
    """Of the LUT, the first item: it has no other (PS3.3 C.11.1)."""
    if depth == 0:
        return True
    if outer == _MODALITY_LUT:
        return depth == 1 and item == 1
    return depth == 2 and inner == _PIXEL_VALUE_TRANSFORMATION


def _value(element: Element, data: bytes | memoryview) -> str:
    raw = bytes(data[element.value : element.value + element.length])
    if element.tag in _PALETTES | _TABLES:
        if element.encoding.order == ">":  # they are words
            raw = b"".join(raw[at : at + 2][::-1] for at in range(0, len(raw), 2))
        return raw.hex()
    first = raw.decode("ascii", errors="backslashreplace").split("\\")[0].strip(" \0")
    if element.tag in _NUMBERS:
        try:
            return repr(float(first) + 0.0)
        except ValueError:
            return first
    return first.upper()
