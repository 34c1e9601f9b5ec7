"""Dates more precise than a year, in digits and words, Turkish and English; and the same dates, shifted, in their own format.

A year alone stands (45 CFR 164.514(b)(2)(i)(C)). A date whose order of day and month nothing settles is never shifted: a wrong
reading would break the intervals that shifting is for.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, fold

_TURKISH_MONTHS: Final = "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık".split()
_ENGLISH_MONTHS: Final = (
    "January February March April May June July August September October November December".split()
)
_TURKISH_SHORT: Final = "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara".split()
_ENGLISH_SHORT: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TURKISH_DAYS: Final = "Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi Pazar".split()
_ENGLISH_DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_ENGLISH_SHORT_DAYS: Final = "Mon Tue Wed Thu Fri Sat Sun".split()

# English before Turkish: "mar" and "may" are both, and the same months in both.
_MONTHS: Final = {
    fold(name): (number, names)
    for names in (_TURKISH_SHORT, _ENGLISH_SHORT, _TURKISH_MONTHS, _ENGLISH_MONTHS)
    for number, name in enumerate(names, start=1)
} | {"sept": (9, _ENGLISH_SHORT)}
_WEEKDAYS: Final = {
    fold(name): names for names in (_TURKISH_DAYS, _ENGLISH_DAYS, _ENGLISH_SHORT_DAYS) for name in names
}

_NUMERIC: Final = re.compile(
    r"(?<![\w.,/:-])(?:"
    r"(?P<first>\d{1,2})(?P<gap>\s?[./-]\s?)(?P<second>\d{1,2})(?P=gap)(?P<year>\d{4}|\d{2})"
    r"|(?P<iso_year>(?:18|19|20)\d{2})(?P<iso_gap>[-./])(?P<iso_month>\d{1,2})(?P=iso_gap)(?P<iso_day>\d{1,2})"
    r"|(?P<compact_year>(?:19|20)\d{2})(?P<compact_month>0[1-9]|1[0-2])(?P<compact_day>0[1-9]|[12]\d|3[01])"
    r")(?P<time>t?(?<=[t\d])(?:(?<=t)|(?=\d{6}))\d{2}:?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?(?:z|[+-]\d{2}:?\d{2})?)?(?!\d|[./-]\d|[a-su-z]{4})"
)
_MONTH_YEAR: Final = re.compile(r"(?<![\w.,/:-])(?:(?:0?[1-9]|1[0-2])[/-]|(?:0[1-9]|1[0-2])\.)(?:19|20)\d{2}(?![\d%]|[.,/-]\d|\s?(?:mg|ml|mm|cm)\b)")
_YEAR_MONTH: Final = re.compile(r"(?<![\w.,/:-])(?:19|20)\d{2}[-/](?:0[1-9]|1[0-2])(?![\d%]|[.,/-]\d)")
_DAY_MONTH: Final = re.compile(
    r"(?<![\w.,/:-])(?P<first>\d{1,2})(?P<gap>[./])(?P<second>\d{1,2})(?![\d%]|[.,/-]\d)\.?"
    r"(?P<told>(?='?[a-z]{0,4}\s(?:tarih|gun[lu]|gecesi|sabahi|aksami))|(?='[dt][ae]n?\b))?"
)
_DATE_BEFORE: Final = re.compile(r"\b(?:on|dated?|since|tarih(?:i|li|inde)?|dob|exam|scheduled for|until|till|from|due)\s?:?\s?$")

_UNITS_TR: Final = r"bir|iki|uc|dort|bes|alti|yedi|sekiz|dokuz"
_DAY_TR: Final = rf"(?:(?:on|yirmi)\s?(?:{_UNITS_TR})?|otuz(?:\s?bir)?|{_UNITS_TR})(?:inci|nci|uncu|ncu)?"
_TENS_TR: Final = r"on|yirmi|otuz|kirk|elli|altmis|yetmis|seksen|doksan"
_YEAR_TR: Final = rf"(?:iki\s?bin|bin\s?dokuz\s?yuz)(?:\s?(?:{_TENS_TR}))?(?:\s?(?:{_UNITS_TR}))?"
_UNITS_EN: Final = r"one|two|three|four|five|six|seven|eight|nine"
_TEENS_EN: Final = r"ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS_EN: Final = r"twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_BELOW_100: Final = rf"(?:(?:{_TENS_EN})(?:[ -](?:{_UNITS_EN}))?|{_TEENS_EN}|(?:oh[ -])?(?:{_UNITS_EN}))"
_YEAR_EN: Final = rf"(?:two thousand(?:(?: and)? {_BELOW_100})?|(?:nineteen|twenty)(?: hundred(?: and)?)?[ -]{_BELOW_100})"
_ORDINAL_UNITS: Final = r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth"
_DAY_EN: Final = (
    rf"(?:(?:twenty|thirty)[ -](?:{_ORDINAL_UNITS})|{_ORDINAL_UNITS}|tenth|eleventh|twelfth|thirteenth|fourteenth|"
    r"fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth)"
)
_WEEKDAY: Final = rf"(?:{'|'.join(sorted(_WEEKDAYS, key=len, reverse=True))})"
_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR: Final = r"(?:18|19|20)\d{2}"

_MONTH: Final = re.compile(
    rf"(?<![a-z])(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})(?P<suffix>[a-z]{{0,5}})(?![a-z])"
)
_SUFFIX: Final = re.compile(r"(?:i|in|u|un|a|e|da|de|ta|te|tan|ten|dan|den|inda|unda|indan|undan|ina|una|ayi)?")
_LEFT: Final = re.compile(
    rf"(?<![\w.,/])(?:(?P<weekday>{_WEEKDAY})(?:\s(?:gunu|the))?[,.]?\s{{1,2}}(?:the )?)?"
    rf"(?:(?P<day>{_DAY})(?:st|nd|rd|th|\.)?(?:\s?-\s?{_DAY}\.?)?|(?P<ordinal>{_DAY_EN}|{_DAY_TR})|(?P<year>{_YEAR})(?:'?(?:in|un|nin|nun))?(?:\s(?:yili?|senesi)(?:nin)?)?)"
    r"(?:(?:\sday)?\sof)?[ .,/-]{0,2}$"
)
_RIGHT: Final = re.compile(
    rf"(?:'?(?:in|un|nin|nun)?(?:\s?ayi(?:nin|nda)?)?\s?(?=[\w]))?(?:[ .,/-]{{0,2}}(?:the\s)?(?:(?P<day>{_DAY})(?:st|nd|rd|th)?(?![\d:]|[.,/]\d|\s?(?:mg|ml|mm|cm|%))(?:\s?-\s?{_DAY}(?!\d))?|(?P<ordinal>{_DAY_EN}|{_DAY_TR}(?:i|si|u|ine|inde)?)\b))?"
    rf"(?:[ .,/-]{{0,2}}(?:of\s|in\s)?(?:(?P<year>{_YEAR}|'\d\d)(?![\d]|[.,]\d)|(?P<year_words>{_YEAR_TR}|{_YEAR_EN})\b))?"
    rf"(?:,?\s{{1,2}}\(?(?P<weekday>{_WEEKDAY})\b)?"
)
_SHORT_RIGHT: Final = re.compile(rf"[./-](?P<year>\d\d)(?!\d)")
_AMBIGUOUS: Final = frozenset(("ocak", "ekim", "aralik", "kasim", "may", "march", "mar", "mart", "ara", "eki", "kas", "tem", "sub", "haz", "agu", "nis", "dec", "oct", "nov", "jan", "jun", "jul", "aug", "sep", "feb", "apr", "oca", "eyl", "sept", "august"))


def dates(note: Note) -> Iterator[Finding]:
    """Dates: day, month and year; month and year; day and month."""
    for match in _NUMERIC.finditer(note.folded):
        if _readings(match):
            yield Finding(*match.span(), TextClass.DATE, "date in digits")
    for pattern in (_MONTH_YEAR, _YEAR_MONTH):
        for match in pattern.finditer(note.folded):
            yield Finding(*match.span(), TextClass.DATE, "month and year in digits")
    for match in _DAY_MONTH.finditer(note.folded):
        before = note.folded[max(0, match.start() - 16) : match.start()]
        if (match["told"] is not None or _DATE_BEFORE.search(before)) and _fits(int(match["first"]), int(match["second"])):
            yield Finding(match.start(), match.end("second"), TextClass.DATE, "day and month in digits")
    for match in _MONTH.finditer(note.folded):
        if found := _around_month(note, match):
            yield Finding(*found, TextClass.DATE, "date with a month's name")


def _fits(first: int, second: int) -> bool:
    return (1 <= first <= 31 and 1 <= second <= 12) or (1 <= first <= 12 and 1 <= second <= 31)


def _around_month(note: Note, match: re.Match[str]) -> tuple[int, int] | None:
    """The span of the date around a month's name, if there is a day or a year beside it."""
    word, suffix = match["month"], match["suffix"]
    if not _SUFFIX.fullmatch(suffix):
        return None
    low = max(0, match.start() - 60)
    left = _LEFT.search(note.folded[low : match.start()])
    right = _RIGHT.match(note.folded, match.end())
    if right is None:
        return None
    right_day = right["day"] or right["ordinal"]
    right_year = right["year"] or right["year_words"]
    capital = note.text[match.start()].isupper()
    if not (left or right_day or right_year):
        return None
    if not capital and word in _AMBIGUOUS and not (right_year and (left or right_day or len(word) > 3)):
        return None
    start = low + left.start() if left else match.start()
    names = [name for name in ("day", "ordinal", "year", "year_words", "weekday") if right[name]]
    end = max((right.end(name) for name in names), default=match.end())
    if not names and (short := _SHORT_RIGHT.match(note.folded, match.end())):
        end = short.end()
    elif right["day"] or right["ordinal"]:
        end = max(end, right.end() if not right["weekday"] else end)
    return start, len(note.folded[:end].rstrip(" .,/-'("))


def _readings(match: re.Match[str]) -> tuple[date, ...]:
    """The dates that digits may mean: none, one, or day-first and month-first."""
    for kind in ("iso", "compact"):
        if match[f"{kind}_year"]:
            one = _date(match[f"{kind}_year"], match[f"{kind}_month"], match[f"{kind}_day"])
            return (one,) if one else ()
    year, first, second = match["year"], match["first"], match["second"]
    if len(year) == 2 and match["gap"].strip() != "/" and (len(first), len(second)) != (2, 2):
        return ()
    both = (_date(year, second, first), _date(year, first, second))
    return tuple(dict.fromkeys(one for one in both if one))


def _date(year: str, month: str, day: str) -> date | None:
    full = int(year) if len(year) == 4 else int(year) + (1900 if int(year) > 68 else 2000)
    try:
        return date(full, int(month), int(day))
    except ValueError:
        return None
