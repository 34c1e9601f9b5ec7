"""What a lane counts: batches, samples, failures, time, and a histogram of how long requests took."""

import bisect
from collections import deque
from typing import Final

LATENCY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the histogram's buckets, in seconds; the last bucket, for all above, has none."""

_WINDOW_SECONDS: Final = 60


class Counters:
    """Written by one thread, read by any: a reader may see a run half counted, and nothing worse."""

    def __init__(self) -> None:
        self.batches = 0
        self.samples = 0
        self.failures = 0
        self.busy_seconds = 0.0
        self._latency = [0] * (len(LATENCY_SECONDS) + 1)
        self._recent: deque[tuple[int, int]] = deque(maxlen=_WINDOW_SECONDS)  # second of the clock, samples in it

    @property
    def latency(self) -> tuple[int, ...]:
        """Requests by the bucket of their time from acceptance to answer."""
        return tuple(self._latency)

    def ran(self, samples: int, seconds: float, now: float) -> None:
        """One run of `samples` samples has ended at `now` on the monotonic clock."""
        self.batches += 1
        self.samples += samples
        self.busy_seconds += seconds
        second = int(now)
        if self._recent and self._recent[-1][0] == second:
            self._recent[-1] = (second, self._recent[-1][1] + samples)
        else:
            self._recent.append((second, samples))

    def answered(self, seconds: float) -> None:
        """A request got its answer after that time."""
        self._latency[bisect.bisect_left(LATENCY_SECONDS, seconds)] += 1

    def samples_per_second(self, now: float) -> float:
        """Over the last whole minute."""
        second = int(now)
        recent = tuple(self._recent)  # in one step, while the writer goes on
        return sum(samples for when, samples in recent if second - _WINDOW_SECONDS < when <= second) / _WINDOW_SECONDS
