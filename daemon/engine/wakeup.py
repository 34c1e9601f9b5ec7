"""Wakes the indexer when a receiver has stored something. Only saves waiting: the indexer looks by itself, too."""

import contextlib
import os
import socket
from pathlib import Path

SOCKET_NAME = "wake.sock"


class WakeUp:
    """The engine's end: a datagram socket in the runtime directory."""

    def __init__(self, runtime_directory: Path) -> None:
        path = runtime_directory / SOCKET_NAME
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)

    def wait(self, seconds: float) -> None:
        """Return when woken, or after `seconds`; takes all wake-ups that have come together as one."""
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self._socket.recv(16)
            self._socket.setblocking(False)  # noqa: FBT003 - positional in the library
            while True:
                self._socket.recv(16)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class Waker:
    """A receiver's end. Never blocks, never fails: a lost wake-up costs half a second."""

    def __init__(self, runtime_directory: Path) -> None:
        self._path = str(runtime_directory / SOCKET_NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # noqa: FBT003 - positional only

    def wake(self) -> None:
        """Wake the engine, if it listens."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"w", self._path)
