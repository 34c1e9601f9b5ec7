"""Knows the words that code strings and technical text are made of, so that anything else in them can go.

Nothing stops a sender from putting a name into Image Type or Software Versions. A word stays if the standard uses it
(in the names of attributes and UIDs, in the published meanings of codes, as a defined term), if a maker of devices or
a Turkish radiologist does, or if it is too short to say who somebody is. A patient's name can be such a word, too:
`anonymize.identifiers` looks for the patient's own.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary

from anonymize.codes import published_meanings
from anonymize.escapes import unescaped
from anonymize.identifiers import folded, plain

TERMS: Final = "terms.txt"
_DEVICES: Final = "device_words.txt"
_TURKISH: Final = "turkish_words.txt"
_PATIENTS: Final = "patient_words.txt"

_TOKEN: Final = re.compile(r"[^\W_]+")
_RUN: Final = re.compile(r"[^\W\d_]+|\d+")
_LETTERS: Final = re.compile(r"[a-z]{4,}")
_YEAR: Final = r"(?:19|20)\d\d"
_DATE: Final = re.compile(rf"(?<!\d)(?:\d{{1,2}}([./-])\d{{1,2}}\1{_YEAR}|{_YEAR}([./-])\d{{1,2}}\2\d{{1,2}})(?!\d)")
_MOST_DIGITS: Final = 10  # of a version; a telephone number has more
_DATE_OR_TOKEN: Final = re.compile(r"(?P<date>\d{1,4}([./-])\d{1,2}\2\d{1,4})|[^\W_]+")
_NO_DECIMAL: Final = r"(?!\d+\.\d+(?![.\d]))"
_LETTERS_APART: Final = re.compile(r"(?<![^\W_])[^\W\d_](?:[\s.,_/-]{1,2}[^\W\d_](?![^\W_])){3,}")
_APART: Final = re.compile(  # a word letter by letter, in bytes, a number in groups of digits
    rf"{_LETTERS_APART.pattern}|(?<!\w)(?:[0-9A-Fa-f]{{2}}[\s:,-]){{3,}}[0-9A-Fa-f]{{2}}(?!\w)|(?<![\w.,])(?=(?:\D?\d){{6}}){_NO_DECIMAL}\d{{1,3}}(?:(?:[\s/-]{_NO_DECIMAL}|\.)\d{{1,3}}){{2,}}(?!\w|[.,]\d)"
)
_MARK: Final = "[-]"
_SHORT: Final = 3
_SHORT_MIXED: Final = 6  # letters and digits, as in B30f or VB20P
_SHORT_NUMBER: Final = 5
_SIZE: Final = re.compile(r"\d\d?(in|cm)x\d\d?\1")  # of a cassette (PS3.3 C.8.1.1)


_remembered: Final[set[str]] = set()  # texts that were found known: what is not may name somebody
_MOST_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 64


def is_known(text: str) -> bool:
    """Whether every word of `text` may stay. A series says the same in each of its instances, so that what may stay is
    remembered.
    """
    if text in _remembered:
        return True
    read = unescaped(text)
    known = read is not None and _is_of_known_words(plain(read))
    if known and len(text) <= _LONGEST_REMEMBERED and len(_remembered) < _MOST_REMEMBERED:
        _remembered.add(text)
    return known


def _is_of_known_words(text: str) -> bool:
    if (
        _DATE.search(text)
        or _LETTERS_APART.search(text)
        or sum(character.isdigit() for character in text) > _MOST_DIGITS
    ):
        return False
    return all(_is_short(token) or _is_known(token) for token in _TOKEN.findall(text))


def _is_short(token: str) -> bool:
    """Whether it says nobody's name: in scripts other than Latin, a name can be one sign long."""
    return len(token) <= _SHORT and token.isascii()


def redacted(text: str) -> str:
    """`text` with a mark in the place of each word that is not known, of dates, of numbers that may be a year, and of
    words and numbers in pieces.
    """
    return _DATE_OR_TOKEN.sub(_kept_or_marked, _APART.sub(_MARK, plain(text)))


def _kept_or_marked(match: re.Match[str]) -> str:
    token = match[0]
    if match["date"] or (token.isdigit() and len(token) > _SHORT):
        return _MARK
    return token if _is_short(token) or _is_known(token) else _MARK


def _is_known(token: str) -> bool:
    if token.isdigit():
        return len(token) <= _SHORT_NUMBER
    known = known_words()
    word = folded(token)
    if not word.isascii():
        return False
    if word in known:
        return True
    runs = _RUN.findall(word)
    if len(runs) == 1:
        return False
    if len(token) <= _SHORT_MIXED or _SIZE.fullmatch(word):
        return True
    rest = [run for run in runs if run not in known]
    return len(rest) < len(runs) and sum(map(len, rest)) <= _SHORT  # as in SCOORD3D


@cache
def standard_words() -> frozenset[str]:
    """The words of four letters and more in the names and meanings of PS3.6 and PS3.16."""
    names = [entry[2] for entry in DicomDictionary.values()]
    names += [entry[0] for entry in UID_dictionary.values()]
    return frozenset(word for name in (*names, *published_meanings()) for word in _LETTERS.findall(name.lower()))


@cache
def known_words() -> frozenset[str]:
    """All of them: the standard's, its terms, makers' and a Turkish radiologist's, folded."""
    return standard_words() | _listed(TERMS) | _listed(_DEVICES) | _listed(_TURKISH) | _listed(_PATIENTS)


def _listed(name: str) -> frozenset[str]:
    text = files("anonymize.tables").joinpath(name).read_text("utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
