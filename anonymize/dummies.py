"""What stands in for a value that must go where the attribute must stay: action D of PS3.15 E.1.1.

A dummy depends on the VR and, for sequences and colour profiles, on the tag; never on what it replaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack
from typing import Final

from anonymize.elements import Encoding
from anonymize.encoding import encode, encode_item
from anonymize.srgb import SRGB

ICC_PROFILE: Final = 0x00282000

_TEXT: Final = b"REMOVED"

_VALUES: Final[Mapping[str, bytes]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _TEXT),
    **dict.fromkeys(("OB", "OW", "SS", "UN", "US"), bytes(2)),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), bytes(4)),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), bytes(8)),
    "AS": b"000Y",
    "DA": b"19000101",
    "DS": b"0",
    "DT": b"19000101000000",
    "IS": b"0",
    "TM": b"000000",
    "UR": b"about:blank",
}


@dataclass(frozen=True, slots=True)
class _Dummy:
    """An element of a dummy item: a value, or one item of further elements. Binary values are given little endian."""

    tag: int
    vr: str
    value: bytes = b""
    item: tuple["_Dummy", ...] = ()


_REMOVED_CODE: Final = (
    _Dummy(0x00080100, "SH", _TEXT),
    _Dummy(0x00080102, "SH", b"99KOPRU"),
    _Dummy(0x00080104, "LO", _TEXT),
)

_ITEMS: Final[Mapping[int, tuple[_Dummy, ...]]] = {
    0x00340001: (_Dummy(0x00340002, "OB", bytes(2)),),  # Flow Identifier Sequence
    0x00401101: _REMOVED_CODE,  # Person Identification Code Sequence
    0x0040A073: (  # Verifying Observer Sequence
        _Dummy(0x0040A027, "LO", _TEXT),
        _Dummy(0x0040A030, "DT", _VALUES["DT"]),
        _Dummy(0x0040A075, "PN", _TEXT),
        _Dummy(0x0040A088, "SQ"),
    ),
    0x0040A730: (  # Content Sequence
        _Dummy(0x0040A010, "CS", b"CONTAINS"),
        _Dummy(0x0040A040, "CS", b"TEXT"),
        _Dummy(0x0040A043, "SQ", item=_REMOVED_CODE),
        _Dummy(0x0040A160, "UT", _TEXT),
    ),
    0x00700001: (  # Graphic Annotation Sequence
        _Dummy(0x00700002, "CS", _TEXT),
        _Dummy(
            0x00700008,
            "SQ",
            item=(
                _Dummy(0x00700004, "CS", b"DISPLAY"),
                _Dummy(0x00700006, "ST", _TEXT),
                _Dummy(0x00700014, "FL", pack("<ff", 0, 0)),
                _Dummy(0x00700015, "CS", b"N"),
            ),
        ),
    ),
}


def has_dummy(tag: int, vr: str) -> bool:
    """Whether `dummy` has an answer for an attribute."""
    return tag in _ITEMS if vr == "SQ" else vr in _VALUES


def dummy(tag: int, vr: str, encoding: Encoding) -> bytes:
    """Give the value, not the element, that stands in for the attribute `tag` of `vr`. Raises KeyError without one."""
    if tag == ICC_PROFILE:
        return SRGB
    return _item(_ITEMS[tag], encoding) if vr == "SQ" else _VALUES[vr]


def _item(elements: tuple[_Dummy, ...], encoding: Encoding) -> bytes:
    """Encode one item. Recurses over our own table only; zero, the only number in it, is the same in any byte order."""
    content = b"".join(
        encode(element.tag, element.vr, _item(element.item, encoding) if element.item else element.value, encoding)
        for element in elements
    )
    return encode_item(content, encoding)
