"""The chest radiographs that the classifier learns from: reading them, and dividing them by patient.

A division must never put two images of one patient on different sides; `divide` and `fold` work on patients only.
The data set's layout is ``labels.csv`` (file, label, patient, source) beside the files, or beside ``images/``. A file
is an image (JPEG, PNG), a DICOM file, or a folder of DICOM files, of which the frontal ones are taken. DICOM is chosen
and rendered as the daemon does it; it must say that it was de-identified, since nothing identified is learnt from.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from anonymize import DeidentifiedInstance
from pipelines.chest_xray import ChestXray
from pipelines.errors import UndecodablePixels, UnsuitableImage
from pipelines.image import read_data_set, render
from pipelines.pipeline import Selection, Technical
from runtime import InvalidInput, read_grey
from training.errors import DataError
from training.label_table import read_table

_PREAMBLE_BYTES: Final = 128  # before "DICM" (PS3.10 7.1)
LABELS = ("Normal", "Pneumonia", "COVID-19")  # of the bundled model


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


def read_labels(folder: Path, labels: Sequence[str] = LABELS) -> tuple[Radiograph, ...]:
    """Read ``labels.csv`` in `folder`, in the order of the file names; a row of a folder becomes one for each image.

    Raises `DataError` for what is missing, for labels that are none of `labels`, and for a file that is named twice.
    """
    path = folder / "labels.csv"
    lines: dict[Path, int] = {}
    found = []
    for row in read_table(path, labels):
        for image in _images(folder, Radiograph(row.file, row.label, row.patient, row.source)):
            place = _path(folder, image.file).resolve()
            if place in lines:
                raise DataError(f"{path}: lines {lines[place]} and {row.line} name the same file; leave one of them")
            lines[place] = row.line
            found.append(image)
    return tuple(sorted(found, key=lambda image: image.file))


def read_image(folder: Path, radiograph: Radiograph) -> npt.NDArray[np.float32]:
    """Decode one image to float32 (rows, columns) in [0, 1], 1 is white.

    Raises `DataError` for a file that is missing or cannot be decoded, and for DICOM that nobody de-identified, or that
    the daemon's pipeline would not take.
    """
    data = _read(_path(folder, radiograph.file))
    if data[_PREAMBLE_BYTES:].startswith(b"DICM"):
        instance, selection = _instance(radiograph.file, data)
        if not selection.selected:
            raise DataError(f"{radiograph.file}: the pipeline would not take it: {selection.reason}")
        try:
            return render(instance)
        except (UndecodablePixels, UnsuitableImage) as error:
            raise DataError(f"{radiograph.file}: {error.reason}") from None
    try:
        return read_grey(_path(folder, radiograph.file))
    except OSError as error:
        raise DataError(f"{radiograph.file}: is neither DICOM nor an image that can be decoded") from error
    except InvalidInput as error:
        raise DataError(f"{radiograph.file}: {error}") from None


def digest(folder: Path, radiographs: Iterable[Radiograph]) -> str:
    """The SHA-256 of what a run learns from: every file's bytes, label, patient and source, in order."""
    total = hashlib.sha256()
    for one in radiographs:
        content = hashlib.sha256(_read(_path(folder, one.file))).hexdigest()
        total.update("\0".join((one.file, one.label, one.patient, one.source, content, "")).encode())
    return total.hexdigest()


def _images(folder: Path, row: Radiograph) -> Iterable[Radiograph]:
    """The row itself; where it names a folder, one for each image of it that the daemon's pipeline would take."""
    place = _path(folder, row.file)
    if not place.is_dir():
        return (row,)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    names = [path.relative_to(place.parents[len(Path(row.file).parts) - 1]).as_posix() for path in files]
    found = [replace(row, file=name) for name, path in zip(names, files, strict=True) if _is_frontal(name, path)]
    if not found:
        raise DataError(f"{row.file}: the folder holds no frontal chest radiograph for presentation")
    return found


def _is_frontal(name: str, path: Path) -> bool:
    data = _read(path)
    if not data[_PREAMBLE_BYTES:].startswith(b"DICM"):
        return False
    return _instance(name, data)[1].selected


def _instance(name: str, data: bytes) -> tuple[DeidentifiedInstance, Selection]:
    """A DICOM file, and whether the pipeline would take it.

    It counts for de-identified only if it says so, Patient Identity Removed (0012,0062) (PS3.3 C.7.1.1).
    """
    instance = DeidentifiedInstance("", "", "", "", "", (data,))  # nothing here asks for its UIDs
    try:
        data_set = read_data_set(instance)
    except UndecodablePixels as error:
        raise DataError(f"{name}: {error.reason}") from None
    if data_set.get("PatientIdentityRemoved") != "YES":
        raise DataError(
            f"{name}: does not say that it was de-identified: Patient Identity Removed (0012,0062) is not YES. "
            "Train on what `kopru` de-identified"
        )
    try:
        return instance, ChestXray().select(Technical.of_data_set(data_set))
    except UndecodablePixels as error:
        return instance, Selection(selected=False, reason=error.reason)


def _path(folder: Path, name: str) -> Path:
    """Beside the table, or in ``images/`` beside it. A name cannot leave the data set."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{name!r}: a file of the label table must lie in the data set's folder")
    inside = folder / "images" / name
    return inside if inside.exists() else folder / name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror})") from None


def divide(
    radiographs: Sequence[Radiograph], seed: int, validation: float, test: float, labels: Sequence[str] = LABELS
) -> Division:
    """Divide by patient, each label in the same proportion; the same seed and table give the same division."""
    parts: dict[str, str] = {}
    for patients in _patients_by_rarest_label(radiographs, seed, labels).values():
        tests, validations = round(len(patients) * test), round(len(patients) * validation)
        for position, patient in enumerate(patients):
            parts[patient] = "test" if position < tests else "validation" if position < tests + validations else "train"
    return Division(*(tuple(r for r in radiographs if parts[r.patient] == p) for p in ("train", "validation", "test")))


def fold(
    radiographs: Sequence[Radiograph], seed: int, folds: int, labels: Sequence[str] = LABELS
) -> tuple[Division, ...]:
    """Return `folds` divisions for a cross-validation: part i tests, part i+1 validates, the others train.

    Each image is tested exactly once over all divisions.
    """
    if folds < 3:
        raise DataError(f"{folds} folds leave nothing to train on; use 3 or more")
    parts = {
        patient: position % folds
        for patients in _patients_by_rarest_label(radiographs, seed, labels).values()
        for position, patient in enumerate(patients)
    }
    members = [tuple(r for r in radiographs if parts[r.patient] == part) for part in range(folds)]
    divisions = []
    for part in range(folds):
        held = {part, (part + 1) % folds}
        train = tuple(r for other in range(folds) if other not in held for r in members[other])
        divisions.append(Division(train, members[(part + 1) % folds], members[part]))
    return tuple(divisions)


def check_parts(divisions: Iterable[Division], labels: Sequence[str]) -> None:
    """Raise `DataError` where a part lacks a label: it could not be learnt, no threshold chosen, nothing measured."""
    for division in divisions:
        parts = {"training": division.train, "validation": division.validation, "test": division.test}
        whole = division.train + division.validation + division.test
        for (name, part), label in product(parts.items(), labels):
            if label not in {radiograph.label for radiograph in part}:
                patients = len({radiograph.patient for radiograph in whole if radiograph.label == label})
                raise DataError(
                    f"a {name} part has no image labelled {label!r}: {patients} patients have one, "
                    "too few patients to be divided like this"
                )


def _patients_by_rarest_label(
    radiographs: Sequence[Radiograph], seed: int, labels: Sequence[str]
) -> dict[str, list[str]]:
    """Group patients by the rarest label they have (a few have two), of equally rare ones the first of `labels`; each
    group is shuffled by `seed`.
    """
    count = {label: sum(r.label == label for r in radiographs) for label in labels}
    had: dict[str, set[str]] = {}
    for radiograph in radiographs:
        had.setdefault(radiograph.patient, set()).add(radiograph.label)
    groups: dict[str, list[str]] = {label: [] for label in labels}
    for patient in sorted(had):
        groups[min(filter(had[patient].__contains__, labels), key=lambda label: count[label])].append(patient)
    generator = random.Random(seed)  # noqa: S311  # a reproducible shuffle, no secret
    for group in groups.values():
        generator.shuffle(group)
    return groups
