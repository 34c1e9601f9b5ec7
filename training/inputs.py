"""Radiographs as tensors, preprocessed by the very function that the daemon preprocesses with."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from monai.data.dataset import CacheDataset

from runtime.preprocess import to_input
from training.packaging import preprocessing
from training.radiographs import LABELS, Radiograph, read_image

_WORKERS = 4


def load_inputs(data: Path, radiographs: Sequence[Radiograph], size: int) -> npt.NDArray[np.float32]:
    """Decode and preprocess, several at once: float32 (N, 1, `size`, `size`) in [0, 1].

    Raises `DataError` for a file that is missing or cannot be used.
    """
    specification = preprocessing(size)

    def load(radiograph: Radiograph) -> npt.NDArray[np.float32]:
        return to_input(read_image(data, radiograph), specification)

    loaded = CacheDataset(radiographs, load, num_workers=_WORKERS, progress=sys.stderr.isatty(), copy_cache=False)
    return np.stack([loaded[position] for position in range(len(radiographs))])


def label_indices(radiographs: Sequence[Radiograph]) -> npt.NDArray[np.int64]:
    """Return the index of each image's label in `LABELS`, (N,)."""
    return np.array([LABELS.index(radiograph.label) for radiograph in radiographs], dtype=np.int64)
