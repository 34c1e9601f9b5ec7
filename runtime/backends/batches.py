"""The batch sizes a device is run at, and how samples are put together for it. Buffers, plans and graphs are made once
for a size, so there are few of them, and a batch of another size is filled up with zeros whose answers are thrown away.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

import numpy as np

from runtime.inference import Array
from runtime.package import TensorSpec

_PIECE_BYTES: Final = 1 << 20
_MOST_COPYING: Final = 4  # threads; the memory's bandwidth is a few cores'


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


class Staging:
    """Memory of the host in which batches are put together before they go to a device, used again and again: new pages
    cost more than the copy. What it gives is written over by the next `join`, so the device must have read it by then.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        sizes: tuple[int, ...],
        allocate: Callable[[TensorSpec, int], Array],
        *,
        threads: int,
    ) -> None:
        """`allocate` makes the array for so many samples of an input, each of the `sizes` at most once; `threads`
        share a copy.
        """
        self._specs = specs
        self._sizes = sizes
        self._allocate = allocate
        self._arrays: dict[str, Array] = {}
        self._helpers = min(threads, _MOST_COPYING) - 1
        self._pool = ThreadPoolExecutor(max(1, self._helpers), thread_name_prefix="copy")

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """The samples of all parts, one after the other, which are no more than the largest size."""
        samples = sum(len(part[self._specs[0].name]) for part in parts)
        joined = {spec.name: self._array(spec, samples)[:samples] for spec in self._specs}
        self._copy([piece for name, whole in joined.items() for piece in _pieces(whole, [p[name] for p in parts])])
        return joined

    def holds(self, inputs: Mapping[str, Array]) -> bool:
        """Whether these are what `join` gave, or its first samples."""
        return all(
            (own := self._arrays.get(name)) is not None and own.ctypes.data == array.ctypes.data
            for name, array in inputs.items()
        )

    def close(self) -> None:
        """Let go of the memory and end the threads."""
        self._arrays.clear()
        self._pool.shutdown()

    def _array(self, spec: TensorSpec, samples: int) -> Array:
        array = self._arrays.get(spec.name)
        if array is None or len(array) < samples:
            self._arrays.pop(spec.name, None)  # before the larger one is taken
            array = self._arrays[spec.name] = self._allocate(spec, fitting(self._sizes, samples))
        return array

    def _copy(self, pieces: list[tuple[Array, Array]]) -> None:
        """Each thread takes the next piece, so that one that the machine holds up holds up one piece at most."""
        waiting = iter(pieces)

        def work() -> None:
            for target, source in waiting:
                np.copyto(target, source)

        helpers = [self._pool.submit(work) for _ in range(min(self._helpers, len(pieces) - 1))]
        try:
            work()
        finally:
            wait([helper for helper in helpers if not helper.cancel()])
        for helper in helpers:
            if not helper.cancelled():
                helper.result()


def _pieces(whole: Array, parts: Sequence[Array]) -> Iterator[tuple[Array, Array]]:
    """The copies that fill `whole` with `parts`, each of a few samples."""
    first = 0
    for part in parts:
        step = max(1, _PIECE_BYTES // max(1, part[:1].nbytes))
        for start in range(0, len(part), step):
            source = part[start : start + step]
            yield whole[first + start : first + start + len(source)], source
        first += len(part)
