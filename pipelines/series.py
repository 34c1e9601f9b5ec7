"""From the slices of a CT series to one volume: `read_slice`, then `stack`, which refuses whatever is not plainly one.

A volume that lacks a slice, or has one twice, gives wrong millilitres and a mask at the wrong place, so nothing is
mended and nothing guessed. Where a slice lies is told by Image Position and Orientation (Patient) alone (PS3.3
C.7.6.2.1.1); Slice Thickness, Slice Location and Instance Number are not looked at. Knows no patient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from anonymize import DeidentifiedInstance
from pipelines.errors import UnsuitableImage
from pipelines.image import hounsfield, undecodable
from pipelines.volume import Shape, averaged

MOST_VOXELS: Final = 1 << 28
"""1024 slices of 512 × 512: what one volume may have, so that its mask fits into memory whoever sends it."""

_FURTHEST_MM: Final = 10_000.0  # from the origin of the frame of reference
_SPACING_MM: Final = (0.05, 50.0)  # between pixels and between slices
_ROUNDING: Final = 1e-3  # of a direction cosine, and of a pixel spacing relative to itself
_LEAST_TOLERANCE_MM: Final = 0.1  # positions are often written with one decimal
_UNEVEN: Final = 0.05  # by which share of itself a distance between slices may differ from the others
_TILT_DEGREES: Final = 0.1


@dataclass(frozen=True, slots=True)
class Slice:
    """One CT image: which it is, where it lies in the patient's coordinates, and what is left of its pixels.

    `position_mm` is the centre of the first pixel, `orientation` the directions of its rows and its columns (PS3.3
    C.7.6.2.1.1), `spacing_mm` the distances between rows and between columns, `shape` their numbers. `values` are the
    Hounsfield units, averaged over the cells of a grid.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    series_number: int | None
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    values: npt.NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Volume:
    """Slices that make one volume, in the direction of their normal: their SOP Instance UIDs and positions.

    `shape` is (slices, rows, columns), `spacing_mm` the distances between the voxels' centres along the same axes.
    """

    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    series_number: int | None
    slices: tuple[str, ...] = field(repr=False)
    positions_mm: tuple[tuple[float, ...], ...] = field(repr=False)
    orientation: tuple[float, ...]
    shape: Shape
    spacing_mm: tuple[float, float, float]

    @property
    def extent_mm(self) -> tuple[float, ...]:
        """How long the volume is along each axis, voxels whole."""
        return tuple(size * step for size, step in zip(self.shape, self.spacing_mm, strict=True))


def read_slice(data_set: Dataset, instance: DeidentifiedInstance, grid: tuple[int, int]) -> Slice:
    """Read a CT image and average it over the cells of a grid (rows, columns).

    Raises `UnsuitableImage`, `UndecodablePixels`.
    """
    with undecodable():
        shape = int(data_set.get("Rows") or 0), int(data_set.get("Columns") or 0)
        if any(size < count for size, count in zip(shape, grid, strict=True)):
            raise UnsuitableImage("the slices have fewer rows or columns than the model's grid")
        if abs(float(data_set.get("GantryDetectorTilt") or 0)) > _TILT_DEGREES:
            raise UnsuitableImage("the gantry was tilted")
        frame_of_reference = str(data_set.get("FrameOfReferenceUID") or "")
        if not frame_of_reference:
            raise UnsuitableImage("a slice has no Frame of Reference UID (0020,0052)")
        number = data_set.get("SeriesNumber")
        position = _numbers(data_set, "ImagePositionPatient", 3)
        orientation = _numbers(data_set, "ImageOrientationPatient", 6)
        between_rows, between_columns = _numbers(data_set, "PixelSpacing", 2)
        _check_place(position, orientation, (between_rows, between_columns))
        return Slice(
            sop_instance_uid=instance.sop_instance_uid,
            series_instance_uid=instance.series_instance_uid,
            study_instance_uid=instance.study_instance_uid,
            frame_of_reference_uid=frame_of_reference,
            series_number=None if number in (None, "") else int(number),
            position_mm=position,
            orientation=orientation,
            spacing_mm=(between_rows, between_columns),
            shape=shape,
            values=averaged(averaged(hounsfield(data_set), grid[0], 0), grid[1], 1),
        )


def stack(slices: Sequence[Slice], depth: int) -> tuple[Volume, npt.NDArray[np.float32]]:
    """The volume that slices of one series make, and their values averaged over `depth` cells along its normal.

    Raises `UnsuitableImage` with the first reason why they make none.
    """
    first = slices[0]
    if len(slices) < 2:
        raise UnsuitableImage("the series is a single slice")
    if len(slices) * math.prod(first.shape) > MOST_VOXELS:
        raise UnsuitableImage(f"the series has more than {MOST_VOXELS} voxels")
    _check_alike(slices)
    across, along = (np.array(first.orientation[start : start + 3]) for start in (0, 3))
    normal = np.cross(across, along)
    ordered = sorted(slices, key=lambda slice_: float(np.dot(slice_.position_mm, normal)))
    positions = np.array([slice_.position_mm for slice_ in ordered])
    step = _step(positions, normal, min(first.spacing_mm))
    if len(slices) < depth:
        raise UnsuitableImage("the series has fewer slices than the model's grid")
    volume = Volume(
        series_instance_uid=first.series_instance_uid,
        study_instance_uid=first.study_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        series_number=first.series_number,
        slices=tuple(slice_.sop_instance_uid for slice_ in ordered),
        positions_mm=tuple(slice_.position_mm for slice_ in ordered),
        orientation=first.orientation,
        shape=(len(ordered), *first.shape),
        spacing_mm=(step, *first.spacing_mm),
    )
    return volume, averaged(np.stack([slice_.values for slice_ in ordered]), depth, 0)


def _numbers(data_set: Dataset, keyword: str, count: int) -> tuple[Any, ...]:
    values = data_set.get(keyword)
    numbers = () if values is None else tuple(float(value) for value in values)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UnsuitableImage(f"a slice lacks {count} finite numbers in {_NAMES[keyword]}")
    return numbers


_NAMES: Final = {
    "ImagePositionPatient": "Image Position (Patient) (0020,0032)",
    "ImageOrientationPatient": "Image Orientation (Patient) (0020,0037)",
    "PixelSpacing": "Pixel Spacing (0028,0030)",
}


def _check_place(position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float]) -> None:
    if max(map(abs, position)) > _FURTHEST_MM:
        raise UnsuitableImage("a slice lies further than 10 m from its origin")
    across, along = np.array(orientation[:3]), np.array(orientation[3:])
    crooked = max(abs(np.linalg.norm(across) - 1), abs(np.linalg.norm(along) - 1), abs(across @ along))
    if not crooked <= 10 * _ROUNDING:
        raise UnsuitableImage("Image Orientation (Patient) (0020,0037) is no pair of perpendicular directions")
    if not all(_SPACING_MM[0] <= step <= _SPACING_MM[1] for step in spacing):
        raise UnsuitableImage("Pixel Spacing (0028,0030) is not between 0.05 and 50 mm")


def _check_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices that differ in what all slices of one volume share."""
    first = slices[0]
    for other in slices:
        if other.study_instance_uid != first.study_instance_uid:
            raise UnsuitableImage("the slices of the series are of different studies")
        if other.frame_of_reference_uid != first.frame_of_reference_uid:
            raise UnsuitableImage("the slices have different frames of reference")
        if not np.allclose(other.orientation, first.orientation, rtol=0, atol=_ROUNDING):
            raise UnsuitableImage("the slices have different orientations")
        if other.shape != first.shape:
            raise UnsuitableImage("the slices have different numbers of rows or columns")
        if not np.allclose(other.spacing_mm, first.spacing_mm, rtol=_ROUNDING, atol=0):
            raise UnsuitableImage("the slices have different pixel spacings")


def _step(positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], pixel_mm: float) -> float:
    """The distance between neighbouring slices, (slices, 3) in their order along the normal."""
    moved = positions - positions[0]
    along = moved @ normal
    distances = np.diff(along)
    usual = float(np.median(distances))
    if distances.min() < max(_SPACING_MM[0], usual / 2):
        raise UnsuitableImage("two slices lie at the same place")
    if distances.max() > 1.5 * usual:
        raise UnsuitableImage("a slice is missing")
    if np.abs(distances - usual).max() > max(_LEAST_TOLERANCE_MM, _UNEVEN * usual):
        raise UnsuitableImage("the slices are not equally spaced")
    if np.linalg.norm(moved - np.outer(along, normal), axis=1).max() > pixel_mm / 2:
        raise UnsuitableImage("the slices are shifted against each other, as by a tilted gantry")
    step = float(along[-1]) / len(distances)
    if step > _SPACING_MM[1]:
        raise UnsuitableImage("the slices are more than 50 mm apart")
    return step
