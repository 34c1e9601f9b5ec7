"""Looks for a few short byte strings in many megabytes, as fast as memory can be read once.

Exact but for the case of ASCII letters: it finds what `lower()` and `find` would, across pieces as within them; but a
number of six or seven digits, or of two different ones, is found only where it is no part of a longer one, since dark
tissue of 8-bit images is made of bytes that are digits. At the edge of a piece it counts as whole. It never says where
something was found. Each byte is looked at once for all tokens together; what may hold one is searched plainly.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from anonymize.pixels.words import Bytes

SHORTEST: Final = 6
"""Bytes that a token must have: shorter ones are met by chance in any image."""

_CHUNK_BYTES: Final = 1 << 20  # what is searched plainly if it may hold a token: a millisecond or two
_PLAIN_BYTES: Final = 1 << 12  # below this, the tables of the fast way would take longer
_CASE: Final = 0x20202020
_LONG_NUMBER: Final = 8
_TELLING_DIGITS: Final = 3  # different ones: 00000001 is a step in the grey of an image
_DIGITS: Final = re.compile(rb"\d*")


class BulkSearch:
    """A search for any of some tokens, whatever the case of their ASCII letters."""

    def __init__(self, tokens: Iterable[bytes]) -> None:
        """Raises `ValueError` for a token shorter than `SHORTEST`."""
        self._tokens = {token.lower() for token in tokens}
        if any(len(token) < SHORTEST for token in self._tokens):
            raise ValueError(f"a token must have {SHORTEST} bytes or more")
        self._overlap = max(map(len, self._tokens), default=1) - 1
        self._filter: _Filter | None = None

    def finds(self, pieces: Iterable[Bytes]) -> bool:
        """Whether a token is in the bytes that `pieces` make one after the other."""
        if not self._tokens:
            return False
        before = b""
        for piece in pieces:
            around = before + bytes(piece[: self._overlap])
            if (before and self._is_plainly_in(around)) or self._is_in(piece):
                return True
            before = (around if len(piece) <= self._overlap else bytes(piece[-self._overlap :]))[-self._overlap :]
        return False

    def _is_in(self, data: Bytes) -> bool:
        if len(data) <= _PLAIN_BYTES:
            return self._is_plainly_in(data)
        if self._filter is None:
            self._filter = _Filter(self._tokens)
        view = memoryview(data)
        chunks = (view[start : start + _CHUNK_BYTES + self._overlap] for start in range(0, len(view), _CHUNK_BYTES))
        return any(self._filter.passes(chunk) and self._is_plainly_in(chunk) for chunk in chunks)

    def _is_plainly_in(self, data: Bytes) -> bool:
        lowered = bytes(data).lower()
        return any(_holds(lowered, token) for token in self._tokens)


def _holds(data: bytes, token: bytes) -> bool:
    """Whether `token` is in `data`; a number that tissue can be, as a whole one."""
    at = data.find(token)
    if not token.isdigit() or (len(token) >= _LONG_NUMBER and len(set(token)) >= _TELLING_DIGITS):
        return at >= 0
    while at >= 0:
        end = at + len(token)
        if not data[max(at - 1, 0) : at].isdigit() and not data[end : end + 1].isdigit():
            return True
        end_of_digits = _DIGITS.match(data, at)
        at = data.find(token, end_of_digits.end() if end_of_digits else end)
    return False


class _Filter:
    """Rules out chunks of data by the pairs and fours of bytes that tokens are made of.

    A token of n bytes or more covers one of the pairs that begin at each (n - 1)th byte. With that pair it covers a
    four of bytes that begins with it, or one that ends with it, since n is at least 6.
    """

    def __init__(self, tokens: Collection[bytes]) -> None:
        self._stride = min(map(len, tokens)) - 1
        self._is_pair = np.zeros(1 << 16, dtype=np.bool_)
        fours: set[int] = set()
        for token in tokens:
            for start in range(len(token) - 1):
                pair = token[start : start + 2]
                for either in (pair, pair.upper(), pair.title(), pair[:1] + pair[1:].upper()):
                    self._is_pair[int.from_bytes(either, "little")] = True
            fours |= {int.from_bytes(token[start : start + 4], "little") | _CASE for start in range(len(token) - 3)}
        self._fours = np.array(sorted(fours), dtype=np.uint32)

    def passes(self, chunk: memoryview) -> bool:
        """Whether `chunk` may hold a token."""
        if len(chunk) < SHORTEST:
            return False
        count = (len(chunk) - 2) // self._stride + 1
        pairs = np.ndarray((count,), "<u2", chunk, 0, (self._stride,))
        starts = np.flatnonzero(self._is_pair[pairs]) * self._stride
        return bool(starts.size) and bool((self._are_fours(chunk, starts) | self._are_fours(chunk, starts - 2)).any())

    def _are_fours(self, chunk: memoryview, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        fours = np.ndarray((len(chunk) - 3,), "<u4", chunk, 0, (1,))
        return np.isin(fours[np.clip(starts, 0, len(fours) - 1)] | np.uint32(_CASE), self._fours)
