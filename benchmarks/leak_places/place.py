"""What a hiding place is: a name, where it can occur, and how to plant a token there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.leak_places.encoding import IMPLICIT_LITTLE, Syntax, Written, deflated, encode
from benchmarks.leak_places.tokens import CharacterSet, Mint

NATIVE = (Syntax.IMPLICIT, Syntax.EXPLICIT, Syntax.BIG_ENDIAN, Syntax.DEFLATED)
SIX = (*NATIVE, Syntax.JPEG, Syntax.RLE)
EXPLICIT = (Syntax.EXPLICIT, Syntax.BIG_ENDIAN, Syntax.DEFLATED, Syntax.JPEG, Syntax.RLE)
DEPTHS = (0, 1, 2, 3)


@dataclass
class Instance:
    """An instance about to be written: its data set by element, and what makes it malformed."""

    sop_class: str
    sop_instance: str
    elements: list[Written]
    tail: bytes = b""
    after_stream: bytes = b""  # after the deflated stream, where the syntax has one
    ordered: bool = True

    def data_set(self, syntax: Syntax) -> bytes:
        """Its bytes as C-STORE carries them."""
        body = encode(self.elements, syntax.encoding, self.ordered) + self.tail
        return deflated(body, self.after_stream) if syntax is Syntax.DEFLATED else body

    def replace(self, *elements: Written) -> None:
        """Put elements in, instead of those with the same tags."""
        tags = {element.tag for element in elements}
        self.elements = [element for element in self.elements if element.tag not in tags] + list(elements)

    def drop(self, *tags: int) -> None:
        """Take out the elements with these tags."""
        self.elements = [element for element in self.elements if element.tag not in tags]


class Elements(Protocol):
    """Plants by making elements, which are put at the root or into nested items."""

    def __call__(self, mint: Mint, /) -> Sequence[Written]:
        """Return the elements, whose tokens `mint` has made."""
        ...


class Whole(Protocol):
    """Plants by changing a whole instance."""

    def __call__(self, mint: Mint, instance: Instance, syntax: Syntax, /) -> None:
        """Change `instance`, which will be written in `syntax`."""
        ...


@dataclass(frozen=True)
class Place:
    """A hiding place. `provable`: a de-identifier can clean it for certain, so that quarantine would be too strict."""

    name: str
    what: str
    group: str
    syntaxes: tuple[Syntax, ...]
    character_sets: tuple[CharacterSet, ...]
    depths: tuple[int, ...]
    provable: bool
    base: str
    elements: Elements | None = None
    whole: Whole | None = None


@dataclass
class Catalogue:
    """The places of one group, filled by decorators."""

    group: str
    places: list[Place] = field(default_factory=list)

    def elements(
        self,
        name: str,
        what: str,
        *,
        syntaxes: tuple[Syntax, ...] = SIX,
        character_sets: Iterable[CharacterSet] = CharacterSet,
        depths: tuple[int, ...] = DEPTHS,
        provable: bool = True,
        base: str = "image",
    ) -> Callable[[Elements], Elements]:
        """A place that elements make, wherever they stand."""

        def register(make: Elements) -> Elements:
            sets = tuple(character_sets)
            self.places.append(Place(name, what, self.group, syntaxes, sets, depths, provable, base, elements=make))
            return make

        return register

    def whole(
        self,
        name: str,
        what: str,
        *,
        syntaxes: tuple[Syntax, ...] = SIX,
        character_sets: Iterable[CharacterSet] = CharacterSet,
        provable: bool = True,
        base: str = "image",
    ) -> Callable[[Whole], Whole]:
        """A place that needs the whole instance."""

        def register(change: Whole) -> Whole:
            sets = tuple(character_sets)
            self.places.append(Place(name, what, self.group, syntaxes, sets, (0,), provable, base, whole=change))
            return change

        return register


def implicit(*elements: Written) -> bytes:
    """The elements' bytes in Implicit VR Little Endian, as UN holds them (PS3.5 6.2.2)."""
    return encode(elements, IMPLICIT_LITTLE)
