"""The words that may stay in an image: markers of side, projection and position, in English and Turkish.

Everything else that is read in an image is blanked, so a word belongs here only if no name, number or date can be
mistaken for it. A text stays if each of its words is on the list and it was read well.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SIDES: Final = "L R LT RT LEFT RIGHT SOL SAG"
_PROJECTIONS: Final = "AP PA LAT LATERAL OBL OBLIQUE DECUB DECUBITUS AXIAL CORONAL SAGITTAL CC MLO LCC RCC LMLO RMLO"
_POSITIONS: Final = "ERECT UPRIGHT STANDING SUPINE PRONE SITTING SEMIERECT AYAKTA YATARAK OTURARAK"
_CIRCUMSTANCES: Final = "PORTABLE PORTATIF MOBILE INSP EXP INSPIRATION EXPIRATION STAT"

DEFAULT_MARKERS: Final = frozenset(" ".join((_SIDES, _PROJECTIONS, _POSITIONS, _CIRCUMSTANCES)).split())

_WORD: Final = re.compile(r"\w+")
_FOLDED: Final = str.maketrans({"İ": "I", "ı": "I", "i": "I", "Ğ": "G", "ğ": "G", "Ş": "S", "ş": "S"})


@dataclass(frozen=True, slots=True)
class Markers:
    """An allow-list. `words` are compared without case and Turkish diacritics; `least_score` is from 0 to 1."""

    words: frozenset[str] = DEFAULT_MARKERS
    least_score: float = 0.8

    @classmethod
    def of(cls, words: Iterable[str]) -> "Markers":
        """Make one of a site's own words."""
        return cls(frozenset(_folded(word) for word in words))

    def allow(self, text: str, score: float) -> bool:
        """Whether a text that was read with this certainty may stay."""
        found = _WORD.findall(_folded(text))
        return bool(found) and score >= self.least_score and all(word in self.words for word in found)


def _folded(text: str) -> str:
    return text.translate(_FOLDED).upper()
