"""A backend that runs when the test says so: for faults, and for the order of things that a real model hides."""

import threading
from collections.abc import Callable

import numpy as np

from runtime import Device
from runtime.inference import Array
from runtime.package import Precision

Check = Callable[[Array], None]


class GatedBackend:
    """Gives the sum of each sample, once for each `open`. `fault` may raise when it sees a batch."""

    device = Device.CPU
    precision = Precision.FLOAT32
    tolerance = 0.0
    memory_bytes = 1000

    def __init__(self, fault: Check | None = None) -> None:
        self.batches: list[list[float]] = []  # what ran together: the first number of each sample
        self.entered = threading.Semaphore(0)
        self.closed = threading.Event()
        self._gate = threading.Semaphore(0)
        self._fault = fault

    def open(self, runs: int = 1) -> None:
        """Let that many runs through."""
        self._gate.release(runs)

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        image = inputs["image"]
        self.batches.append([float(sample.flat[0]) for sample in image])
        self.entered.release()
        assert self._gate.acquire(timeout=30)
        if self._fault is not None:
            self._fault(image)
        total = image.reshape(len(image), -1).sum(axis=1)
        return {"probabilities": np.stack([total] * 3, axis=1).astype(np.float32)}

    def close(self) -> None:
        self.closed.set()
