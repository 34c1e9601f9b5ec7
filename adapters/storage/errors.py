"""Every error that `adapters.storage` raises; the tree is drawn in the package's docstring. None holds stored data."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from adapters.keys import Tampered

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(Exception):
    """Base of all errors of this package."""


class StoreFull(StoreError):
    """No room: the disk, the quota, or the space that must stay free. Nothing was stored."""


class StoreUnavailable(StoreError):
    """The store cannot be read or written: an unmounted or broken disk. Nothing was stored."""


class StoreInUse(StoreError):
    """Another live process writes under this receiver id."""


class ObjectMissing(StoreError):
    """There is no such object (any more)."""


class ObjectDamaged(StoreError, Tampered):
    """An object does not open: changed, cut, reordered, swapped with another, or under another key."""


class InvalidReference(StoreError):
    """A text is not the reference of an object."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Say what an `OSError` means for the store; `what` is what was attempted."""
    try:
        yield
    except OSError as error:
        reason = f"{what}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFull(f"{reason}; make room on the store's disk") from error
        raise StoreUnavailable(f"{reason}; see to the store's disk") from error
