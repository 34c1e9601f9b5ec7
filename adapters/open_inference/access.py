"""Who may ask, and how often: API keys, of which only a digest is kept, and a token bucket for each.

A key has 256 random bits, so that a plain SHA-256 of it cannot be turned back; it must never be logged.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_PREFIX: Final = "kopru_"  # lets scanners for leaked secrets recognise one
_BEARER: Final = "bearer "
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One client: its name, the hex SHA-256 of its key, and the requests it may make in a minute."""

    name: str
    sha256: str
    requests_per_minute: int


def new_api_key() -> tuple[str, str]:
    """A fresh key, to be told to the client once, and its hex SHA-256, to be kept."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode("ascii")).hexdigest()


class _Bucket:
    """A minute's worth of requests at most, refilled steadily."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._capacity = per_minute
        self._left = float(per_minute)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; gives 0, or the seconds until there is one."""
        rate = self._capacity / _MINUTE
        self._left = min(self._capacity, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / rate
        self._left -= 1
        return 0.0


class Access:
    """The keys that are admitted. Safe to use from several threads."""

    def __init__(self, keys: Iterable[ApiKey], clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = tuple(keys)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets = {key.name: _Bucket(key.requests_per_minute, clock()) for key in self._keys}

    def client(self, authorization: str) -> ApiKey | None:
        """Whose key the value of an Authorization header holds; None for anything else."""
        if not authorization.lower().startswith(_BEARER):
            return None
        digest = hashlib.sha256(authorization[len(_BEARER) :].strip().encode("utf-8", "surrogateescape")).hexdigest()
        matching = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        return matching[0] if matching else None

    def wait_seconds(self, client: ApiKey) -> float:
        """Count a request of the client; gives the seconds it must wait if it has made too many, else 0."""
        with self._lock:
            return self._buckets[client.name].take(self._clock())
