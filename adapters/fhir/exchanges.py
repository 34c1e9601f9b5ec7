"""What the protocol logic asks of a server and what comes back, as values: the logic knows neither sockets nor clocks.

A flow is a generator that yields a `Search` or a `Transaction`, is sent the `Reply`, and returns how it ended.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Search:
    """Search one resource type. Sent as POST, so that no identifier stands in a URL that proxies and servers log."""

    resource_type: str
    parameters: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """POST a transaction Bundle to the base URL, these very bytes."""

    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP response. `body` is its JSON object, None where it has none or something else."""

    status: int
    received_at: datetime
    retry_after: str | None = None
    body: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No complete response came. `may_have_arrived` is False only where the request cannot have reached the server."""

    reason: str  # in words that hold no data
    may_have_arrived: bool


Request: TypeAlias = Search | Transaction
Reply: TypeAlias = Answer | NoAnswer
Flow: TypeAlias = Generator[Request, Reply, T]
