"""The values of a data set's top level that decide about the rest of it, in whatever VR they are sent."""

from typing import Final

from anonymize.character_sets import character_sets_of
from anonymize.identifiers import SOURCES, Identifiers

SPECIFIC_CHARACTER_SET: Final = 0x00080005

DECISIVE: Final = frozenset(SOURCES) | {SPECIFIC_CHARACTER_SET}


class Facts:
    """What is known so far. Holds identified values; never handed out."""

    def __init__(self) -> None:
        self._found: dict[int, bytes] = {}
        self.character_sets: tuple[str, ...] = ()

    def note(self, tag: int, value: bytes) -> None:
        """Note a value; those that are not of `DECISIVE` do not matter."""
        self._found[tag] = value
        if tag == SPECIFIC_CHARACTER_SET:
            self.character_sets = character_sets_of(value)

    @property
    def identifiers(self) -> Identifiers:
        """What the data set calls its patient."""
        return Identifiers({tag: value for tag, value in self._found.items() if tag in SOURCES})
