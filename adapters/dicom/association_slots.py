"""How many associations are open, counted over all receiver processes of a host without a process that counts.

One file stands for one allowed association; who holds its lock (flock(2)) has the slot. The kernel frees it when the
holder dies, however it dies.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from random import randrange

from adapters.durable_files import make_directory


class AssociationSlots:
    """`maximum` slots in one folder, which all receivers share."""

    def __init__(self, folder: Path, maximum: int) -> None:
        make_directory(folder)
        self._paths = [folder / f"{number:05d}" for number in range(maximum)]

    def take(self) -> Callable[[], None] | None:
        """Take a free slot and get the function that gives it back; None if there is none."""
        start = randrange(len(self._paths))  # noqa: S311 - spreads the attempts, keeps no secret
        for path in self._paths[start:] + self._paths[:start]:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            return lambda held=descriptor: os.close(held)  # type: ignore[misc]
        return None
