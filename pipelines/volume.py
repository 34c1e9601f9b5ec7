"""What a mask in a volume amounts to, and how a volume and a model's coarser grid map on each other. Pure.

A volume of tissue in millilitres is only as good as the mask. A volume and its grid cover the same space; each voxel
belongs to the one cell of the grid that its centre lies in.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float32]
Shape = tuple[int, int, int]

_CUBIC_MM_PER_ML: Final = 1000.0


def millilitres(mask: Mask, spacing_mm: Sequence[float]) -> float:
    """The volume of what `mask` (slices, rows, columns) covers.

    `spacing_mm` are the distances between the centres of neighbouring voxels along the same axes. That between slices
    is measured from Image Position (Patient) (0020,0032); it is not Slice Thickness (0018,0050), since slices may
    overlap or leave gaps (PS3.3 C.7.6.2). Raises `ValueError` for a mask that is not three-dimensional or boolean, and
    for a distance that is not a positive number.
    """
    return millilitres_of_cells(mask, mask.shape, spacing_mm)


def millilitres_of_cells(mask: Mask, shape: tuple[int, ...], spacing_mm: Sequence[float]) -> float:
    """The `millilitres` of the voxels of a volume of that shape whose cells are in `mask`: counted, not made.

    Raises `ValueError`, also for a volume that is smaller than the grid.
    """
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise ValueError(
            f"the mask must be boolean (slices, rows, columns), not {mask.dtype} of {mask.ndim} dimensions"
        )
    if len(spacing_mm) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise ValueError("the spacing must be three distances above 0 mm: between slices, rows and columns")
    per_slice, per_row, per_column = (
        np.bincount(cells(size, count), minlength=count) for size, count in zip(shape, mask.shape, strict=True)
    )
    voxels = int(per_slice @ (mask @ per_column @ per_row))
    return voxels * math.prod(spacing_mm) / _CUBIC_MM_PER_ML


def cells(size: int, count: int) -> npt.NDArray[np.int64]:
    """For each of `size` voxels along an axis, the cell that it belongs to, of `count` cells of equal length.

    None of the cells is left without a voxel. Raises `ValueError` for fewer voxels than cells.
    """
    if not 0 < count <= size:
        raise ValueError("a grid has one cell at least, and no more cells than there are voxels")
    return (np.arange(size) * 2 + 1) * count // (2 * size)


def averaged(values: Values, count: int, axis: int) -> Values:
    """The mean over the voxels of each cell along one axis: as many as `count` are left."""
    starts = np.searchsorted(cells(values.shape[axis], count), np.arange(count))
    sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
    sizes = np.diff(starts, append=values.shape[axis])
    return np.asarray(sums / sizes.reshape([-1 if n == axis else 1 for n in range(values.ndim)]), np.float32)


def spread(mask: Mask, shape: Shape) -> Iterator[Mask]:
    """Slice by slice, (rows, columns), a volume of that shape in which each voxel has its cell's value in `mask`."""
    across = np.ix_(*(cells(size, count) for size, count in zip(shape[1:], mask.shape[1:], strict=True)))
    for cell in cells(shape[0], mask.shape[0]):
        yield mask[cell][across]
