"""A TCP connection that carries PDUs: reads whole ones within limits of size and time, and closes as PS3.8 9.1 wants.

Memory is taken for a PDU only when its announced length is one that we allow, so a length of 4 GB costs nothing.
"""

import socket
import time
from contextlib import suppress
from typing import Final

from adapters.dicom.errors import AbortReason, ConnectionLost, ProtocolError
from adapters.dicom.upper_layer import PDU_HEADER, PduType

_MAXIMUM_OTHER_BYTES: Final = 1 << 20  # 128 contexts with 100 transfer syntaxes each stay below it
_TOLERANCE_BYTES: Final = 64  # some peers do not count the fragment's header
_LINGER_SECONDS: Final = 2.0


class Connection:
    """One accepted connection. `timeout_seconds` is how long it may be silent while we wait for bytes or for room."""

    def __init__(self, accepted: socket.socket, *, maximum_pdu_bytes: int, timeout_seconds: float) -> None:
        self._socket = accepted
        self._maximum_pdu_bytes = maximum_pdu_bytes + _TOLERANCE_BYTES
        self._timeout_seconds = timeout_seconds
        self._buffer = bytearray()
        accepted.settimeout(timeout_seconds)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def read_pdu(self, *, deadline: float | None = None) -> tuple[PduType, memoryview]:
        """The next PDU: its type and what follows its header, valid until the next call.

        Raises `ConnectionLost`, `ProtocolError`, and `TimeoutError` on silence or past `deadline` (monotonic seconds).
        """
        self._acknowledge_at_once()
        header = self._read(PDU_HEADER.size, deadline, within=False)
        code, length = PDU_HEADER.unpack(header)
        try:
            kind = PduType(code)
        except ValueError:
            raise ProtocolError(AbortReason.UNRECOGNIZED_PDU, "the bytes are no PDU") from None
        limit = self._maximum_pdu_bytes if kind is PduType.P_DATA else _MAXIMUM_OTHER_BYTES
        if length > limit:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, f"a PDU of {length} bytes is longer than we allow")
        return kind, self._read(length, deadline, within=True)

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises `ConnectionLost`, `TimeoutError`."""
        try:
            self._socket.settimeout(self._timeout_seconds)
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionLost(f"the peer is gone: {error.strerror}", cleanly=False) from None

    def interrupt(self) -> None:
        """Make a read that waits, in another thread, end as if the peer had closed."""
        with suppress(OSError):  # already closed
            self._socket.shutdown(socket.SHUT_RD)

    def close(self, *, linger: bool = False) -> None:
        """Close. With `linger`, let the peer close first (PS3.8 9.2, Sta13), so that it reads what we sent last."""
        with suppress(OSError):  # it is closed whatever the peer's end says
            if linger:
                deadline = time.monotonic() + _LINGER_SECONDS
                while (left := deadline - time.monotonic()) > 0:
                    self._socket.settimeout(left)
                    if not self._socket.recv(1 << 16):
                        break
        self._socket.close()

    def _acknowledge_at_once(self) -> None:
        """Spare senders that leave Nagle's algorithm on 40 ms for each instance: they write command and data apart.

        The kernel forgets the option again and again (tcp(7)), so it is set for each PDU.
        """
        with suppress(OSError):  # the connection is gone; the read that follows says so
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _read(self, size: int, deadline: float | None, *, within: bool) -> memoryview:
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        view = memoryview(self._buffer)[:size]
        done = 0
        while done < size:
            timeout = self._timeout_seconds
            if deadline is not None:
                timeout = min(timeout, deadline - time.monotonic())
                if timeout <= 0:
                    raise TimeoutError
            self._socket.settimeout(timeout)
            try:
                received = self._socket.recv_into(view[done:])
            except TimeoutError:
                raise
            except OSError as error:
                raise ConnectionLost(f"the connection broke: {error.strerror}", cleanly=False) from None
            if not received:
                cut = within or done > 0
                raise ConnectionLost("the peer closed within a PDU" if cut else "the peer closed", cleanly=not cut)
            done += received
        return view
