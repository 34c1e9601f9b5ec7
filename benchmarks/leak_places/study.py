"""A study whose instances refer to each other, to see that equal UIDs stay equal and intervals intact."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from anonymize import BASIC, Policy, Quarantine, ReceivedInstance
from benchmarks.leak_places.base import (
    BASIC_TEXT_SR,
    CT,
    PRESENTATION_STATE,
    image,
    presentation_state,
    structured_report,
)
from benchmarks.leak_places.encoding import EXPLICIT_LITTLE, Element, Syntax, Written, encode, numbers, sequence, text
from benchmarks.leak_places.place import Instance
from benchmarks.leak_places.tokens import CharacterSet, Mint
from benchmarks.leak_places.trial import deidentified

_WELL_KNOWN = "1.2.840.10008."
_SYNTAXES = (Syntax.EXPLICIT, Syntax.IMPLICIT, Syntax.BIG_ENDIAN, Syntax.DEFLATED, Syntax.JPEG, Syntax.RLE)


@dataclass(frozen=True)
class Graph:
    """What became of the UIDs and dates of a study.

    `wrong` says where a reference no longer leads to what it led to; `offsets` are the distinct numbers of days by
    which the dates that came out were moved, empty where none came out or one dummy stands for all.
    """

    instances: int
    uids: int
    references: int
    kept: int
    dates_kept: int
    offsets: frozenset[int]
    wrong: tuple[str, ...]


def _reference(sop_class: str, instance: str) -> list[Written]:
    return [text(0x00081150, "UI", sop_class), text(0x00081155, "UI", instance)]


def instances(seed: int) -> Iterator[tuple[Syntax, Instance]]:
    """Six CT slices in two series of one frame of reference, a report and a presentation state on them."""
    mint = Mint(f"study {seed}", CharacterSet.ASCII)
    study, frame = mint.uid("study"), mint.uid("frame of reference")
    series = [mint.uid("series") for _ in range(4)]
    slices = [image(mint, syntax) for syntax in _SYNTAXES]
    uids = [made.sop_instance for made in slices]
    study_date, days = mint.date("study"), [mint.date("series"), mint.date("acquisition"), mint.date("content")]
    dates = [text(0x00080020, "DA", study_date)]
    dates += [text(tag, "DA", day) for tag, day in zip((0x00080021, 0x00080022, 0x00080023), days, strict=True)]
    common: list[Written] = [text(0x0020000D, "UI", study), *dates]
    for at, (syntax, made) in enumerate(zip(_SYNTAXES, slices, strict=True)):
        others = [_reference(CT, uid) for uid in uids if uid != made.sop_instance]
        of_series = [text(0x0020000E, "UI", series[at % 2]), sequence(0x0008114A, *others)]
        made.replace(
            *common,
            text(0x0020000E, "UI", series[at % 2]),
            text(0x00200052, "UI", frame),
            text(0x30060024, "UI", frame),
            sequence(0x00081140, *others),
            sequence(0x00082112, others[0]),
            sequence(0x00081115, of_series),
        )
        yield syntax, made
    evidence = [
        [text(0x0020000E, "UI", one), sequence(0x00081199, *[_reference(CT, uid) for uid in uids[at::2]])]
        for at, one in enumerate(series[:2])
    ]
    report = structured_report(mint, Syntax.EXPLICIT)
    requested = [text(0x0020000D, "UI", study), sequence(0x00081115, *evidence)]
    report.replace(*common, text(0x0020000E, "UI", series[2]), sequence(0x0040A375, requested))
    yield Syntax.EXPLICIT, report
    state = presentation_state(mint, Syntax.EXPLICIT)
    state.replace(*common, text(0x0020000E, "UI", series[3]), sequence(0x00081115, *evidence))
    yield Syntax.EXPLICIT, state


def follow(seed: int, policy: Policy = BASIC) -> Graph:
    """De-identify the study by a policy and compare every UID and date with where it stood before."""
    mapping: dict[str, str] = {}
    wrong: list[str] = []
    before, after, moved = 0, 0, []
    count = 0
    for syntax, made in instances(seed):
        count += 1
        data_set = made.data_set(syntax)
        received = ReceivedInstance(made.sop_class, made.sop_instance, syntax.value, data_set)
        try:
            file, _ = deidentified(received, policy)
        except Quarantine as error:
            wrong.append(f"an instance of {_kind(made)} was quarantined: {error.reason}")
            continue
        given, come = _read(data_set, syntax), pydicom.dcmread(BytesIO(file))
        old, new = dict(_values(given, "UI")), dict(_values(come, "UI"))
        before, after = before + len(old), after + len(old.keys() & new.keys())
        wrong += _compare(old, new, mapping)
        moved += list(_moved(given, come))
    if len(set(mapping.values())) != len(mapping):
        wrong.append("two UIDs became one")
    dummies = len({new for _, new in moved}) <= 1
    offsets = frozenset() if dummies else frozenset((new - old).days for old, new in moved)
    if len(offsets) > 1:
        wrong.append(f"dates moved by {len(offsets)} different numbers of days")
    return Graph(count, len(mapping), before, after, len(moved), offsets, tuple(wrong))


def _kind(made: Instance) -> str:
    return {CT: "CT", BASIC_TEXT_SR: "SR", PRESENTATION_STATE: "PR"}[made.sop_class]


def _read(data_set: bytes, syntax: Syntax) -> Dataset:
    meta = encode([Element(0x00020001, "OB", b"\0\1"), text(0x00020010, "UI", syntax.value)], EXPLICIT_LITTLE)
    length = encode([numbers(0x00020000, "UL", len(meta))], EXPLICIT_LITTLE)
    return pydicom.dcmread(BytesIO(bytes(128) + b"DICM" + length + meta + data_set))


def _values(data_set: Dataset, vr: str, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a VR, with the tags and item numbers that lead to it."""
    for element in data_set:
        here = f"{path}/{element.tag}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from _values(item, vr, f"{here}[{number}]")
        elif vr == element.VR and element.value:
            yield here, str(element.value)


def _compare(old: Mapping[str, str], new: Mapping[str, str], mapping: dict[str, str]) -> Sequence[str]:
    wrong = []
    for path in old.keys() & new.keys():
        if old[path].startswith(_WELL_KNOWN):
            if new[path] != old[path]:
                wrong.append(f"{path}: a well-known UID was changed")
        elif new[path] == old[path]:
            wrong.append(f"{path}: the UID is still the same")
        elif mapping.setdefault(old[path], new[path]) != new[path]:
            wrong.append(f"{path}: one UID became two")
    return wrong


def _moved(given: Dataset, come: Dataset) -> Iterator[tuple[date, date]]:
    old, new = dict(_values(given, "DA")), dict(_values(come, "DA"))
    for path in sorted(old.keys() & new.keys()):
        yield date.fromisoformat(old[path]), date.fromisoformat(new[path])
