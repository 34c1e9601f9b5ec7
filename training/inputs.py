"""Radiographs as tensors, preprocessed by the very function that the daemon preprocesses with."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from monai.data.dataset import CacheDataset

from runtime.preprocess import Sample, to_input
from training.errors import DataError
from training.export import Greys
from training.network import as_images
from training.packaging import preprocessing
from training.radiographs import LABELS, Radiograph, read_image

_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Images of one part of a division, preprocessed as in service, with what is known of them: `inputs` are
    (N, 1, size, size), `targets` the indices of their labels, (N,).
    """

    radiographs: tuple[Radiograph, ...]
    inputs: Greys
    targets: npt.NDArray[np.int64]

    @property
    def images(self) -> torch.Tensor:
        """The inputs as networks take them."""
        return as_images(torch.from_numpy(self.inputs))

    @property
    def patients(self) -> list[str]:
        """The patient of each image."""
        return [radiograph.patient for radiograph in self.radiographs]

    @classmethod
    def load(cls, data: Path, radiographs: tuple[Radiograph, ...], size: int, labels: Sequence[str] = LABELS) -> Self:
        """Decode and preprocess `radiographs` of the folder `data`. Raises `DataError`."""
        return cls(radiographs, load_inputs(data, radiographs, size), label_indices(radiographs, labels))


def load_inputs(data: Path, radiographs: Sequence[Radiograph], size: int) -> Greys:
    """Decode and preprocess, several at once: uint16 (N, 1, `size`, `size`).

    Raises `DataError` for a file that is missing or cannot be used, and where there is none.
    """
    if not radiographs:
        raise DataError("a part of the division has no image: the table has too few patients to be divided")
    specification = preprocessing(size)

    def load(radiograph: Radiograph) -> Sample:
        return to_input(read_image(data, radiograph), specification)

    loaded = CacheDataset(radiographs, load, num_workers=_WORKERS, progress=sys.stderr.isatty(), copy_cache=False)
    return np.stack([loaded[position] for position in range(len(radiographs))])


def label_indices(radiographs: Sequence[Radiograph], labels: Sequence[str] = LABELS) -> npt.NDArray[np.int64]:
    """Return the index of each image's label in `labels`, (N,)."""
    return np.array([labels.index(radiograph.label) for radiograph in radiographs], dtype=np.int64)
