"""What a runtime tells of itself: how each route of each model is doing, and the memory that is in use.

Numbers and the runtime's own words only: never a value of a tensor.
"""

from dataclasses import dataclass
from enum import StrEnum, unique

from runtime.inference import Device
from runtime.package import Place, Precision


@unique
class LaneState(StrEnum):
    """How far a lane, one route of one model, is from answering."""

    UNOPENED = "unopened"  # nobody needed it yet
    OPENING = "opening"  # loads, warms up, proves its answers
    READY = "ready"
    UNLOADED = "unloaded"  # others needed its memory; the next request opens it again
    FAILED = "failed"  # its breaker is open: not tried before `retry_seconds` are over
    UNAVAILABLE = "unavailable"  # this machine has not what it needs
    LOST = "lost"  # its device is gone from this process


@dataclass(frozen=True, slots=True)
class LaneHealth:
    """One route. What is counted is counted since the process started; rejected and cancelled requests are not."""

    on: Place
    file: str | None  # None on a server
    precision: Precision | None  # None where only a server knows
    device: Device
    state: LaneState
    reason: str  # of the last failure; empty without one since the last answer
    retry_seconds: float  # until it is tried again; 0 when it may be
    memory_bytes: int
    batch_size: int  # most samples at once: the package's, or fewer since more did not fit into memory
    waiting_samples: int
    running_seconds: float  # the age of the run in progress, 0 without one
    batches: int
    samples: int
    failures: int  # of the lane, not of inputs
    busy_seconds: float  # in all runs
    samples_per_second: float  # answered in the last minute
    latency_counts: tuple[int, ...]
    """How many requests took, from acceptance to answer, at most each of `runtime.counters.LATENCY_SECONDS`, and more
    than the largest: not cumulative.
    """


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """One version of a model. `device`, `waiting_samples` and `running_seconds` are of its lanes together: the device
    of the first that is ready (`AUTO` without one), the sum, and the longest.
    """

    model: str
    version: str
    device: Device
    waiting_samples: int
    running_seconds: float
    default: bool = True
    lanes: tuple[LaneHealth, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What loaded models hold of a device, as far as their backends can tell; `limit_bytes` is None without a limit."""

    device: Device
    used_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The answers that are kept. `joined` counts requests that shared the run of an identical one."""

    entries: int
    used_bytes: int
    limit_bytes: int
    hits: int
    joined: int
    misses: int


@dataclass(frozen=True, slots=True)
class RuntimeUsage:
    """What all models of a runtime use together."""

    memory: tuple[MemoryUse, ...]
    cache: CacheUse
