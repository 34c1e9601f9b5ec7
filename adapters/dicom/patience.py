"""How long a peer that we send to may keep us waiting: so long after the last PDU that it took, whatever it does then.

pynetdicom has no limit of its own once it is connected: its time-outs count while it waits for a whole PDU to be read,
and then it waits for that reading to end. A peer that sends byte by byte, or stops within a PDU, never lets us go.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, cast

from pynetdicom import evt
from pynetdicom.transport import AssociationSocket

_ON_THE_WAY_BYTES: Final = 1 << 18  # that the system may hold for the peer: more would pass for taken too soon


class Patience:
    """Ends the connection of one association when its peer has kept us waiting for `seconds`; a context manager."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None  # monotonic; None while nobody waits
        self._socket: socket.socket | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name="patience", daemon=True)

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        """What pynetdicom has to tell."""
        return [(evt.EVT_CONN_OPEN, self._connected), (evt.EVT_PDU_SENT, self._sent)]

    def __enter__(self) -> "Patience":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count while this lasts."""
        with self._changed:
            self._until = time.monotonic() + self._seconds
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._until = None

    def _connected(self, event: evt.Event) -> None:
        self._socket = cast(AssociationSocket, event.assoc.dul.socket).socket
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY_BYTES)

    def _sent(self, _event: evt.Event) -> None:
        """What the peer sends does not count: it could go on for ever."""
        with self._changed:
            if self._until is not None:
                self._until = time.monotonic() + self._seconds

    def _watch(self) -> None:
        with self._changed:
            while not self._over:
                left = None if self._until is None else self._until - time.monotonic()
                if left is not None and left <= 0:
                    self._until = None
                    self._end()
                self._changed.wait(left if left is None else max(0.0, left))

    def _end(self) -> None:
        """Whatever reads or writes, in another thread, finds the connection closed."""
        if self._socket is not None:
            with suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_RDWR)
