"""One trial: plant in a place, de-identify, look for what survived and for what was lost."""

import itertools
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from anonymize import BASIC, Option, PatientPseudonym, Policy, Quarantine, ReceivedInstance, deidentify
from anonymize.image_cleaning import PixelCleaning
from anonymize.pixels import Look, RapidOcrDetector, TextPolicy
from benchmarks.leak_places.base import BASES, NESTED_MARKER, TECHNICAL_NUMBERS, TECHNICAL_TEXT, nested
from benchmarks.leak_places.encoding import Element, Items, Numbers, Syntax, Written, packed
from benchmarks.leak_places.place import Instance, Place
from benchmarks.leak_places.search import Survivor, survivors
from benchmarks.leak_places.tokens import CharacterSet, Mint, Witness

PATIENT = PatientPseudonym(pseudonym="K-1", uid_key=bytes(range(32)), date_offset_days=-37)


@dataclass(frozen=True)
class Case:
    """One instance to make: everything of it follows from these values."""

    place: Place
    syntax: Syntax
    character_set: CharacterSet
    depth: int
    seed: int

    @property
    def name(self) -> str:
        """What to say to see it again."""
        return (
            f"{self.place.name} [{self.syntax.name}, {self.character_set.name}, depth {self.depth}, seed {self.seed}]"
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a case. `refused` is the reason of a quarantine, `broken` an exception that is none."""

    case: Case
    refused: str | None = None
    broken: str | None = None
    survivors: Sequence[Survivor] = ()
    lost: Sequence[str] = field(default=())


def cases(place: Place, seed: int, limit: int | None) -> Iterator[Case]:
    """Instances of a place: every combination, or `limit` of them, chosen so that each axis is covered evenly."""
    left = [
        Case(place, *values, seed) for values in itertools.product(place.syntaxes, place.character_sets, place.depths)
    ]
    if limit is None:
        yield from left
        return
    random.Random(f"{seed}:{place.name}").shuffle(left)
    taken: Counter[Syntax | CharacterSet | int] = Counter()
    for _ in range(min(limit, len(left))):
        case = min(left, key=lambda case: taken[case.syntax] + taken[case.character_set] + taken[case.depth])
        left.remove(case)
        taken.update((case.syntax, case.character_set, case.depth))
        yield case


def plant(case: Case) -> tuple[Instance, Sequence[Witness]]:
    """The instance of a case and what betrays its tokens."""
    key = f"{case.seed}:{case.place.name}:{case.syntax.name}:{case.character_set.name}:{case.depth}"
    mint = Mint(key, case.character_set)
    instance = BASES[case.place.base](mint, case.syntax)
    if case.place.whole is not None:
        case.place.whole(mint, instance, case.syntax)
    elif case.place.elements is not None:
        made = case.place.elements(mint)
        if case.depth:
            instance.replace(*nested(made, case.depth, mint))
        else:
            instance.drop(*{element.tag for element in made})
            instance.elements += made
    return instance, mint.witnesses


def deidentified(received: ReceivedInstance, policy: Policy = BASIC) -> tuple[bytes, str]:
    """The Part 10 file that comes out, and the words of the trail: its paths are numbers of tags and items alone."""
    looks = not policy.options.isdisjoint(_LOOKING)
    result = deidentify(received, PATIENT, policy, _cleaning() if looks else PixelCleaning())
    return result.instance.file, " ".join(f"{made.action} {made.rule} {made.option}" for made in result.trail)


_LOOKING = {Option.CLEAN_PIXEL_DATA, Option.CLEAN_GRAPHICS}


@cache
def _cleaning() -> PixelCleaning:
    return PixelCleaning(TextPolicy(Look.ALWAYS), RapidOcrDetector(threads=1))


def run(case: Case, policy: Policy = BASIC) -> Outcome:
    """De-identify a case's instance and look at what came out."""
    instance, witnesses = plant(case)
    data_set = instance.data_set(case.syntax)
    received = ReceivedInstance(instance.sop_class, instance.sop_instance, case.syntax.value, data_set)
    try:
        file, trail = deidentified(received, policy)
    except Quarantine as error:
        said = f"{error} {error!r}".encode()
        return Outcome(case, refused=str(error.reason), survivors=_in_words(said, witnesses))
    except Exception as error:  # noqa: BLE001 - whatever else is raised is a finding, and the other cases go on
        said = f"{error} {error!r}".encode()
        return Outcome(case, broken=type(error).__name__, survivors=_in_words(said, witnesses))
    found = survivors(file, witnesses, [("trail", trail.encode())])
    return Outcome(case, survivors=found, lost=lost(case, instance, file))


def _in_words(said: bytes, witnesses: Sequence[Witness]) -> list[Survivor]:
    return survivors(b"", witnesses, [("the refusal's words", said)])


def lost(case: Case, instance: Instance, file: bytes) -> list[str]:
    """Technical attributes, and the sequences around a nested plant, that did not come out as they went in."""
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # pydicom warns of what malformed places leave, which is expected
            read = pydicom.dcmread(BytesIO(file))
            return [*_lost_at_root(instance, read), *_lost_in_depth(case, instance, read)]
    except Exception as error:  # noqa: BLE001 - an output that pydicom cannot read is a finding of its own
        return [f"the output cannot be read: {type(error).__name__}"]


def _lost_at_root(instance: Instance, read: Dataset) -> list[str]:
    planted = {id(element) for element in instance.elements}
    kept = [element for element in (*TECHNICAL_TEXT, *TECHNICAL_NUMBERS) if id(element) in planted]
    return [_named(element.tag) for element in kept if not _same(element, read)]


def _same(element: Element, read: Dataset) -> bool:
    raw = read.get_item(element.tag)
    if raw is None or not isinstance(raw.value, bytes):
        return False
    if isinstance(element.value, Numbers):
        encoding = (Syntax.EXPLICIT if read.original_encoding[1] else Syntax.BIG_ENDIAN).encoding
        return raw.value == packed(element.vr, element.value, encoding)
    return isinstance(element.value, bytes) and raw.value.rstrip(b" \0") == element.value.rstrip(b" \0")


def _lost_in_depth(case: Case, instance: Instance, read: Dataset) -> list[str]:
    if not case.depth or case.place.elements is None:
        return []
    holder: Written = next(e for e in instance.elements if isinstance(e, Element) and _holds(e))
    path: list[int] = []
    for _ in range(case.depth):
        assert isinstance(holder, Element)
        assert isinstance(holder.value, Items)
        path.append(holder.tag)
        item = holder.value.items[0]
        holder = next((e for e in item if isinstance(e, Element) and _holds(e)), holder)
    inner = read
    for tag in path:
        if tag not in inner or not inner[tag].value:
            return [f"sequence {_named(tag)}"]
        inner = inner[tag].value[0]
    has_marker = any(element is NESTED_MARKER for element in item)
    return [f"nested {_named(NESTED_MARKER.tag)}"] if has_marker and not _same(NESTED_MARKER, inner) else []


def _holds(element: Element) -> bool:
    """Whether the element is, or leads to, the nested marker or the plant's item."""
    if not isinstance(element.value, Items) or not element.value.items:
        return False
    item = element.value.items[0]
    return any(inner is NESTED_MARKER or (isinstance(inner, Element) and _holds(inner)) for inner in item)


def _named(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
