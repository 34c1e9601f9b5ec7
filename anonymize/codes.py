"""Judges a coded entry (PS3.3 8): whether its code is a code, and whether its meaning is what the scheme publishes.

Code Meaning and the codes of private schemes are text that people type. So a code stays only if the terminologies that
`pydicom` carries know it, or if it has the form its standard scheme gives to codes; a meaning stays only if it is a
published one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from stdnum import verhoeff

CODE_VALUE: Final = 0x00080100
CODING_SCHEME_DESIGNATOR: Final = 0x00080102
CODING_SCHEME_VERSION: Final = 0x00080103
CODE_MEANING: Final = 0x00080104
LONG_CODE_VALUE: Final = 0x00080119
URN_CODE_VALUE: Final = 0x00080120

CODE_ATTRIBUTES: Final = frozenset(
    {CODE_VALUE, CODING_SCHEME_DESIGNATOR, CODING_SCHEME_VERSION, CODE_MEANING, LONG_CODE_VALUE, URN_CODE_VALUE}
)

_UNIT: Final = (
    r"(?:[fpnumcdhkMGT]?(?:m|s|g|l|L|mol|Hz|Pa|V|A|W|J|N|Gy|Sv|Bq|T|K|eq|bit|By|rad|sr|lm|lx|ohm)|min|h|d|wk|mo|a|deg"
    r"|Cel|%|1|10\*[0-9]|mm\[Hg\]|\[hnsf'U\]|dB|B|\{(?:ratio|counts|pixels|beats|shots|count|times)\})[2-9]?"
)

_FORMS: Final = {  # by designator (PS3.16 Table 8-1): what that scheme's codes look like, no wider
    designator: re.compile(form)
    for designators, form in (
        ("DCM", r"1[0-3]\d{4}"),
        ("SCT", r"[1-9]\d{2,14}(?:0|1)[0-2]\d"),  # partition and check digit at the end
        ("SRT SNM3 99SDM", r"[A-Z][0-9A-F]?-[0-9A-F]{4,5}"),
        ("LN", r"\d{3,5}-\d"),
        ("I9 I9C", r"[VE]?\d{2,3}(?:\.\d{1,2})?"),
        ("I10 I10C", r"[A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})?"),
        ("RADLEX", r"RID\d{1,5}"),
        ("NCIt", r"C\d{3,6}"),
        ("MSH", r"D\d{6,9}"),
        ("FMA", r"\d{4,6}"),
        ("UMLS", r"C\d{7}"),
        ("UCUM", rf"{_UNIT}(?:[./]{_UNIT}){{0,3}}"),
    )
    for designator in designators.split()
}
_VERSION: Final = re.compile(r"\d{1,8}(?:[._-]?\d{1,8}){0,3}|v\d{1,3}(?:\.\d{1,3})?|R\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What of a coded entry may stay. `meaning` is the published one, None if there is none or it is not known."""

    code: bool
    version: bool
    meaning: bool


def judge(value: str, scheme: str, version: str, meaning: str) -> Judgement:
    """Judge the decoded, stripped values of one entry; "" for what it lacks."""
    published = _published().get(scheme, {}).get(value)
    form = _FORMS.get(scheme)
    formed = form is not None and form.fullmatch(value) is not None
    known = published is not None or (formed and (scheme != "SCT" or verhoeff.is_valid(value)))
    return Judgement(
        code=known,
        version=known and _VERSION.fullmatch(version) is not None,
        meaning=published is not None and _plain(meaning) in published,
    )


def published_meanings() -> Iterator[str]:
    """All meanings that are published, in a plain form."""
    return (meaning for codes in _published().values() for meanings in codes.values() for meaning in meanings)


@cache
def _published() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """By designator and code, the published meanings in a plain form."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    published: dict[str, dict[str, frozenset[str]]] = {}
    terminologies: Mapping[str, Any] = concepts
    for scheme, by_keyword in terminologies.items():
        codes = published.setdefault(scheme, {})
        for entries in by_keyword.values():
            for code, (meaning, _) in entries.items():
                codes[code] = codes.get(code, frozenset()) | {_plain(meaning)}
    sct = published["SCT"]
    published["SRT"] = {old: sct[new] for old, new in mapping["SRT"].items() if new in sct}
    return published


def _plain(meaning: str) -> str:
    return " ".join(meaning.casefold().split())
