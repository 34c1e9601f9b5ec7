"""Named hospitals, practices, schools and employers: no identifiers alone, but they narrow down who is meant."""

import re
from collections.abc import Iterator
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, capitals_before, table

_KIND: Final = re.compile(
    r"(?<![a-z])(?:(?:egitim ve arastirma |devlet |sehir |ozel |universite |cocuk |goz |tip fakultesi "
    r"|universitesi |universitesi tip fakultesi |universitesi hastanesi )?"
    r"(?:hastanesi|tip merkezi|tip fakultesi|universitesi|poliklinigi|eczanesi|lisesi|ilkokulu|ortaokulu|anaokulu"
    r"|huzurevi|laboratuvari|holding|dispanseri|"
    r"saglik ocagi|aile sagligi merkezi|goruntuleme merkezi|a\.s\.|ltd\.? sti)"
    r"|(?:[a-z]{4,12} )?(?:hospital|medical cent(?:er|re)|clinic|health system|healthcare|university|high school"
    r"|elementary school|middle school|academy|college|pharmacy|nursing home|"
    r"laboratories|imaging center|medical group|health center|hospice|infirmary|inc\.|llc|ltd\b|corporation))(?:ne"
    r"|nde|nden|nin|na|nda|ndan)?(?![a-z])"
)


def organisations(note: Note) -> Iterator[Finding]:
    """Organisations with a name before their kind."""
    for match in _KIND.finditer(note.folded):
        start = capitals_before(note, match.start(), 4)
        if start < match.start() and note.text[match.start()].isupper():
            named = re.findall(r"[a-z]+", note.folded[start : match.start()])
            if any(word not in table("common") for word in named):
                yield Finding(start, match.end(), TextClass.ORGANISATION, "organisation")
