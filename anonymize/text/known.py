"""The patient's own identifiers, looked for as such: whatever else a text says, these must not survive in it.

Names are found by part, in any casing, in ASCII spelling and with a Turkish suffix; numbers and codes also where
they are grouped by spaces, dots, dashes or slashes. Parts too short to mean anything (two letters, three digits)
are left to the rules.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, fold

SUFFIX: Final = re.compile(
    r"(?:(?:lar|ler|gil|giller)(?:i|in|a|e|da|de|dan|den)?|[yns]?(?:i|u|a|e)|n?(?:in|un)|n?(?:da|de|dan|den|ta|te"
    r"|tan|ten)|y?(?:la|le)|ca|ce"
    r"|(?:li|lu|lik|luk)|(?:si|su|imi?z?)(?:n[iuae]|nin|nun)?)"
)
_PARTS: Final = re.compile(r"[^\W_]+")
_LONGEST_SUFFIX: Final = 6


def known_identifiers(note: Note, known: Collection[str]) -> Iterator[Finding]:
    """Where parts of these stand in the text."""
    names: set[str] = set()
    codes: set[str] = set()
    for identifier in known:
        parts = _PARTS.findall(fold(identifier))
        names.update(part for part in parts if part.isalpha() and len(part) > 2)
        compact = "".join(parts)
        codes.update(part for part in (compact, *parts) if len(part) > 3 and not part.isalpha())
    if names:
        yield from _names(note, names)
    if codes:
        yield from _codes(note, codes)


def _names(note: Note, names: set[str]) -> Iterator[Finding]:
    for word in note.words:
        if word.plain in names or any(
            word.plain[:-cut] in names and SUFFIX.fullmatch(word.plain[-cut:])
            for cut in range(1, min(_LONGEST_SUFFIX, len(word.plain) - 3) + 1)
        ):
            yield Finding(word.start, word.end, TextClass.NAME, "known to be the patient's")


def _codes(note: Note, codes: set[str]) -> Iterator[Finding]:
    places = [at for at, character in enumerate(note.folded) if character.isalnum()]
    compact = "".join(note.folded[at] for at in places)
    for code in sorted(codes, key=len, reverse=True):
        at = compact.find(code)
        while at >= 0:
            start, end = places[at], places[at + len(code) - 1] + 1
            if _whole(note.folded, start, end) and end - start <= 2 * len(code):
                yield Finding(start, end, TextClass.RECORD_NUMBER, "known to be the patient's")
            at = compact.find(code, at + 1)  # a hit that is none may overlap one that is: "1 1111"


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no digit goes on before or after."""
    return (
        not (text[start].isdigit() and text[max(0, start - 1) : start].isdigit()) and not text[end : end + 1].isdigit()
    )
