"""Telephone, fax and pager numbers with country code and extension, Turkish and North American first.

Patterns propose, `phonenumbers` (the ITU's and regulators' numbering plans) decides where neither a word such as
"tel" nor the way it is written says that it is one. Measurements, dates and bare digit runs must not become
telephones.
"""

import re
from collections.abc import Iterator
from typing import Final

import phonenumbers

from anonymize.text.finding import Finding, Note, TextClass

_EXTENSION: Final = (
    r"(?:\s{0,2}[,(/;-]?\s{0,2}(?:dahili|dah\b|ic hat|extension|ext\b|x(?=\s?\d))(?:\s(?:no"
    r"|numarasi))?[.:]?\s{0,2}\d{1,6}(?!\d)\)?)?"
)
_CANDIDATE: Final = re.compile(
    r"(?:(?<![\w+.,/-])|(?<=\btel)|(?<=\bgsm)|(?<=\bcep)|(?<=\bfax)|(?<=\bfaks))(?:"
    r"(?P<turkish>(?:(?:\+|00)\s?90[ .-]?|\(\+90\)\s?|90[ .-])?(?:\(0?[2-58]\d{2}\)"
    r"|0?[ ./-]?\(?[2-58]\d{2}\)?)[ ./-]{0,2}\d{3}[ ./-]?\d{2}[ ./-]?\d{2})"
    r"|(?P<american>(?:\+?1[ .-]?)?(?:\(\d{3}\)|\d{3})[ ./-]{0,2}\d{3}[ .-]{0,2}\d{4})"
    r"|(?P<national>444[ .-]?(?:\d[ .-]?\d{3}|\d{2}[ .-]?\d{2}))"
    r"|(?P<international>(?:\+|00)\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4})"
    r"|(?P<british>\(?0[127]\d{1,4}\)?[ -]?\d{3,4}[ -]?\d{3,4})"
    r"|(?P<short>\d{3}[ .-]\d{2}[ .-]\d{2}|\d{3}[ .-]\d{4}|\d-\d{4}|\d{4,7})"
    r")(?![\d]|[.,/]\d|-\d|\s?%)" + _EXTENSION
)
_ANNOUNCED: Final = re.compile(
    r"(?:\btel\b|\btelefon|\btelephone|\bphone|\bgsm\b|\bcep(?:\s|i|\b)|\bfa(?:x|ks)\b|\bpager|\bbeeper|\bcell\b"
    r"|\bmobile\b|\bmobil\b|"
    r"\bcall(?:ed|back|ing)?\b|\bcagri\b|\biletisim|\bcontact(?:\s(?:no|number))?\b|\bwhats?app|\bulasil"
    r"|\breach(?:able|ed)?\s|"
    r"\bpaged?\b|\bdial\b|\bhattı?\b|\bhatti\b|\boffice\b|\bhome\b|\bwork\b|\bclinic\b|\bmuayenehane)[^\d\n]{0,30}$"
)
_AFTER: Final = re.compile(
    r"\s?(?:'?[a-z]{1,5}\s)?(?:numarali|nolu|no'lu|numarasi|numara)?\s?(?:telefon|gsm|cep"
    r"|hat|'?[dt]en ulas|'?[dt]an ulas)"
)
_SHORT_ANNOUNCED: Final = re.compile(
    r"(?:\btel\b|\btelefon[a-z]{0,6}|\bphone|\bgsm\b|\bcep\b|\bfa(?:x|ks)\b|\bpager|\bbeeper|\bcell\b|\bcall(?:ed"
    r"|back)?\b|\bpaged?\b)"
    r"(?:'?[a-z]{1,3})?\s?(?:no|nosu|number|numarasi|is|at|on)?\s?(?:#|at|on|is)?\s?[.:#]{0,2}\s{0,2}$"
)
_EXTENSION_ALONE: Final = re.compile(
    r"\b(?:dahili|dah\.|ic hat|extension|ext)(?:\s(?:no|numarasi|number"
    r"|hat))?(?:'?[a-z]{1,3})?\s?[.:#]{0,2}\s{0,2}(?P<number>\d{3,6})(?![\w]|[.,]\d)"
)


# "555-0134" without an area: no range of values is written so, with a unit after it or from round to round.
_LOCAL: Final = re.compile(
    r"[2-9]\d{2}-(?!\d\d00)\d{4}(?!\s?(?:[a-z]{1,2}\b|mm|cm|mg|mcg|kcal|cal|iu|hu|units?|%|/|-|x))"
)


def phones(note: Note) -> Iterator[Finding]:
    """Telephone numbers, and extensions alone where they are called that."""
    folded = note.folded
    for match in _CANDIDATE.finditer(folded):
        before = folded[max(0, match.start() - 44) : match.start()]
        if match["short"]:
            told = bool(_SHORT_ANNOUNCED.search(before) or (len(match["short"]) > 6 and _ANNOUNCED.search(before)))
            told = (
                told
                or bool(_LOCAL.match(folded, match.start(), match.end() + 12))
                or _is_all_in_brackets(folded, match)
            )
        else:
            told = bool(
                _is_written_as_phone(match)
                or _ANNOUNCED.search(before)
                or _AFTER.match(folded, match.end(), match.end() + 40)
            )
        if told:
            end = match.end() - (folded[match.end() - 1] == ")" and "(" not in match[0])
            start = match.start() + (match[0].startswith("(") and ")" not in match[0])
            yield Finding(start, end, TextClass.PHONE, "phone")
    for match in _EXTENSION_ALONE.finditer(folded):
        yield Finding(*match.span("number"), TextClass.PHONE, "extension")


def _is_all_in_brackets(folded: str, match: re.Match[str]) -> bool:
    """Whether seven digits in two groups stand alone between brackets: "(555 0134)"."""
    around = folded[max(0, match.start() - 1) : match.end() + 1]
    return bool(re.fullmatch(r"\([2-9]\d{2}[ -]\d{4}\)", around))


def _is_written_as_phone(match: re.Match[str]) -> bool:
    """Whether its form alone says what it is: a country code, or a number of the plan in its usual groups."""
    if match["international"]:
        return _fits(match["international"].replace("00", "+", 1) if match[0].startswith("00") else match[0], None)
    if match["british"]:
        return not match["british"].isdigit() and sum(map(str.isdigit, match["british"])) in (10, 11)
    if match["national"]:
        return not match["national"].isdigit()
    if turkish := match["turkish"]:
        trunk = turkish.startswith(("+", "0", "(", "90"))
        return (trunk or not turkish.isdigit() or turkish.startswith("5")) and (
            _fits(turkish, "TR") or (not turkish.isdigit() and trunk) or _is_grouped(turkish)
        )
    american = match["american"]
    return not american.isdigit() and (_is_grouped(american) or american.startswith("+") or _fits(american, "US"))


def _is_grouped(number: str) -> bool:
    """(212) 555 0134, 212-555-0134, 212.555.0134."""
    return bool(re.fullmatch(r"(?:\+?1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}([.-]))\d{3}[.-]\d{4}", number))


def _fits(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
