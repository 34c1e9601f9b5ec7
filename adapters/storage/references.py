"""Names of things in the store, and where they lie. Names are numbers and random digits: they identify nobody.

objects/<receiver>/<batch, 8 digits>/<object id, 32 hex digits>.obj     what was received
derived/<2 hex digits>/<object id>.obj                                  what we made
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.storage.errors import InvalidReference

INTAKE: Final = "objects"
DERIVED: Final = "derived"
SUFFIX: Final = ".obj"
_RECEIVER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REFERENCE: Final = re.compile(
    rf"(?P<folder>{INTAKE}/{_RECEIVER.pattern}/[0-9]{{8}}|{DERIVED}/(?P<shelf>[0-9a-f]{{2}}))/(?P<id>[0-9a-f]{{32}})"
)


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object. `str(ref)` is what the database keeps (at most 114 characters), `ObjectRef.parse` reads it."""

    folder: str
    id: str

    def __post_init__(self) -> None:
        match = _REFERENCE.fullmatch(f"{self.folder}/{self.id}")
        if match is None or (match["shelf"] not in (None, self.id[:2])):
            raise InvalidReference("not the reference of an object")

    def __str__(self) -> str:
        return f"{self.folder}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> "ObjectRef":
        """Read `str(ref)`. Raises `InvalidReference` for anything else, paths out of the store included."""
        folder, _, object_id = text.rpartition("/")
        return cls(folder, object_id)

    @classmethod
    def derived(cls, object_id: str) -> "ObjectRef":
        """The reference of a derived object."""
        return cls(f"{DERIVED}/{object_id[:2]}", object_id)

    def path(self, root: Path) -> Path:
        """The object's file in the store at `root`."""
        return root / self.folder / f"{self.id}{SUFFIX}"


@dataclass(frozen=True, slots=True, order=True)
class Batch:
    """A numbered folder of a receiver's intake."""

    receiver_id: str
    number: int

    def __post_init__(self) -> None:
        if not _RECEIVER.fullmatch(self.receiver_id) or not 0 <= self.number < 10**8:
            raise InvalidReference("not a batch: a receiver id has letters, digits, '-' and '_', at most 64")

    @property
    def folder(self) -> str:
        """The folder below the store's root."""
        return f"{INTAKE}/{self.receiver_id}/{self.number:08d}"
