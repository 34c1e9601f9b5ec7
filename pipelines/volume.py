"""What a mask in a volume amounts to. Pure; a volume of tissue in millilitres is only as good as the mask."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CUBIC_MM_PER_ML = 1000.0


def millilitres(mask: npt.NDArray[np.bool_], spacing_mm: Sequence[float]) -> float:
    """The volume of what `mask` (slices, rows, columns) covers.

    `spacing_mm` are the distances between the centres of neighbouring voxels along the same axes. That between slices
    is measured from Image Position (Patient) (0020,0032); it is not Slice Thickness (0018,0050), since slices may
    overlap or leave gaps (PS3.3 C.7.6.2). Raises `ValueError` for a mask that is not three-dimensional or boolean, and
    for a distance that is not a positive number.
    """
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise ValueError(
            f"the mask must be boolean (slices, rows, columns), not {mask.dtype} of {mask.ndim} dimensions"
        )
    if len(spacing_mm) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise ValueError("the spacing must be three distances above 0 mm: between slices, rows and columns")
    return int(np.count_nonzero(mask)) * math.prod(spacing_mm) / _CUBIC_MM_PER_ML
