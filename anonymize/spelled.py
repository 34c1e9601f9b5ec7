"""Decides whether a value of binary numbers spells text: bytes that a person would read, where numbers should be.

Numbers can be anything, so this is no proof but a doubt. It is made so that tables, samples and coordinates hardly ever
raise it: they are smooth, or of no pattern, and text is neither (at most one in a thousand meshes of a million points).
"""

import re
from typing import Final

import numpy as np

LEAST_BYTES: Final = 14
"""No shorter value is taken for text."""

_LETTERS: Final = (rb"[A-Z ^,.'=-]", rb"[a-z ^,.'=-]", rb"[0-9 ,./:-]")  # of one kind: capitals, small ones, digits
_ANY: Final = rb"[A-Za-z0-9 ^,.:/='-]"
_RUNS: Final = (*(re.compile(kind + rb"{14,}") for kind in _LETTERS), re.compile(_ANY + rb"{20,}"))
_WIDE_RUNS: Final = tuple(re.compile(rb"(?:" + pair + rb"){12,}") for pair in (_ANY + rb"\0", rb"\0" + _ANY))
_LEAST_TURNS: Final = 2  # a ramp through the letters has none, a hill one
_LEAST_VALUES: Final = 3


def spells_text(value: bytes, unit: int, order: str, *, is_table: bool = False) -> bool:
    """Whether `value`, of numbers of `unit` bytes in the byte order `order` ("<" or ">"), has a run of text in it.

    Of the entries of a look-up table, letters with a zero byte between them are text, too: samples may well be so.
    """
    if len(value) < LEAST_BYTES:
        return False
    runs = (*_RUNS, *_WIDE_RUNS) if is_table else _RUNS
    return any(_is_varied(value, *match.span(), unit, order) for pattern in runs for match in pattern.finditer(value))


def _is_varied(value: bytes, start: int, end: int, unit: int, order: str) -> bool:
    """Whether the numbers within a run go up and down, and each of their bytes differs: not a ramp or an offset."""
    if unit > 2:  # a run is two or three of them, too few to turn: text, unless it is one number again and again
        return value[start : end - unit] != value[start + unit : end]
    start, end = -(-start // unit) * unit, end // unit * unit
    units = np.frombuffer(value[start:end], np.uint8).reshape(-1, unit)
    numbers = np.frombuffer(value[start:end], f"{order}u{unit}").astype(np.int64)
    steps = np.sign(np.diff(numbers))
    steps = steps[steps != 0]
    turns = int((steps[1:] != steps[:-1]).sum())
    lanes = [np.unique(units[:, lane]).size for lane in range(unit)]
    varied = [size >= _LEAST_VALUES for size in lanes]
    is_wide = unit == 2 and not (units[:, 0].any() and units[:, 1].any())
    return turns >= _LEAST_TURNS and (any(varied) if is_wide else all(varied))
