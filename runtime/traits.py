"""What is measured of an input so that gate and drift can tell an unusual one: a few numbers, never the input itself.

An input is image-like if its samples have two dimensions or more; the last two are rows and columns. Everything is
measured on the tensor that the model gets, so training and serving see the same.
"""

import functools
import itertools
from enum import StrEnum, unique
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.inference import Array

Numbers = npt.NDArray[np.float64]

GRID: Final = 16
"""Rows and columns of a thumbnail; an input with fewer has thumbnails of its own size."""
_NEARLY: Final = 0.02  # of the range from black to white


@unique
class Trait(StrEnum):
    """One number of a sample, where 0 is black and 1 is white."""

    MEAN = "mean"
    CONTRAST = "contrast"  # the standard deviation
    BLACK = "black"  # the share of numbers that are black, or nearly so
    WHITE = "white"  # the share of numbers that are white, or nearly so
    COARSENESS = "coarseness"  # the share of the variance that is left in the thumbnail: of noise, next to none


def is_image(sample_shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape, without the batch dimension, can be measured."""
    return len(sample_shape) >= 2


def measure(samples: Array, black: float, white: float) -> tuple[dict[Trait, Numbers], Numbers]:
    """Each trait of `samples`, (samples, …, rows, columns), as (samples,); and their thumbnails, (samples, r, c).

    `black` and `white` are the numbers that the tensor has for them.
    """
    scale = np.float32(white - black)
    grey = (samples.reshape(len(samples), -1, *samples.shape[-2:]) - np.float32(black)) / scale
    flat = grey.reshape(len(samples), -1).astype(np.float32, copy=False)
    small = _thumbnails(grey.mean(axis=1) if grey.shape[1] > 1 else grey[:, 0])
    mean = flat.mean(axis=1)
    variance = np.asarray(flat.var(axis=1, mean=mean[:, None]), np.float64)
    left = small.reshape(len(small), -1).var(axis=1)
    return {
        Trait.MEAN: mean.astype(np.float64),
        Trait.CONTRAST: np.sqrt(variance),
        Trait.BLACK: np.count_nonzero(flat <= _NEARLY, axis=1) / flat.shape[1],
        Trait.WHITE: np.count_nonzero(flat >= 1 - _NEARLY, axis=1) / flat.shape[1],
        Trait.COARSENESS: np.divide(left, variance, out=np.zeros(len(left)), where=variance > 0),
    }, small


def likeness(thumbnails: Numbers, template: Numbers) -> Numbers:
    """Pearson's correlation of each thumbnail with the template; 0 for what is constant."""
    centred = _centred(thumbnails.reshape(len(thumbnails), -1))
    wanted = _centred(template.reshape(1, -1))[0]
    size = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted)
    return np.asarray(np.divide(centred @ wanted, size, out=np.zeros(len(size)), where=size > 0))


def template_of(thumbnails: Numbers) -> Numbers:
    """The mean of thumbnails, (r, c), each brought to mean 0 and standard deviation 1 first."""
    centred = _centred(thumbnails.reshape(len(thumbnails), -1))
    deviation = centred.std(axis=1, keepdims=True)
    same = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return np.asarray(same.mean(axis=0).reshape(thumbnails.shape[1:]))


def _centred(rows: Numbers) -> Numbers:
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))


def _thumbnails(images: Array) -> Numbers:
    """Means over the fields of a grid of at most GRID × GRID that covers each image, (samples, rows, columns)."""
    rows, columns = (_fields(size) for size in images.shape[1:])
    return np.asarray(rows.T @ (images @ columns), np.float64)


@functools.cache
def _fields(size: int) -> npt.NDArray[np.float32]:
    """(size, fields): by how much each place adds to the mean of each field."""
    edges = np.linspace(0, size, min(GRID, size) + 1).round().astype(int)
    weights = np.zeros((size, len(edges) - 1), np.float32)
    for field, (start, end) in enumerate(itertools.pairwise(edges)):
        weights[start:end, field] = 1 / (end - start)
    return weights
