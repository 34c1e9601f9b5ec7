"""The chest radiographs that the classifier learns from: reading them, and dividing them by patient.

A division must never put two images of one patient on different sides; `divide` and `fold` work on patients only.
The data set's layout is ``labels.csv`` (file, label, patient, source) beside ``images/``.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.errors import DataError

LABELS = ("Normal", "Pneumonia", "COVID-19")


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One labelled image. `patient` is the data set's own random code, not an identity."""

    file: str
    label: str
    patient: str
    source: str


@dataclass(frozen=True, slots=True)
class Division:
    """Three lists that share no patient."""

    train: tuple[Radiograph, ...]
    validation: tuple[Radiograph, ...]
    test: tuple[Radiograph, ...]


def read_labels(folder: Path) -> tuple[Radiograph, ...]:
    """Read ``labels.csv`` in `folder`, in the order of the file names. Raises `DataError` for what is missing."""
    path = folder / "labels.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [Radiograph(r["file"], r["label"], r["patient"], r["source"]) for r in csv.DictReader(stream)]
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as the label table: {error!r}") from error
    if not rows:
        raise DataError(f"{path}: holds no rows")
    strange = {row.label for row in rows} - set(LABELS)
    if strange:
        raise DataError(f"{path}: unknown label {sorted(strange)[0]!r}; known are {LABELS}")
    return tuple(sorted(rows, key=lambda row: row.file))


def read_image(folder: Path, radiograph: Radiograph) -> npt.NDArray[np.float32]:
    """Decode one image to float32 (rows, columns) in [0, 1], 1 is white."""
    with Image.open(folder / "images" / radiograph.file) as image:
        return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def divide(radiographs: Sequence[Radiograph], seed: int, validation: float, test: float) -> Division:
    """Divide by patient, each label in the same proportion; the same seed and table give the same division."""
    parts: dict[str, str] = {}
    for patients in _patients_by_rarest_label(radiographs, seed).values():
        tests, validations = round(len(patients) * test), round(len(patients) * validation)
        for position, patient in enumerate(patients):
            parts[patient] = "test" if position < tests else "validation" if position < tests + validations else "train"
    return Division(*(tuple(r for r in radiographs if parts[r.patient] == p) for p in ("train", "validation", "test")))


def fold(radiographs: Sequence[Radiograph], seed: int, folds: int) -> tuple[Division, ...]:
    """Return `folds` divisions for a cross-validation: part i tests, part i+1 validates, the others train.

    Each image is tested exactly once over all divisions.
    """
    if folds < 3:
        raise DataError(f"{folds} folds leave nothing to train on; use 3 or more")
    parts = {
        patient: position % folds
        for patients in _patients_by_rarest_label(radiographs, seed).values()
        for position, patient in enumerate(patients)
    }
    members = [tuple(r for r in radiographs if parts[r.patient] == part) for part in range(folds)]
    divisions = []
    for part in range(folds):
        held = {part, (part + 1) % folds}
        train = tuple(r for other in range(folds) if other not in held for r in members[other])
        divisions.append(Division(train, members[(part + 1) % folds], members[part]))
    return tuple(divisions)


def _patients_by_rarest_label(radiographs: Sequence[Radiograph], seed: int) -> dict[str, list[str]]:
    """Group patients by the rarest label they have (a few have two), each group shuffled by `seed`."""
    count = {label: sum(r.label == label for r in radiographs) for label in LABELS}
    labels: dict[str, set[str]] = {}
    for radiograph in radiographs:
        labels.setdefault(radiograph.patient, set()).add(radiograph.label)
    groups: dict[str, list[str]] = {label: [] for label in LABELS}
    for patient in sorted(labels):
        groups[min(labels[patient], key=lambda label: count[label])].append(patient)
    generator = random.Random(seed)  # noqa: S311  # a reproducible shuffle, no secret
    for group in groups.values():
        generator.shuffle(group)
    return groups
