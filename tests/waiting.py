"""Waiting for a condition with a time-out: what tests do in place of sleeping for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Poll `condition` until it gives something true and return that; fail with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(_POLL_SECONDS)
