"""The batch sizes a device is run at. Buffers, plans and graphs are made once for a size, so there are few of them, and
a batch of another size is filled up with zeros whose answers are thrown away.
"""

import numpy as np

from runtime.inference import Array


def run_sizes(most: int) -> tuple[int, ...]:
    """Powers of two below `most`, and `most`: no batch is filled to twice its size."""
    return (*(1 << power for power in range((most - 1).bit_length())), most)


def fitting(sizes: tuple[int, ...], samples: int) -> int:
    """The smallest of the ascending `sizes` that takes `samples`."""
    return next(size for size in sizes if size >= samples)


def filled(array: Array, size: int) -> Array:
    """`array` with samples of zeros behind its own, `size` in all; C-contiguous."""
    if len(array) == size:
        return np.ascontiguousarray(array)
    whole = np.zeros((size, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole
