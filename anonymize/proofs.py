"""Decides whether a kept value is what its VR says and nothing else: a number is a number, a code looks like a code.

A value that fails is removed, never repaired; only what stands after a NUL is cut off, and decimals that are longer
than the standard allows are rounded (PS3.5 6.2 and Table 6.2-1).
Repertoires are those of the standard, with lower case and a few signs more in CS because devices send them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from struct import iter_unpack
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.valuerep import format_number_as_ds

from anonymize.character_sets import decode

UNIT_BYTES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("OW", "SS", "US"), 2),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
    "OB": 1,
}
"""Bytes of one value of the binary VRs."""

_UID: Final = rb"(?:(?=[0-9.]{1,64}(?:\\|$))[0-2](?:\.[0-9]+)+)?"  # PS3.5 9.1, but that devices begin parts with a 0
# Blanks stand before or behind a number: where there is none, in one way only, else a few of them take ages to refuse.
_INTEGER: Final = rb" *(?:(?=[^ \\])[+-]?\d{0,10} *)?"
_DECIMAL: Final = rb" *(?:(?=[^ \\])[+-]?\d{0,10}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})? *)?"
_PATTERNS: Final[Mapping[str, Callable[[bytes], re.Match[bytes] | None]]] = {
    "CS": re.compile(rb"[A-Za-z0-9 _.+-]{0,16}(?:\\[A-Za-z0-9 _.+-]{0,16})*").fullmatch,
    "DS": re.compile(rb"%b(?:\\%b)*" % (_DECIMAL, _DECIMAL)).fullmatch,
    "IS": re.compile(rb"%b(?:\\%b)*" % (_INTEGER, _INTEGER)).fullmatch,
    "AE": re.compile(rb"[ -\[\]-~]{0,16}(?:\\[ -\[\]-~]{0,16})*").fullmatch,
    "UI": re.compile(rb"%b(?:\\%b)*" % (_UID, _UID)).fullmatch,
}

_TEXT: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})


_LONGEST_DECIMAL: Final = 16  # characters of one value


def are_attribute_tags(value: bytes, order: str) -> bool:
    """Whether all of an AT value are tags of the standard's dictionary."""
    pairs = iter_unpack(order + "HH", value)
    return all(group << 16 | element in DicomDictionary for group, element in pairs)


def _shortened(value: bytes) -> bytes | None:
    parts = [part.strip() for part in value.split(b"\\")]
    if not all(isfinite(float(part)) for part in parts if len(part) > _LONGEST_DECIMAL):
        return None
    return b"\\".join(_decimal(part) if len(part) > _LONGEST_DECIMAL else part for part in parts)


def _decimal(part: bytes) -> bytes:
    return format_number_as_ds(float(part)).encode("ascii")


def is_sound_binary(vr: str, length: int, max_values: int | None) -> bool:
    """Whether `length` bytes can be values of the binary `vr`, no more of them than the attribute may have."""
    unit = UNIT_BYTES[vr]
    return length % unit == 0 and (max_values is None or vr[0] == "O" or length <= unit * max_values)


def sound_text(vr: str, value: bytes, character_sets: Sequence[str]) -> bytes | None:
    """Give `value` of a VR of characters without what follows a NUL; None if it is not what `vr` allows."""
    if b"\0" in value:
        value = value[: value.index(b"\0")]
    if (matches := _PATTERNS.get(vr)) is not None:
        if not matches(value):
            return None
        return _shortened(value) if vr == "DS" and len(value) > _LONGEST_DECIMAL else value
    if vr in _TEXT and ((value.isascii() and b"\x1b" not in value) or decode(value, character_sets) is not None):
        return value
    return None
