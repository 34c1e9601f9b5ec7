"""How an attempt to deliver ends, whatever the protocol. Each answer carries its reason, in words that hold no data."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination has this revision. `already`: it had it before this attempt, and nothing was written."""

    status: int | None = None  # of the write: HTTP's, or C-STORE's
    already: bool = False


@dataclass(frozen=True, slots=True)
class Superseded:
    """The destination has a later revision of this report, so this one was not written."""

    revision: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now. `not_before` is what the server asked for (Retry-After), if it did; the queue's back-off adds to it.

    Without a status, a write may still be under way, so that nothing newer may overtake it; unless `settled` says that
    it makes no difference.
    """

    reason: str
    status: int | None = None
    not_before: datetime | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Repeating will not help. `outcome` is the OperationOutcome in words, scrubbed (`operation_outcome`)."""

    reason: str
    status: int | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A person must decide: which patient, or what to do with a report that a person has signed."""

    reason: str


DeliveryOutcome: TypeAlias = Delivered | Superseded | Retry | Dead | Held
