"""A client's connections to the runtime, each with memory of its own for the tensors that it sends, used again: pages
that are there, and mapped on both sides, cost a fifth of new ones.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from runtime import wire
from runtime.errors import OutOfMemory
from runtime.inference import Array

_MOST: Final = 128
_MOST_BYTES: Final = 256 << 20


class Link:
    """One connection; for one user at a time."""

    def __init__(self, path: Path, end: float) -> None:
        """Connect. Raises `OSError`, `TimeoutError` if that takes until `end` (on the monotonic clock)."""
        self._memory: wire.Memory | None = None
        self._others_bytes = 0  # of memory that is not its own and that the peer has mapped, until it is sent another
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(_left(end))
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise

    @property
    def memory_bytes(self) -> int:
        """What its memory takes, here and in the peer, and what the peer keeps of another's because of it."""
        return (self._memory.size if self._memory else 0) + self._others_bytes

    def body(self, headers: Sequence[wire.TensorHeader], tensors: Mapping[str, Array]) -> wire.Memory | bytes:
        """A body of these `tensors`, which `headers` describe, until the next one. Raises `OutOfMemory`."""
        size = wire.size_of(headers)
        if wire.is_inline(size):
            return wire.inline(headers, tensors)
        if self._memory is None or self._memory.size < size:
            self._forget()
            with _memory_is_short():
                self._memory = wire.Memory(size)
        self._memory.write(headers, tensors)
        return self._memory

    def ask(self, request: bytes, body: wire.Memory | bytes | None, end: float) -> tuple[bytes, wire.Body | None]:
        """Send a request and wait for its reply: the header, empty when the peer is gone, and the body, which the
        caller closes. Raises `OSError`, `TimeoutError` at `end`, `wire.BadMessage`.
        """
        self._socket.settimeout(_left(end))  # for both: an idle connection has room for a message
        wire.send(self._socket, request, body)
        if isinstance(body, wire.Memory):
            self._others_bytes = 0 if body is self._memory else body.size
        return wire.receive(self._socket)

    def stands(self) -> bool:
        """Whether it is quiet: anything to read, even the end, means that it cannot be used."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection, and let go of the memory."""
        self._socket.close()
        self._forget()

    def _forget(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None


class Links:
    """The links to one socket. Safe to use from several threads.

    At most `_MOST` idle ones are kept, and `_MOST_BYTES` of memory with them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._idle_bytes = 0
        self._owner = os.getpid()

    def take(self, end: float) -> Link:
        """An idle one that still stands, or a new one. Raises as `Link` does.

        Give it back only after a whole reply, so that an answer never meets another's question, and that nobody reads
        its memory any more; else close it.
        """
        while True:
            with self._lock:
                # After a fork the idle ones are the parent's, and two users of one would mix up their answers.
                if self._owner != os.getpid():
                    self._idle, self._idle_bytes, self._owner = [], 0, os.getpid()
                if not self._idle:
                    break
                link = self._idle.pop()
                self._idle_bytes -= link.memory_bytes
            if link.stands():
                return link
            link.close()
        return Link(self._path, end)

    def give_back(self, link: Link) -> None:
        """Keep it for the next user, or close it."""
        with self._lock:
            kept_bytes = self._idle_bytes + link.memory_bytes
            if self._owner == os.getpid() and len(self._idle) < _MOST and kept_bytes <= _MOST_BYTES:
                self._idle.append(link)
                self._idle_bytes = kept_bytes
                return
        link.close()

    def close(self) -> None:
        """Close those that nobody uses. Others can still be taken."""
        with self._lock:
            idle, self._idle, self._idle_bytes = self._idle, [], 0
        for link in idle:
            link.close()


def packed(headers: Sequence[wire.TensorHeader], tensors: Mapping[str, Array]) -> wire.Memory | bytes:
    """See `wire.packed`. Raises `OutOfMemory`."""
    with _memory_is_short():
        return wire.packed(headers, tensors)


@contextlib.contextmanager
def _memory_is_short() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfMemory(f"there is no memory to send these inputs in ({error.strerror}); try again later") from None


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
