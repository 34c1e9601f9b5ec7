"""An instance that a destination is to get: apart from what sends it (`adapters.dicom.send`), which is long to load."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from adapters.dicom.made import MadeInstance
from anonymize import DeidentifiedInstance

Context = tuple[str, str]
"""A SOP class and a transfer syntax, by their UIDs."""

Instance = TypeVar("Instance", DeidentifiedInstance, MadeInstance)


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[Instance]):
    """One instance that is to be sent; `open` gives it when its turn comes, so that one at a time is in memory.

    One that `differs` was sent to this peer before with other bytes. `stored` is called as soon as the peer has said
    that it has taken this one.
    """

    context: Context
    open: Callable[[], Instance]
    differs: bool = False
    stored: Callable[[], object] = lambda: None
