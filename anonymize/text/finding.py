"""What is found in a text, and the text as the recognizers read it.

Recognizers match a *folded* text: lower case, Turkish letters as plain ones, every kind of space, dash, quotation
mark and digit as its ASCII one. Folding goes character by character (`str.casefold` and `str.lower` make two of
`İ`), so that an offset in the folded text is the same offset in the original; no recognizer may break that.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files
from typing import Final


class TextClass(StrEnum):
    """What an identifier is; the value is what stands in its place, between brackets."""

    NAME = "NAME"
    TCKN = "TCKN"
    VKN = "VKN"
    IBAN = "IBAN"
    PHONE = "PHONE"
    PLATE = "PLATE"
    PASSPORT = "PASSPORT"
    RECORD_NUMBER = "RECORD_NUMBER"
    ADDRESS = "ADDRESS"
    DATE = "DATE"
    AGE = "AGE"
    EMAIL = "EMAIL"
    URL = "URL"
    IP = "IP"
    SSN = "SSN"
    ZIP = "ZIP"
    ORGANISATION = "ORGANISATION"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class Finding:
    """An identifier at `text[start:end]` (code points), and the recognizer that found it."""

    start: int
    end: int
    kind: TextClass
    rule: str


@dataclass(frozen=True, slots=True)
class Word:
    """A run of letters. `plain`: folded; `capital`: begins with a capital; `capitals`: two or more, nothing else;
    `title`: begins with a capital, and has another one at most within ("McAllister").
    """

    start: int
    end: int
    plain: str
    capital: bool
    capitals: bool
    title: bool


_CAPITAL_WITHIN: Final = re.compile(r"(?:Mc|Mac|De|Di|Du|La|Le|Van|Von|Fitz)[A-Z][^\W\d_A-Z]{2,}")
_LETTERS: Final = re.compile(r"[^\W\d_]+")


class Note:
    """A text to search, with its folded form (of the same length) and its words."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.folded: Final = fold(text)

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """Its runs of letters, in order."""
        text = self.text
        return tuple(
            Word(
                start := match.start(),
                end := match.end(),
                match[0],
                text[start].isupper(),
                end - start > 1 and text[start:end].isupper(),
                text[start].isupper() and _is_title(text[start:end]),
            )
            for match in _LETTERS.finditer(self.folded)
        )

    @cached_property
    def turkish(self) -> bool:
        """Whether anything in it is Turkish, so that words may have Turkish endings."""
        return bool(_TURKISH_LETTERS.search(self.text)) or any(
            word.plain in table("turkish_signs") for word in self.words
        )


def _is_title(word: str) -> bool:
    return word[1:].islower() or bool(_CAPITAL_WITHIN.fullmatch(word))


_TURKISH_LETTERS: Final = re.compile("[ığşĞŞİçöüÇÖÜ]")

Recognizer = Callable[[Note], Iterable[Finding]]
"""Finds one family of identifiers. Its findings may overlap each other's: which one counts is not its concern."""


@cache
def table(name: str) -> frozenset[str]:
    """The folded words of a packaged table."""
    lines = files(__package__).joinpath("tables", f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


_ONE_BEFORE: Final = re.compile(r"(?<![^\W_])(?P<word>[^\W_][^\W_'-]{0,24})\.?(?:'[a-z]{1,3})? {1,2}$")


def capitals_before(note: Note, end: int, most: int, *, gap: str = "") -> int:
    """Where the run of at most `most` capitalised words (or ordinals) that ends at `end` begins; `end` if there is
    none.

    A word of the table "common" ends the run: "Adres", "Patient".
    """
    start = end
    for count in range(most):
        low = max(0, start - 32)
        piece = note.folded[low:start] + (" " if gap and not count else "")
        before = _ONE_BEFORE.search(piece)
        if not before or (count and before[0].rstrip().endswith(".") and not before["word"].isdigit()):
            return start
        first = low + before.start()
        word = before["word"]
        if not (note.text[first].isupper() or (word.isdigit() and count)) or (
            word in table("common") and not (word in table("in_places") and not count)
        ):
            return start
        start = first
    return start


class _Folding(dict[int, str]):
    """A table for `str.translate` that works out a character when it first meets it."""

    def __missing__(self, code: int) -> str:
        plain = self[code] = _fold_character(chr(code))
        return plain


def _fold_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    compatible = unicodedata.normalize("NFKD", character)
    base = compatible[0] if len(compatible) == 1 or unicodedata.combining(compatible[1]) else character
    lower = _SPECIAL.get(character) or _SPECIAL.get(base) or base.lower()
    return lower if len(lower) == 1 else character


_SPECIAL: Final = {
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4`\u2032\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    "ı": "i",
    "I": "i",
    "ø": "o",
    "Ø": "o",
    "ł": "l",
    "Ł": "l",
    "đ": "d",
    "Đ": "d",
    "ə": "e",
    "Ə": "e",
}
_FOLDING: Final = _Folding()


def fold(text: str) -> str:
    """The text as recognizers read it: of the same length, character for character."""
    return text.translate(_FOLDING)


_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")


def compose(text: str) -> tuple[str, Callable[[int], int]]:
    """The text with letters and their combining marks made one and without invisible characters, and the way back from
    its offsets to the original's.
    """
    if unicodedata.is_normalized("NFC", text) and not _INVISIBLE.search(text):
        return text, int
    pieces: list[str] = []
    origins: list[int] = []
    for start, end in _clusters(text):
        piece = unicodedata.normalize("NFC", _INVISIBLE.sub("", text[start:end]))[:1]
        pieces.append(piece)
        origins.extend([start] * len(piece))
    origins.append(len(text))
    return "".join(pieces), origins.__getitem__


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for at in range(1, len(text)):
        if not unicodedata.combining(text[at]):
            yield start, at
            start = at
    if text:
        yield start, len(text)


def disjoint(findings: Iterable[Finding], text: str) -> tuple[Finding, ...]:
    """Findings in order of precedence made disjoint and sorted: what an earlier one leaves of a later one still
    counts.

    Nothing that was found is let go because something else covers part of it; leftover punctuation is.
    """
    taken = bytearray(len(text))
    kept: list[Finding] = []
    for finding in findings:
        for start, end in _free(taken, finding.start, finding.end):
            start, end = _trimmed(text, start, end)
            if start < end:
                kept.append(Finding(start, end, finding.kind, finding.rule))
                taken[start:end] = b"\1" * (end - start)
    return tuple(sorted(kept, key=lambda finding: finding.start))


def _free(taken: bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        covered = taken.find(1, start, end)
        if covered < 0:
            yield start, end
            return
        if covered > start:
            yield start, covered
        free = taken.find(0, covered, end)
        start = end if free < 0 else free


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    if not any(character.isalnum() for character in text[start:end]):
        return start, start
    while text[start].isspace() or text[start] in ".,;:-/":
        start += 1
    while text[end - 1].isspace() or text[end - 1] in ",;:-/":
        end -= 1
    return start, end
