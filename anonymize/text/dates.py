"""Dates more precise than a year, in digits and words, Turkish and English; and the same dates, shifted, in their own
format.

A year alone stands (45 CFR 164.514(b)(2)(i)(C)). A date whose order of day and month nothing settles is never
shifted: a wrong reading would break the intervals that shifting is for.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, fold, table

_TURKISH_MONTHS: Final = [
    "Ocak",
    "Şubat",
    "Mart",
    "Nisan",
    "Mayıs",
    "Haziran",
    "Temmuz",
    "Ağustos",
    "Eylül",
    "Ekim",
    "Kasım",
    "Aralık",
]
_ENGLISH_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_TURKISH_SHORT: Final = ["Oca", "Şub", "Mar", "Nis", "May", "Haz", "Tem", "Ağu", "Eyl", "Eki", "Kas", "Ara"]
_ENGLISH_SHORT: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TURKISH_DAYS: Final = ["Pazartesi", "Salı", "Çarşamba", "Perşembe", "Cuma", "Cumartesi", "Pazar"]
_ENGLISH_DAYS: Final = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_ENGLISH_SHORT_DAYS: Final = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

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
    r"(?P<first>\d{1,2})(?P<gap>\s?[./-]\s?)(?P<second>\d{1,2})(?P=gap)'?(?P<year>\d{4}|\d{2})"
    r"|(?P<iso_year>(?:18|19|20)\d{2})(?P<iso_gap>[-./])(?P<iso_month>\d{1,2})(?P=iso_gap)(?P<iso_day>\d{1,2})"
    r"|(?P<compact_year>(?:19|20)\d{2})(?P<compact_month>0[1-9]|1[0-2])(?P<compact_day>0[1-9]|[12]\d|3[01])"
    r")(?P<time>t?(?<=[t\d])(?:(?<=t)|(?=\d{6}))\d{2}:?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?(?:z"
    r"|[+-]\d{2}:?\d{2})?)?(?!\d|[./-]\d|[a-su-z]{4})"
)
# "15.03-18.03.2024", "15-18.03.2024", "20.01.2024 - 25.01.2024"
_RANGE: Final = re.compile(
    r"(?<![\w.,/:-])(?P<since>\d{1,2}(?:[./]\d{1,2}(?:[./](?:19|20)?\d{2})?)?)\.?\s?-\s?"
    r"(?P<until>(?P<day>\d{1,2})[./](?P<month>\d{1,2})[./](?:(?:19|20)\d{2}|\d{2}))(?!\d|[./-]\d)"
)
_SPACED: Final = re.compile(r"(?<![\w.,/:-])(?<!\d )(?P<day>\d{2}) (?P<month>\d{2}) (?:19|20)\d{2}(?![\w%]|[ .,/:-]\d)")
_ROMAN: Final = re.compile(r"(?<![\w.,/:-])\d{1,2}[./ -](?:x|ix|iv|v?i{1,3}|v|xi{1,2})[./ -](?:19|20)\d{2}(?!\d)")
_MONTH_YEAR: Final = re.compile(
    r"(?<![\w.,/:-])(?:(?:0?[1-9]|1[0-2])[/-]|(?:0[1-9]|1[0-2])\.)(?:19|20)\d{2}(?![\d%]|[.,/-]\d|\s?(?:mg|ml"
    r"|mm|cm)\b)"
)
_YEAR_MONTH: Final = re.compile(r"(?<![\w.,/:-])(?:19|20)\d{2}[-/](?:0[1-9]|1[0-2])(?![\d%]|[.,/-]\d)")
_DAY_MONTH: Final = re.compile(
    r"(?<![\w.,/:-])(?P<first>\d{1,2})(?P<gap>[./])(?P<second>\d{1,2})(?![\d%]|[.,/-]\d)\.?"
    r"(?P<told>(?='?[a-z]{0,4}\s(?:tarih|gun[lu]|gecesi|sabahi|aksami))|(?='[dt][ae]n?\b))?"
)
_SHORT_DAYS: Final = "mon|tues?|wed|thu(?:rs?)?|fri|sat|sun|pzt|sal|car|per|cum|cmt"
_DATE_BEFORE: Final = re.compile(
    rf"\b(?:on|dated?|since|tarih(?:i|li|inde)?|dob|exam|scheduled for|until|till|from|due|{'|'.join(_WEEKDAYS)}"
    rf"|{_SHORT_DAYS}|(?:study|exam|scan|report|films?|images?|ct|mri?|radiograph|visit|note|letter|labs?|appt"
    r"|appointment|seen|admitted|randevu|kontrol)\s(?:of|from|for|at))[.,]?\s?:?\s?$"
)
_SHORT_DAY_BEFORE: Final = re.compile(rf"\b(?:{'|'.join(_WEEKDAYS)}|{_SHORT_DAYS})[.,]?\s$")
_BIRTH_BEFORE: Final = re.compile(
    r"\b(?:dob|d\.o\.b|born|birth(?:day|date)?|dogum(?:\st|\startihi?|lu)?|dt|d\.\s?t)[.:]{0,2}[^\w]{0,3}$"
)

_UNITS_TR: Final = r"bir|iki|uc|dort|bes|alti|yedi|sekiz|dokuz"
_DAY_TR: Final = rf"(?:(?:on|yirmi)\s?(?:{_UNITS_TR})?|otuz(?:\s?bir)?|{_UNITS_TR})(?:inci|nci|uncu|ncu)?"
_TENS_TR: Final = r"on|yirmi|otuz|kirk|elli|altmis|yetmis|seksen|doksan"
_YEAR_TR: Final = rf"(?:iki\s?bin|bin\s?dokuz\s?yuz)(?:\s?(?:{_TENS_TR}))?(?:\s?(?:{_UNITS_TR}))?"
_UNITS_EN: Final = r"one|two|three|four|five|six|seven|eight|nine"
_TEENS_EN: Final = r"ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS_EN: Final = r"twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_BELOW_100: Final = rf"(?:(?:{_TENS_EN})(?:[ -](?:{_UNITS_EN}))?|{_TEENS_EN}|(?:oh[ -])?(?:{_UNITS_EN}))"
_YEAR_EN: Final = (
    rf"(?:two thousand(?:(?: and)? {_BELOW_100})?|(?:nineteen|twenty)(?: hundred(?: and)?)?[ -]{_BELOW_100})"
)
_ORDINAL_UNITS: Final = r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth"
_DAY_EN: Final = (
    rf"(?:(?:twenty|thirty)[ -](?:{_ORDINAL_UNITS})|{_ORDINAL_UNITS}|tenth|eleventh|twelfth|thirteenth|fourteenth|"
    r"fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth)"
)
_WEEKDAY: Final = rf"(?:{'|'.join(sorted(_WEEKDAYS, key=len, reverse=True))})"
_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR: Final = r"(?:18|19|20)\d{2}"

_MONTH_NAMES: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_MONTH: Final = re.compile(rf"(?<![a-z])(?P<month>{_MONTH_NAMES})(?P<suffix>[a-z]{{0,5}})(?![a-z])")
_SUFFIX: Final = re.compile(r"(?:i|in|u|un|a|e|da|de|ta|te|tan|ten|dan|den|inda|unda|indan|undan|ina|una|ayi)?")
_LEFT: Final = re.compile(
    rf"(?<![\w.,/])(?:(?P<weekday>{_WEEKDAY})(?:\s(?:gunu|the))?[,.]?\s{{1,2}}(?:the )?)?"
    rf"(?:(?P<day>{_DAY})(?:st|nd|rd|th|\.)?(?:\s?-\s?{_DAY}\.?)?|(?P<ordinal>{_DAY_EN}|{_DAY_TR})"
    rf"|(?P<year>{_YEAR})(?:'?(?:in|un|nin|nun))?(?:\s(?:yili?|senesi)(?:nin)?)?)"
    r"(?:(?:\sday)?\sof)?[ .,/-]{0,2}$"
)
_DAY_BEFORE: Final = re.compile(
    rf"(?<![\w.,/])(?:{_DAY}(?:st|nd|rd|th)?,? )?{_DAY}(?:st|nd|rd|th)?\s(?:ve|and|to|ile|&)\s$"
)
_WEEKDAY_BEFORE: Final = re.compile(rf"(?<![\w.,/])(?P<weekday>{_WEEKDAY})(?:\sthe)?[,.]?\s{{1,2}}(?:the )?$")
_TURKISH: Final = frozenset(fold(name) for name in _TURKISH_MONTHS)
_RIGHT: Final = re.compile(
    rf"(?:'?(?:in|un|nin|nun)?(?:\s?ayi(?:nin"
    rf"|nda)?)?\s?(?=[\w]))?(?:[ .,/-]{{0,2}}(?:the\s)?(?:(?P<day>{_DAY})(?:st|nd|rd|th)?(?![\d:]|[.,/]\d|\s?(?:mg"
    rf"|ml|mm|cm|%))(?:\s?-\s?{_DAY}(?!\d))?|(?P<ordinal>{_DAY_EN}|{_DAY_TR}(?:s?[iu])?(?:n?[dt][ae]n?|n?[ae])?)\b(?!\s?bin\b"
    rf"|[ -](?:hundred|thousand))))?"
    rf"(?:[ .,/-]{{0,2}}(?:of\s|in\s)?(?:(?P<year>{_YEAR}|'\d\d)(?![\d]|[.,]\d)|(?P<year_words>{_YEAR_TR}"
    rf"|{_YEAR_EN})\b))?"
    rf"(?:(?:,?\s{{1,2}}|(?<=\s))\(?(?P<weekday>{_WEEKDAY})\b)?"
)
_SHORT_RIGHT: Final = re.compile(r"[./-](?P<year>\d\d)(?!\d)")
# Small letters after a day: "5 mart", "12 aralik'ta", "3 oct"; before one: "march 5".
_DATED: Final = re.compile(
    r"(?:mart|ocak|jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec|march|august)\b"
    r"|(?:ekim|kasim|aralik)(?:'?[dt][ae]n?\b|\s(?:gunu|tarihi|sabah|aksam|gece|pazar|sali|carsamba|persembe|cuma))"
)
_DATED_BEFORE_DAY: Final = frozenset(
    ("jan", "feb", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "march", "august")
)


def dates(note: Note) -> Iterator[Finding]:
    """Dates: day, month and year; month and year; day and month."""
    for match in _NUMERIC.finditer(note.folded):
        if _readings(match) or _is_birth(note, match):
            yield Finding(*match.span(), TextClass.DATE, "date in digits")
    yield from _ranges_and_rarer_forms(note)
    for pattern in (_MONTH_YEAR, _YEAR_MONTH):
        for match in pattern.finditer(note.folded):
            yield Finding(*match.span(), TextClass.DATE, "month and year in digits")
    for match in _DAY_MONTH.finditer(note.folded):
        before = note.folded[max(0, match.start() - 24) : match.start()]
        if (match["told"] is not None or _DATE_BEFORE.search(before)) and _fits(
            int(match["first"]), int(match["second"])
        ):
            weekday = _SHORT_DAY_BEFORE.search(before)
            start = match.start() - (len(weekday[0]) if weekday else 0)
            yield Finding(start, match.end("second"), TextClass.DATE, "day and month in digits")
    for match in _MONTH.finditer(note.folded):
        if found := _around_month(note, match):
            yield Finding(*found, TextClass.DATE, "date with a month's name")


def _ranges_and_rarer_forms(note: Note) -> Iterator[Finding]:
    """Dates of a range, each by itself; digits with spaces between; Roman months."""
    for match in _RANGE.finditer(note.folded):
        if _fits(int(match["day"]), int(match["month"])):
            yield Finding(*match.span("since"), TextClass.DATE, "date in digits, of a range")
            yield Finding(*match.span("until"), TextClass.DATE, "date in digits, of a range")
    for match in _SPACED.finditer(note.folded):
        if _fits(int(match["day"]), int(match["month"])):
            yield Finding(*match.span(), TextClass.DATE, "date in digits, apart")
    for match in _ROMAN.finditer(note.folded):
        yield Finding(*match.span(), TextClass.DATE, "date with a Roman month")


def _is_birth(note: Note, match: re.Match[str]) -> bool:
    """Whether digits with a year of two ("5.5.55", "8-8-88"), which may be a version, follow a word for birth or are
    marked as a year by an apostrophe.
    """
    if not match["first"] or not _fits(int(match["first"]), int(match["second"])):
        return False
    before = note.folded[max(0, match.start() - 16) : match.start()]
    announced = _BIRTH_BEFORE.search(before) or _DATE_BEFORE.search(before)
    return note.folded[match.start("year") - 1] == "'" or bool(announced)


def _fits(first: int, second: int) -> bool:
    return (1 <= first <= 31 and 1 <= second <= 12) or (1 <= first <= 12 and 1 <= second <= 31)


def _around_month(note: Note, match: re.Match[str]) -> tuple[int, int] | None:
    """The span of the date around a month's name, if there is a day or a year beside it."""
    word, suffix = match["month"], match["suffix"]
    if not _SUFFIX.fullmatch(suffix):
        return None
    low = max(0, match.start() - 60)
    right = _RIGHT.match(note.folded, match.end())
    if right is None:
        return None
    right_day = right["day"] or right["ordinal"]
    right_year = right["year"] or right["year_words"]
    left = _left(note.folded[low : match.start()], match, bool(right_day))
    capital = note.text[match.start()].isupper()
    if not (left or right_day or right_year):
        return None
    if not capital and word in table("unclear_months") and not (right_year and (left or right_day or len(word) > 3)):
        day = bool(left and left.groupdict().get("day"))
        if not (day and _DATED.match(note.folded, match.start())) and not (
            (right["day"] and word in _DATED_BEFORE_DAY) or (right["ordinal"] and "ayi" in right[0])
        ):
            return None
    start = low + left.start() if left else match.start()
    if (
        left
        and left.groupdict().get("day")
        and (one_more := _DAY_BEFORE.search(note.folded, max(0, start - 12), start))
    ):
        start = one_more.start()
    names = [name for name in ("day", "ordinal", "year", "year_words", "weekday") if right[name]]
    end = max((right.end(name) for name in names), default=match.end())
    if not names and (short := _SHORT_RIGHT.match(note.folded, match.end())):
        end = short.end()
    elif right["day"] or right["ordinal"]:
        end = max(end, right.end() if not right["weekday"] else end)
    return start, len(note.folded[:end].rstrip(" .,/-'("))


def _left(before: str, month: re.Match[str], has_day: bool) -> re.Match[str] | None:
    """The day, year or weekday before a month: "on" is ten in Turkish, and no day before an English month."""
    left = _LEFT.search(before)
    if left and (left["ordinal"] or "").strip() == "on" and (has_day or month["month"] not in _TURKISH):
        return None if not has_day else _WEEKDAY_BEFORE.search(before)
    if left is None and has_day:
        return _WEEKDAY_BEFORE.search(before)
    return left


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


_WRITTEN: Final = (
    re.compile(
        rf"(?:(?P<weekday>{_WEEKDAY})[,.]?\s{{1,2}})?(?P<day>\d{{1,2}})(?P<ordinal>st|nd|rd"
        rf"|th)?\.?(?: day)?(?: of)?[ .,/-]{{1,2}}"
        rf"(?P<month>{_MONTH_NAMES})[ .,/-]{{1,2}}(?P<year>\d{{4}})"
        rf"(?:,?\s{{1,2}}(?P<after>{_WEEKDAY}))?"
    ),
    re.compile(
        rf"(?:(?P<weekday>{_WEEKDAY})[,.]?\s{{1,2}})?"
        rf"(?P<month>{_MONTH_NAMES})[ .]{{1,2}}"
        rf"(?P<day>\d{{1,2}})(?P<ordinal>st|nd|rd|th)?,?\s(?P<year>\d{{4}})(?:,?\s{{1,2}}(?P<after>{_WEEKDAY}))?"
    ),
)


def day_first(text: str) -> bool | None:
    """How this text's dates with slashes are to be read, by those with one reading only; None if nothing says."""
    orders = set()
    for match in _NUMERIC.finditer(fold(text)):
        if match["year"] and match["gap"].strip() == "/" and len(_readings(match)) == 1:
            orders.add(int(match["first"]) > 12)
    return orders.pop() if len(orders) == 1 else None


def shifted(written: str, shift: Callable[[date], date], *, slashes_day_first: bool | None) -> str | None:
    """A full date in digits, or with its month's name, shifted and written as it was; None if it is no such date, its
    order of day and month is uncertain, or the calendar ends.
    """
    folded = fold(written)
    try:
        if match := _NUMERIC.fullmatch(folded):
            return _shifted_digits(written, match, shift, slashes_day_first)
        for pattern in _WRITTEN:
            if match := pattern.fullmatch(folded):
                return _shifted_words(written, match, shift)
    except OverflowError:
        return None
    return None


def _shifted_digits(
    written: str, match: re.Match[str], shift: Callable[[date], date], slashes_day_first: bool | None
) -> str | None:
    readings = _readings(match)
    names = ("year", "second", "first")
    if not match["year"]:
        kind = "iso" if match["iso_year"] else "compact"
        names = (f"{kind}_year", f"{kind}_month", f"{kind}_day")
    elif match["gap"].strip() == "/":
        if len(readings) != 1 and slashes_day_first is None:
            return None
        month_first = int(match["second"]) > 12 or (len(readings) > 1 and not slashes_day_first)
        names = ("year", "first", "second") if month_first else names
    then = _date(match[names[0]], match[names[1]], match[names[2]])
    if then is None:
        return None
    now = shift(then)
    values = (f"{now.year:04}"[-len(match[names[0]]) :], str(now.month), str(now.day))
    padded = any(match[name].startswith("0") for name in names[1:]) or all(len(match[name]) == 2 for name in names[1:])
    return _replaced(
        written,
        match,
        {name: value.zfill(2) if padded else value for name, value in zip(names, values, strict=True)},
    )


def _shifted_words(written: str, match: re.Match[str], shift: Callable[[date], date]) -> str | None:
    month, names = _MONTHS[match["month"]]
    then = _date(match["year"], str(month), match["day"])
    if then is None:
        return None
    now = shift(then)
    new = {"year": f"{now.year:04}", "day": str(now.day).zfill(len(match["day"]) if match["day"][0] == "0" else 1)}
    new["month"] = _cased(
        names[now.month - 1], written[slice(*match.span("month"))], turkish=names[0] in ("Ocak", "Oca")
    )
    if match["ordinal"]:
        new["ordinal"] = "th" if 10 < now.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(now.day % 10, "th")
    for place in ("weekday", "after"):
        if match[place]:
            weekdays = _WEEKDAYS[match[place]]
            like = written[slice(*match.span(place))]
            new[place] = _cased(weekdays[now.weekday()], like, turkish=weekdays is _TURKISH_DAYS)
    return _replaced(written, match, new)


def _cased(word: str, like: str, *, turkish: bool) -> str:
    if like.isupper():
        return word.replace("i", "İ").upper() if turkish else word.upper()
    return word if like[0].isupper() else word.lower()


def _replaced(written: str, match: re.Match[str], new: dict[str, str]) -> str:
    pieces: list[str] = []
    done = 0
    for name in sorted(new, key=match.start):
        pieces += written[done : match.start(name)], new[name]
        done = match.end(name)
    return "".join((*pieces, written[done:]))
