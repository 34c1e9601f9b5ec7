"""Looks at every image of a data set before anything is learnt from it, and tells all that is wrong with them at once.

What is wrong ends the run: nothing is left out of a data set behind its owner's back. Images are told to be the same by
their pixels as the network would see them at full size, so whatever their files are called or how they are packed.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from training.errors import DataError
from training.radiographs import Radiograph, read_image

_WORKERS: Final = 4
_SHOWN: Final = 20  # files
_LEAST_SPAN: Final = 0.1  # of the greys from black to white


def inspect_images(folder: Path, radiographs: Sequence[Radiograph]) -> None:
    """Raise `DataError` for images that cannot be used, and for the same image of two patients or with two labels."""

    def look(radiograph: Radiograph) -> str | DataError:
        try:
            pixels = read_image(folder, radiograph)
        except DataError as error:
            return error
        span = float(np.ptp(pixels))
        if span < _LEAST_SPAN:
            return DataError(
                f"{radiograph.file}: its greys span {100 * span:.0f} % of their range; 12 bits in 16 must be scaled"
            )
        return f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"

    with ThreadPoolExecutor(_WORKERS) as threads:
        found = list(threads.map(look, radiographs))
    unusable = [str(each) for each in found if isinstance(each, DataError)]
    if unusable:
        raise DataError(_listed(f"{len(unusable)} of {len(found)} images cannot be used:", unusable))
    alike: dict[str, list[Radiograph]] = defaultdict(list)
    for radiograph, pixels in zip(radiographs, map(str, found), strict=True):
        alike[pixels].append(radiograph)
    doubled = [same for same in alike.values() if len({(one.patient, one.label) for one in same}) > 1]
    if doubled:
        raise DataError(
            _listed(
                "the same image is of two patients, or has two labels; leave in the table the one that is right:",
                (" = ".join(one.file for one in same) for same in doubled),
            )
        )


def _listed(what: str, lines: Iterable[str]) -> str:
    all_lines = list(lines)
    more = [f"and {len(all_lines) - _SHOWN} more"] if len(all_lines) > _SHOWN else []
    return "\n  ".join([what, *all_lines[:_SHOWN], *more])
