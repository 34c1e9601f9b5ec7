"""Decides whether a kept value is what its VR says and nothing else: a number is a number, a code looks like a code.

A value that fails is removed, never repaired; only what stands after a NUL is cut off (PS3.5 6.2 and Table 6.2-1).
Repertoires are those of the standard, with lower case and a few signs more in CS because devices send them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from anonymize.character_sets import decode

UNIT_BYTES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("OW", "SS", "US"), 2),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
    "OB": 1,
}
"""Bytes of one value of the binary VRs."""

_PATTERNS: Final[Mapping[str, Callable[[bytes], re.Match[bytes] | None]]] = {
    "CS": re.compile(rb"[A-Za-z0-9 _.+-]{0,16}(?:\\[A-Za-z0-9 _.+-]{0,16})*").fullmatch,
    "DS": re.compile(rb"[0-9.eE+\\ -]*").fullmatch,
    "IS": re.compile(rb"[0-9+\\ -]*").fullmatch,
}

_TEXT: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UR", "UT"})


def is_sound_binary(vr: str, length: int, max_values: int | None) -> bool:
    """Whether `length` bytes can be values of the binary `vr`, no more of them than the attribute may have."""
    unit = UNIT_BYTES[vr]
    return length % unit == 0 and (max_values is None or vr[0] == "O" or length <= unit * max_values)


def sound_text(vr: str, value: bytes, character_sets: Sequence[str]) -> bytes | None:
    """Give `value` of a VR of characters without what follows a NUL; None if it is not what `vr` allows."""
    if b"\0" in value:
        value = value[: value.index(b"\0")]
    if (matches := _PATTERNS.get(vr)) is not None:
        return value if matches(value) else None
    if vr in _TEXT and ((value.isascii() and b"\x1b" not in value) or decode(value, character_sets) is not None):
        return value
    return None
