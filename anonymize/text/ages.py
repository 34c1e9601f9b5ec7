"""Ages of ninety and more, in digits and words: HIPAA lets younger ones stand (45 CFR 164.514(b)(2)(i)(C))."""

import re
from collections.abc import Iterator
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass

_DIGITS: Final = r"0?9\d|1[0-2]\d"
_TURKISH: Final = (
    r"doksan(?:\s?(?:bir|iki|uc|dort|bes|alti|yedi|sekiz|dokuz))?|yuz(?:\s(?:on|yirmi))?(?:\s?(?:bir|iki|uc|dort"
    r"|bes|alti|yedi|sekiz|dokuz))?"
)
_ENGLISH: Final = (
    r"ninety(?:[ -]?(?:one|two|three|four|five|six|seven|eight|nine))?|(?:one |a )?hundred(?:(?: and)? (?:one|two"
    r"|three|four|five|six|seven|eight|nine|ten))?"
)
_NUMBER: Final = rf"(?P<age>{_DIGITS}|{_TURKISH}|{_ENGLISH})"

_BEFORE_UNIT: Final = re.compile(
    rf"(?<![\w.,/-]){_NUMBER}(?=(?:'?[a-z]{{1,4}})?[ -]{{0,2}}(?:yas(?!a)|yasin|y/o\b|y\.?o\b|yo\b|yrs?\b(?!\sago)"
    rf"|years?[ -](?:old|of age)|-?year-?old|y\.o\.|years?\syoung"
    r"|years?\sof\sage|y(?=[ /]?[fmke]\b)|y(?=[),;.]|\s?$)|y\s?[,/]\s?[fmke]\b|(?:[ -]?)yr-old"
    r"|'l[iu]k\b|'?l[iu]k\sde[gm]|/[fm]\b|[fm]\b|lik\b|li yas"
    r"|yil[a-z]{0,4} (?:yas|omur)|lik (?:hasta|kadin|erkek|nine|dede)))"
)
_AGE_WORD: Final = re.compile(
    rf"\b(?:yas|yasi|yaslari|age|aged|ages)(?:'?[a-z]{{1,3}})?(?:\s?/\s?(?:cins(?:iyet)?|sex|gender))?(?:\s(?:is|was|of"
    rf"|at|as|olarak|olan))?\s?[:=(]?\s{{0,3}}{_NUMBER}(?!\w|[.,/]\d)"
)
_DICOM: Final = re.compile(r"(?<!\w)(?P<age>09\d|1[0-2]\d|9\d)(?=y\b)")
_TURNED: Final = re.compile(
    rf"\b(?:turned|turning|turns|reached|nearly|lived to(?: be)?|died at|at the age of|yasina|she is"
    rf"|he is)\s{_NUMBER}(?=[.,;]|\s?$|\s(?:last|this|in|and|but)\b)"
)


_KIN: Final = (
    r"(?:grand)?(?:mother|father|ma|pa)|mom|dad|mum|sister|brother|aunt|uncle|wife|husband|who|she|he|patient"
    r"|annesi|babasi"
    r"|dedesi|ninesi|babaannesi|anneannesi|teyzesi|esi"
)
_KIN_IS: Final = re.compile(
    rf"\b(?:{_KIN})(?:,|,?\s(?:is|was|(?:just |has )?turned|died at|simdi|su an|now|aged))\s(?:now |already )?"
    rf"{_NUMBER}(?=[.,;]|\s?$|\sand\b"
    rf"|\sbut\b)"
)
# "Hayriye Teyze (93)", "her grandmother (94)".
_IN_BRACKETS: Final = re.compile(
    rf"\b(?:{_KIN}|bey|hanim|teyze|amca|nine|dede|hasta|lady|gentleman|woman|man|resident)\s\({_NUMBER}\)"
)
# "Eleni Papadopulu, 95, diyabet": after a word with one capital, not after a value's name.
_AFTER_NAME: Final = re.compile(rf"(?<=[a-z]), {_NUMBER}(?=[,;]\s|\sand\s)")
_CAPITALISED_BEFORE: Final = re.compile(r"[^\W\d_]\w+ [A-ZÇĞİÖŞÜ][^\W\d_A-ZÇĞİÖŞÜ]+$")


def ages(note: Note) -> Iterator[Finding]:
    """Ages from ninety to 129; the number alone."""
    for pattern in (_BEFORE_UNIT, _AGE_WORD, _DICOM, _TURNED, _KIN_IS, _IN_BRACKETS):
        for match in pattern.finditer(note.folded):
            yield Finding(*match.span("age"), TextClass.AGE, "age")
    for match in _AFTER_NAME.finditer(note.folded):
        if _CAPITALISED_BEFORE.search(note.text, max(0, match.start() - 40), match.start()):
            yield Finding(*match.span("age"), TextClass.AGE, "age after a name")
