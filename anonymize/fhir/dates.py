"""Dates of FHIR (date, dateTime, instant): moved by whole days, or reduced to their year (FHIR R4 2.24.0.1).

Works on the text, so that time of day, fraction and zone stay as they were written. A date that tells an age over 89
must never keep its year (45 CFR 164.514(b)(2)(i)(C)).
"""

import re
from datetime import date, timedelta
from typing import Final

_DATE: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>0[1-9]|1[0-2])(?:-(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?P<time>T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d))?)?)?",
    re.ASCII,
)
_TIME: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,9})?", re.ASCII)
_OLDEST_AGE: Final = 89


def is_time(value: str) -> bool:
    """Whether this is a time of day (FHIR's time)."""
    return _TIME.fullmatch(value) is not None


def reduced_date(value: str, type_name: str, as_of: date) -> str | None:
    """Give the year of a date; None where that would tell too much, for an instant, and for what is no date."""
    match = _DATE.fullmatch(value)
    if match is None or type_name == "instant" or _tells_high_age(int(match["year"]), as_of):
        return None
    return match["year"]


def shifted_date(value: str, type_name: str, days: int, as_of: date) -> str | None:
    """Move a date by whole days; None where it tells an age over 89, leaves the calendar, or is no date.

    A year or a month cannot be moved by days: what stays is the year in which its middle comes to lie.
    """
    match = _DATE.fullmatch(value)
    if match is None or _tells_high_age(int(match["year"]), as_of):
        return None
    complete = match["day"] is not None
    if (type_name == "instant" and match["time"] is None) or (type_name == "date" and match["time"] is not None):
        return None
    try:
        start = date(int(match["year"]), int(match["month"] or 7), int(match["day"] or (15 if match["month"] else 2)))
        moved = start + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return moved.isoformat() + (match["time"] or "") if complete else f"{moved.year:04}"


def _tells_high_age(year: int, as_of: date) -> bool:
    return as_of.year - year > _OLDEST_AGE
