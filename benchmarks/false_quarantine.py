"""How often an instance is quarantined that holds nothing of its patient where it may not.

Run as ``python -m benchmarks.false_quarantine [--instances N] [--seed N] [--radiographs FOLDER]``. Instances are drawn
anew (`benchmarks/clean_instances`), and de-identified under two policies; the files that pydicom ships and, if a folder
of pictures is given, its radiographs wrapped as DX images are counted apart. Of the drawn patients, one in twenty has a
name that is an ordinary word or one of the trade's (Deniz, Grant, Head, Philips), which is more than there are; what
becomes of such patients alone is shown, too. Exits with 1 if the rate is above the target or its interval reaches twice
that.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Final

import pydicom.data
from PIL import Image

from anonymize import (
    BASIC,
    MalformedDataSet,
    Option,
    PatientPseudonym,
    Policy,
    Quarantine,
    ReceivedInstance,
    deidentify,
)
from benchmarks.clean_instances import TEMPLATES, Person, draw_person, make
from benchmarks.leak_places.encoding import Element, Written, numbers
from daemon.cli.files import NotDicom, read_instance

TARGET: Final = 0.001

POLICIES: Final = {
    "basic": BASIC,
    "four options": Policy(
        frozenset(
            {
                Option.CLEAN_DESCRIPTORS,
                Option.RETAIN_PATIENT_CHARACTERISTICS,
                Option.RETAIN_LONGITUDINAL_MODIFIED_DATES,
                Option.RETAIN_DEVICE_IDENTITY,
            }
        )
    ),
}
_WORDS: Final = 0.05  # of the patients have a name that is a word
_PATIENT: Final = PatientPseudonym("KPR-1", bytes(range(32)), -37)


@dataclass
class Tally:
    """What became of some instances under one policy."""

    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count an instance, and why it was quarantined if it was."""
        self.count += 1
        if reason is not None:
            self.reasons[reason] += 1

    @property
    def rate(self) -> float:
        """The share of them that was quarantined."""
        return self.reasons.total() / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate (Wilson's)."""
        n, p, z = max(self.count, 1), self.rate, 1.96
        middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - half) / (1 + z * z / n)), (middle + half) / (1 + z * z / n)

    def __str__(self) -> str:
        low, high = self.interval
        reasons = "".join(f"; {count} × {reason}" for reason, count in self.reasons.most_common())
        return (
            f"{self.reasons.total():>5} of {self.count:>6,} quarantined: {self.rate:.3%}"
            f" (95 %: {low:.3%} to {high:.3%}){reasons}"
        )


def outcome(received: ReceivedInstance, policy: Policy) -> str | None:
    """Why an instance is quarantined; None if it is not."""
    try:
        deidentify(received, _PATIENT, policy)
    except Quarantine as error:
        return error.reason.value
    except MalformedDataSet:
        return "malformed-data-set"
    return None


def drawn(count: int, seed: int, *, words: float = _WORDS) -> Iterator[tuple[str, Person, ReceivedInstance]]:
    """Instances of all templates in turn, each of another patient."""
    rng = random.Random(seed)
    names = list(TEMPLATES)
    for number in range(count):
        name, person = names[number % len(names)], draw_person(rng, words=words)
        yield name, person, make(rng, person, name)


def shipped() -> Iterator[ReceivedInstance]:
    """The Part 10 files that pydicom ships. Some are odd on purpose, so that not all reasons are false."""
    for path in sorted(Path(pydicom.data.__file__).parent.joinpath("test_files").rglob("*")):
        if path.is_file():
            with suppress(NotDicom):
                yield read_instance(path)


def radiographs(folder: Path, seed: int) -> Iterator[ReceivedInstance]:
    """The pictures in `folder` as 8-bit DX images of drawn patients."""
    rng = random.Random(seed)
    for path in sorted((*folder.rglob("*.jpg"), *folder.rglob("*.jpeg"), *folder.rglob("*.png"))):
        with Image.open(path) as picture:
            grey = picture.convert("L")
        pixels = grey.tobytes()
        elements: list[Written] = [
            numbers(0x00280010, "US", grey.height),
            numbers(0x00280011, "US", grey.width),
            Element(0x7FE00010, "OB", pixels + b"\0" * (len(pixels) & 1)),
            numbers(0x00280100, "US", 8),
            numbers(0x00280101, "US", 8),
            numbers(0x00280102, "US", 7),
        ]
        yield make(rng, draw_person(rng, words=_WORDS), "DX", instead=elements)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=20_400)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--radiographs", type=Path, help="a folder of pictures to wrap as DX images")
    options = parser.parse_args()
    failed = False
    for policy_name, policy in POLICIES.items():
        everyone, words = Tally(), Tally()
        templates: dict[str, Tally] = {name: Tally() for name in TEMPLATES}
        for name, person, received in drawn(options.instances, options.seed):
            reason = outcome(received, policy)
            for tally in (everyone, templates[name], *[words] * person.is_word):
                tally.add(reason)
        print(f"\n{policy_name}\n  drawn                {everyone}\n  names that are words {words}")
        for name, tally in templates.items():
            if tally.reasons:
                print(f"  {name:<20} {tally}")
        files = {"pydicom's files": shipped()}
        if options.radiographs:
            files["radiographs"] = radiographs(options.radiographs, options.seed)
        for name, instances in files.items():
            print(f"  {name:<20} {_tally(instances, policy)}")
        failed |= everyone.rate > TARGET or everyone.interval[1] > 2 * TARGET
    return int(failed)


def _tally(instances: Iterable[ReceivedInstance], policy: Policy) -> Tally:
    tally = Tally()
    for received in instances:
        tally.add(outcome(received, policy))
    return tally


if __name__ == "__main__":
    sys.exit(main())
