"""Keeps requests away from what has just failed: a circuit breaker, without clock, sockets or threads of its own.

After a failure it stays open for a time that doubles with each failure in a row and is drawn anew each time, so that
many runtimes do not come back to a server in one moment. After that time it lets one attempt through (half-open).
"""

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0


class Breaker:
    """Of one lane, which locks around it. All times are of one monotonic clock."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """`draw` gives a number in [0, 1)."""
        self._draw = draw
        self._in_a_row = 0
        self._until = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last thing that happened was a failure."""
        return self._in_a_row > 0

    def seconds_left(self, now: float) -> float:
        """How long it stays open; 0 when an attempt may be made."""
        return max(0.0, self._until - now)

    def failed(self, now: float) -> None:
        """An attempt failed: stay open for between half the time and all of it."""
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._in_a_row, 16))
        self._in_a_row += 1
        self._until = now + longest * (0.5 + self._draw() / 2)

    def succeeded(self) -> None:
        """A request was answered."""
        self._in_a_row = 0
        self._until = 0.0
