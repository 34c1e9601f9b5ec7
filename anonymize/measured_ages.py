"""Ages in the measurements of a report: what is over 89 years is told as 90, as Patient's Age is.

A content item says by its concept that a number is an age, and there are many such concepts; by its unit it cannot
hide it. So every measured value of 90 years or more goes (45 CFR 164.514(b)(2)(i)(C); PS3.3 C.17.3, PS3.16 CID 7456).
"""

import re
from collections.abc import Mapping
from math import nan
from typing import Final

import numpy as np

MEASURED_VALUES: Final = 0x0040A300  # Measured Value Sequence
UNITS: Final = 0x004008EA  # Measurement Units Code Sequence, in an item of it
NUMERIC_VALUE: Final = 0x0040A30A
_DOUBLE, _NUMERATOR, _DENOMINATOR = 0x0040A161, 0x0040A162, 0x0040A163
VALUES: Final = frozenset({NUMERIC_VALUE, _DOUBLE, _NUMERATOR, _DENOMINATOR})
"""The attributes of an item that say the number."""

_NINETY_YEARS: Final = {
    "a": 90,
    "mo": 1080,
    "wk": 4696,
    "d": 32872,
    "h": 788_940,
    "min": 47_336_400,
    "s": 2_840_184_000,
}
_VARIANT: Final = re.compile(r"_[a-z]+$|\{[^}]*\}")  # a_j and mo_g are kinds of years and months, {…} a remark


def told(unit: str, values: Mapping[int, bytes], order: str) -> bytes | None:
    """What Numeric Value is to say instead, if `values`, encoded in the byte order `order`, tell 90 years or more.

    `unit` is a UCUM code. None for what is no span of time, and for what is shorter.
    """
    limit = _NINETY_YEARS.get(_VARIANT.sub("", unit.strip()))
    if limit is None or not any(number >= limit for number in _numbers(values, order)):
        return None
    return str(limit).encode("ascii")


def _numbers(values: Mapping[int, bytes], order: str) -> list[float]:
    numbers = [float(part) for part in values.get(NUMERIC_VALUE, b"").split(b"\\") if part.strip()]
    numbers += np.frombuffer(values.get(_DOUBLE, b""), f"{order}f8").tolist()
    numerators = np.frombuffer(values.get(_NUMERATOR, b""), f"{order}i4").tolist()
    denominators = np.frombuffer(values.get(_DENOMINATOR, b""), f"{order}u4").tolist()
    return numbers + [top / bottom if bottom else nan for top, bottom in zip(numerators, denominators, strict=False)]
