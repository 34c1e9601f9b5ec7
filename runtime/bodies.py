"""Shared memory for the tensors that a client sends, used again: pages that are there cost a fifth of new ones."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from runtime import wire

_MOST: Final = 32
_MOST_BYTES: Final = 256 << 20


class Bodies:
    """Bodies of messages (`runtime.wire`) that nobody reads any more. Safe to use from several threads.

    At most `_MOST` are kept, and `_MOST_BYTES` in all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._owner = os.getpid()

    @contextlib.contextmanager
    def lend(self, size: int) -> Iterator[int]:
        """A body of at least `size` bytes, for as long as a peer reads it.

        It is used again only if all goes well: after an error, a time that is over above all, the peer may read it yet.
        """
        body = self._take(size)
        try:
            yield body
        except BaseException:
            os.close(body)
            raise
        self._keep(body)

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            free, self._free = self._free, []
        for body in free:
            os.close(body)

    def _take(self, size: int) -> int:
        with self._lock:
            if self._owner != os.getpid():  # after a fork they are the parent's, who writes into them
                self._free, self._owner = [], os.getpid()
            body = self._free.pop() if self._free else None
        if body is not None:
            if os.fstat(body).st_size >= size:
                return body
            os.close(body)
        return wire.new_body(size)

    def _keep(self, body: int) -> None:
        with self._lock:
            kept_bytes = sum(os.fstat(one).st_size for one in (*self._free, body))
            if self._owner == os.getpid() and len(self._free) < _MOST and kept_bytes <= _MOST_BYTES:
                self._free.append(body)
                return
        os.close(body)
