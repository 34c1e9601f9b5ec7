"""What `daemon.demo` draws, once in a process: a drawing takes as long as many tests together."""

import copy
import functools

import numpy as np
from pydicom import Dataset

from daemon.demo import drawing, phantom


@functools.cache
def frontal(seed: int) -> np.ndarray:
    """`draw_frontal`, not to be written to."""
    film = drawing.draw_frontal(seed)
    film.setflags(write=False)
    return film


@functools.cache
def lateral(seed: int) -> np.ndarray:
    """`draw_lateral`, not to be written to."""
    film = drawing.draw_lateral(seed)
    film.setflags(write=False)
    return film


def phantom_study() -> list[Dataset]:
    """The demonstration's study, of one's own."""
    return copy.deepcopy(_study())


@functools.cache
def _study() -> list[Dataset]:
    return phantom.phantom_study()
