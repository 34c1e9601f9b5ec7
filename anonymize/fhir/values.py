"""What becomes of a single value: dates shifted or cut to the year, ages capped, ZIP codes cut, names made of keys.

Pure functions from a value to a value, or to None where nothing of it may stay. They must never let a value through
that they cannot read. Safe Harbor: 45 CFR 164.514(b)(2)(i); the forms of dates: FHIR R4 2.24.0.1.
"""

import hashlib
import hmac
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from anonymize.uids import map_uid

MAX_AGE_YEARS: Final = 89

SPARSE_ZIP3: Final = frozenset("036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893".split())
"""Three-digit ZIP areas of 20,000 people or fewer (Census 2000; HHS guidance on 45 CFR 164.514, of 2012-11-26)."""

_DATE: Final = re.compile(r"([0-9]{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01]))?)?")
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]{1,9})?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DATE_TIME: Final = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(T{_TIME}{_ZONE})")
_TIME_OF_DAY: Final = re.compile(_TIME)
_ZIP: Final = re.compile(r"([0-9]{3})[0-9]{2}(?:-?[0-9]{4})?")
_YEARS_IN: Final = {"a": 1.0, "mo": 1 / 12, "wk": 7 / 365.25, "d": 1 / 365.25, "h": 1 / 8766, "min": 1 / 525960}


def year_of(value: str) -> int | None:
    """Give the year of a date, dateTime or instant; None if it is none or lies before the year 1."""
    whole = _DATE_TIME.fullmatch(value)
    matched = _DATE.fullmatch(whole[1] if whole else value)
    if matched is None or matched[1] == "0000":
        return None
    return int(matched[1]) if _day(matched) is not None else None


def to_year(value: str) -> str | None:
    """Cut a date, dateTime or instant to its year; None if it is none."""
    year = year_of(value)
    return None if year is None else f"{year:04d}"


def shift(value: str, days: int) -> str | None:
    """Move a date, dateTime or instant by whole days; time of day and zone stay.

    A date without a day can't be moved by days: the middle of the month or year is moved and its year given, so that
    it says no more than before and agrees with the whole dates beside it. None if `value` is no date, or if the
    result leaves the years 1 to 9999.
    """
    whole = _DATE_TIME.fullmatch(value)
    matched = _DATE.fullmatch(whole[1] if whole else value)
    day = _day(matched) if matched else None
    if matched is None or day is None:
        return None
    try:
        moved = (day + timedelta(days=days)).isoformat()
    except OverflowError:
        return None
    if matched[3] is None:
        return moved[:4]
    return moved + whole[2] if whole else moved


def _day(matched: re.Match[str]) -> date | None:
    try:
        return date(int(matched[1]), int(matched[2] or 7), int(matched[3] or (15 if matched[2] else 1)))
    except ValueError:
        return None


def is_time(value: str) -> bool:
    """Whether `value` is a time of day."""
    return _TIME_OF_DAY.fullmatch(value) is not None


def is_over_89(value: Decimal | float, unit: str | None) -> bool:
    """Whether an age of `value` in the UCUM `unit` is over 89 years; one in a unit that is no time counts as years."""
    return Decimal(str(value)) * Decimal(_YEARS_IN.get(unit or "a", 1.0)) >= MAX_AGE_YEARS + 1


def zip3(value: str, sparse: frozenset[str] = SPARSE_ZIP3) -> str | None:
    """Cut a US ZIP code to its first three digits, 000 for an area in `sparse`; None if it is none."""
    matched = _ZIP.fullmatch(value.strip())
    if matched is None:
        return None
    return "000" if matched[1] in sparse else matched[1]


def derive_key(key: bytes, purpose: str) -> bytes:
    """Derive a key of 32 bytes for one purpose, so that no two kinds of pseudonym can be compared."""
    return hmac.digest(key, f"kopru fhir {purpose}".encode(), hashlib.sha256)


def pseudonymous_uuid(key: bytes, *parts: str) -> str:
    """Give the UUID (RFC 9562 5.8) that stands for `parts` under `key`: their lengths count, so none runs into another."""
    text = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
    digest = bytearray(hmac.digest(key, text, hashlib.sha256)[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(digest)))


def pseudonymous_oid(uid_key: bytes, urn: str) -> str:
    """Map ``urn:oid:…`` as the UIDs of the patient's DICOM data are mapped, so that both still point at each other."""
    return "urn:oid:" + map_uid(uid_key, urn.removeprefix("urn:oid:"))
