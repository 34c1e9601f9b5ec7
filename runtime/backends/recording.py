"""Keeps this process off the GPU while a CUDA graph is recorded on it.

CUDA gives up a recording when any thread waits for the whole device or uses its default stream, as ONNX Runtime and
memory that is given back do, and fails that thread's call as well: its lane would take the device for lost. So all that
is done on a GPU stands in `working()`, and a recording in `recording()`. Neither is entered within the other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Many work at once, or one records. One that waits to record goes before those that come after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._recording = False  # or about to

    @contextmanager
    def working(self) -> Iterator[None]:
        """While something is done on the device."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While a graph is recorded: alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording)
            self._recording = True
            self._changed.wait_for(lambda: not self._working)
        try:
            yield
        finally:
            with self._changed:
                self._recording = False
                self._changed.notify_all()


_GPU = Turns()
working = _GPU.working
recording = _GPU.recording
