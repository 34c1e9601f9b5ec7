"""The values of a data set that decide about the rest of it, in whatever VR they are sent: its character sets, and what
it calls its patient, at the top and in items (other Patient IDs, the accession of a request, what a merge replaced).
"""

from typing import Final

from anonymize.character_sets import character_sets_of
from anonymize.identifiers import SOURCES, Identifiers

SPECIFIC_CHARACTER_SET: Final = 0x00080005

DECISIVE: Final = frozenset(SOURCES) | {SPECIFIC_CHARACTER_SET}


class Facts:
    """What is known so far. Holds identified values; never handed out."""

    def __init__(self) -> None:
        self._names: dict[int, dict[bytes, None]] = {tag: {} for tag in SOURCES}
        self.character_sets: tuple[str, ...] = ()

    def note(self, tag: int, value: bytes) -> None:
        """Note a value of the top level; those that are not of `DECISIVE` do not matter."""
        self.note_within(tag, value)
        if tag == SPECIFIC_CHARACTER_SET:
            self.character_sets = character_sets_of(value)

    def note_within(self, tag: int, value: bytes) -> None:
        """Note a value of an item: whatever it calls a patient is one of this patient's names."""
        if tag in SOURCES:
            self._names[tag][value] = None

    @property
    def identifiers(self) -> Identifiers:
        """What the data set calls its patient."""
        return Identifiers({tag: tuple(values) for tag, values in self._names.items() if values})
