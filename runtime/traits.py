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
Measured = tuple[dict["Trait", Numbers], Numbers]
"""What `measure` gives."""

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


def measure(samples: Array, black: float, white: float) -> Measured:
    """Each trait of `samples`, (samples, …, rows, columns), as (samples,); and their thumbnails, (samples, r, c).

    `black` and `white` are the numbers that the tensor has for them. All numbers count: what a gate refuses must not
    depend on which pixels were looked at. Samples are taken one by one, since one fits into a core's cache, and a batch
    costs several times as much for each.
    """
    planes = samples.reshape(len(samples), -1, *samples.shape[-2:])
    small = np.empty((len(planes), *(_fields(size).shape[1] for size in planes.shape[2:])))
    found = np.empty((len(planes), 4))
    for position, sample in enumerate(planes):
        grey = np.asarray((sample - np.float32(black)) / np.float32(white - black), np.float32)
        small[position] = _thumbnail(grey.mean(axis=0) if len(grey) > 1 else grey[0])
        flat = grey.reshape(-1)
        mean = flat.mean()
        black_ones, white_ones = np.count_nonzero(flat <= _NEARLY), np.count_nonzero(flat >= 1 - _NEARLY)
        flat -= mean
        found[position] = mean, np.dot(flat, flat) / flat.size, black_ones / flat.size, white_ones / flat.size
    means, variance, blacks, whites = found.T
    left = small.reshape(len(small), -1).var(axis=1)
    return {
        Trait.MEAN: means,
        Trait.CONTRAST: np.sqrt(variance),
        Trait.BLACK: blacks,
        Trait.WHITE: whites,
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


def _thumbnail(image: Array) -> Array:
    """Means over the fields of a grid of at most GRID × GRID that covers the image, (rows, columns)."""
    rows, columns = (_fields(size) for size in image.shape)
    return np.asarray(rows.T @ (image @ columns))


@functools.cache
def _fields(size: int) -> npt.NDArray[np.float32]:
    """(size, fields): by how much each place adds to the mean of each field."""
    edges = np.linspace(0, size, min(GRID, size) + 1).round().astype(int)
    weights = np.zeros((size, len(edges) - 1), np.float32)
    for field, (start, end) in enumerate(itertools.pairwise(edges)):
        weights[start:end, field] = 1 / (end - start)
    return weights
