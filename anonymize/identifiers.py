"""The identifiers that a data set itself gives of its patient, and the last look for them in what is to be passed on.

The rules decide by attribute; this looks at values, whatever the rules said: a name that a device copied into a
protocol, a number in a software version. It can only find what the data set names, so it is a net and not the rule.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from anonymize.bulk_search import SHORTEST, BulkSearch
from anonymize.character_sets import decode

_NAME, _NUMBER = 3, 6

SOURCES: Final = {
    0x00080050: _NUMBER,  # Accession Number
    0x00100010: _NAME,  # Patient's Name
    0x00100020: _NUMBER,  # Patient ID
    0x00100030: _NUMBER,  # Patient's Birth Date
    0x00101000: _NUMBER,  # Other Patient IDs
    0x00101001: _NAME,  # Other Patient Names
    0x00101005: _NAME,  # Patient's Birth Name
    0x00101040: _NUMBER,  # Patient's Address
    0x00101060: _NAME,  # Patient's Mother's Birth Name
    0x00102154: _NUMBER,  # Patient's Telephone Numbers
    0x00380010: _NUMBER,  # Admission ID
}
"""Attributes that say who the patient is, with the letters that a word of theirs must have to say it."""

_WORD: Final = re.compile(r"[^\W_]+")
_SHORTEST_WITH_DIGITS: Final = 4
_SHORTEST_IN_PIECES: Final = 5
_DIGITS: Final = re.compile(r"[0-9]{6,}")
_UNPADDED: Final = re.compile(r"(?<![0-9])0+([1-9][0-9]{5,})")  # as a number is written in a DS or IS
_LONG_NUMBER: Final = 8
_TELLING_DIGITS: Final = 3  # different ones: 000001 is where many things begin
_GAP: Final = r"(?:_|[^\w\n]){0,2}"  # between the pieces of a word
_PARTS: Final = re.compile(rb"[\\^= \0]+")
_TURKISH: Final = str.maketrans({"ı": "i", "İ": "i", "I": "i"})
_UNREAD: Final = frozenset({"Cf", "Me", "Mn"})


def plain(text: str) -> str:
    """Text with its letters composed, without characters that nobody sees (general category Cf), and without marks on
    letters that never have them.
    """
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(character for character in composed if unicodedata.category(character) not in _UNREAD)


def folded(text: str) -> str:
    """Text without case and diacritics; the Turkish i's are one."""
    if text.isascii():
        return text.lower()
    taken_apart = unicodedata.normalize("NFKD", plain(text).translate(_TURKISH).casefold())
    return "".join(character for character in taken_apart if not unicodedata.combining(character))


class Identifiers:
    """The identifiers of one data set. Holds identified values; never handed out."""

    def __init__(self, values: Mapping[int, Collection[bytes]]) -> None:
        """`values` are those of `SOURCES`, as encoded, each for itself: one that cannot be read spoils no other."""
        self._values = values

    def are_in(self, texts: Iterable[bytes], character_sets: Sequence[str], decoded: Iterable[str] = ()) -> bool:
        """Whether any word of the encoded `texts`, or of those that are `decoded`, is one of these, whatever its case
        and diacritics.
        """
        tokens = self.words(character_sets)
        if not tokens:
            return False
        ascii_texts = b"\n".join(text for text in texts if text.isascii()).decode("ascii")
        others = [decode(text, character_sets) or "" for text in texts if not text.isascii()]
        every = [folded(text) for text in (ascii_texts, *others, *decoded)]
        return any(_names_one(text, tokens) for text in every)

    def in_bulk(self) -> BulkSearch:
        """A search for the parts of these as they were encoded, of six bytes or more, and as they stand in words of 16
        bits of the other byte order.
        """
        parts = {part for values in self._values.values() for value in values for part in _PARTS.split(value)}
        parts |= {_swapped(part[start:]) for part in parts if _tells_swapped(part) for start in (0, 1)}
        return BulkSearch(part for part in parts if len(part) >= SHORTEST)

    def words(self, character_sets: Sequence[str]) -> frozenset[str]:
        """The words of these that say who the patient is, folded."""
        return frozenset(self._words(character_sets))

    def _words(self, character_sets: Sequence[str]) -> Iterator[str]:
        for tag, value in ((tag, value) for tag, values in self._values.items() for value in values):
            text = decode(value, character_sets)
            if text is None:  # unreadable text is no reason to look for nothing
                text = value.decode("latin-1")
            for word in _WORD.findall(folded(text)):
                with_digits = any(map(str.isdigit, word))
                shortest = _SHORTEST_WITH_DIGITS if with_digits else SOURCES[tag]
                if len(word) >= shortest or not word.isascii():
                    yield word
                if SOURCES[tag] == _NUMBER:  # the digits of a number that has letters, too
                    for digits in (*_DIGITS.findall(word), *_UNPADDED.findall(word)):
                        if len(set(digits)) >= _TELLING_DIGITS:
                            yield digits


def _swapped(part: bytes) -> bytes:
    """The whole words of 16 bits of `part` in the other byte order."""
    whole = part[: len(part) // 2 * 2]
    return b"".join(whole[at + 1 : at + 2] + whole[at : at + 1] for at in range(0, len(whole), 2))


def _tells_swapped(part: bytes) -> bool:
    """Whether it is looked for in the other byte order, too: a short number would be met by chance."""
    return not part.isdigit() or len(part) >= _LONG_NUMBER


def _names_one(text: str, words: frozenset[str]) -> bool:
    """Whether one of `words` stands in the folded `text`, whole or in pieces on one line: K E M A L, 77 18 293."""
    tokens = _WORD.findall(text)
    compact = "".join(tokens)
    return not words.isdisjoint(tokens) or any(
        re.search(rf"(?<![^\W_]){_GAP.join(map(re.escape, word))}(?![^\W_])", text) is not None
        for word in words
        if len(word) >= _SHORTEST_IN_PIECES and word in compact
    )
