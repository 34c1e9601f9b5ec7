"""Moves dates by whole days, or keeps their year, and groups the ages over 89 (VRs DA, DT, TM and AS; PS3.5 6.2).

What is no date of its VR gives None, never a guess: the caller then takes the value away.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, TypeAlias

_DATE: Final = re.compile(rb"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)")  # the second form is that of ACR-NEMA
_DATE_TIME: Final = re.compile(
    rb"(\d{4})(?:(\d\d)(?:(\d\d)((?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?"
)
_TIME: Final = re.compile(rb"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_AGE: Final = re.compile(rb"(\d{3})([DWMY])")
_OFFSET: Final = re.compile(rb"[+-](?:0\d|1[0-4])[0-5]\d")

_LONGEST_TOLD_AGE: Final = {b"Y": 89, b"M": 89 * 12 + 11}  # three digits of days and weeks never reach it


_One: TypeAlias = Callable[[bytes], bytes | None]


def _each(value: bytes, one: _One) -> bytes | None:
    """Apply `one` to each of the values, empty ones aside; None if it refuses any."""
    changed = [one(part.strip(b" \0")) if part.strip(b" \0") else b"" for part in value.split(b"\\")]
    return None if None in changed else b"\\".join(part for part in changed if part is not None)


def shift(vr: str, value: bytes, days: int) -> bytes | None:
    """Move the dates of a DA or DT by `days`; keep the times of a TM. Of partial dates, the given part moves."""
    if vr == "TM":
        return _each(value, lambda part: part if _TIME.fullmatch(part) else None)
    if vr == "DA":
        return _each(value, lambda part: _shifted_date(part, days))
    return _each(value, lambda part: _shifted_date_time(part, days))


def year_only(vr: str, value: bytes) -> bytes | None:
    """Keep the year of a DA or DT: the first of January for a DA, the bare year for a DT."""
    return _each(value, lambda part: _year(vr, part))


def is_sound(vr: str, value: bytes) -> bool:
    """Whether all of `value` are dates or times of the VR, or a time zone (the VR SH of (0008,0201))."""
    if vr == "SH":
        return _OFFSET.fullmatch(value.strip(b" \0")) is not None
    return shift(vr, value, 0) is not None


def grouped_age(value: bytes) -> bytes | None:
    """An age string whose years over 89 become 90 (45 CFR 164.514(b)(2)(i)(C))."""
    return _each(value, _grouped)


def _grouped(part: bytes) -> bytes | None:
    match = _AGE.fullmatch(part)
    if match is None:
        return None
    unit = match[2]
    return b"090Y" if int(match[1]) > _LONGEST_TOLD_AGE.get(unit, 999) else part


def _shifted_date(part: bytes, days: int) -> bytes | None:
    match = _DATE.fullmatch(part)
    if match is None:
        return None
    year, month, day = (match[index] or match[index + 3] for index in (1, 2, 3))
    moved = _moved(int(year), int(month), int(day), days)
    return None if moved is None else f"{moved:%Y%m%d}".encode().rjust(8, b"0")


def _shifted_date_time(part: bytes, days: int) -> bytes | None:
    match = _DATE_TIME.fullmatch(part)
    if match is None:
        return None
    year, month, day, time, offset = match.groups()
    moved = _moved(int(year), int(month or 1), int(day or 1), days)
    if moved is None:
        return None
    precision = 8 if day else 6 if month else 4
    return f"{moved:%Y%m%d}".encode().rjust(8, b"0")[:precision] + (time or b"") + (offset or b"")


def _year(vr: str, part: bytes) -> bytes | None:
    match = (_DATE if vr == "DA" else _DATE_TIME).fullmatch(part)
    if match is None:
        return None
    return (match[1] or match[4]) + b"0101" if vr == "DA" else match[1]


def _moved(year: int, month: int, day: int, days: int) -> date | None:
    try:
        return date(year, month, day) + timedelta(days)
    except (ValueError, OverflowError):
        return None
