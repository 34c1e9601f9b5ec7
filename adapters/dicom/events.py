"""What a receiver leaves in the intake about associations and refusals, for the index and the audit log.

An event that cannot be stored must not change what the peer is told: it waits in this process until the store takes
one again, so that an operator is told of what was refused while the store was away. Should the process end before that,
or more wait than there is room for, the log has it.
"""

import threading
from collections import deque
from typing import Final, Protocol

import structlog

from adapters.keys import KeyStoreError
from adapters.storage import ObjectRef, Receipt, StoreError

_MOST_WAITING: Final = 10_000
_log = structlog.get_logger(__name__)


class Intake(Protocol):
    """Where received objects and events go: `adapters.storage.IntakeWriter`."""

    def write(self, receipt: Receipt, data: bytes = b"") -> ObjectRef:
        """Store durably, or raise `StoreError` or `KeyStoreError`."""
        ...


class Events:
    """The events of all associations of a receiver. Safe to use from several threads."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._waiting: deque[Receipt] = deque(maxlen=_MOST_WAITING)
        self._catching_up = threading.Lock()

    def record(self, receipt: Receipt) -> None:
        """Store the event, and those that wait; where that is not possible it waits, too."""
        if self._stored(receipt):
            self._catch_up()
        else:
            self._waiting.append(receipt)

    def _catch_up(self) -> None:
        if not self._waiting or not self._catching_up.acquire(blocking=False):
            return
        try:
            while self._waiting:
                receipt = self._waiting.popleft()
                if not self._stored(receipt):
                    self._waiting.appendleft(receipt)
                    return
        finally:
            self._catching_up.release()

    def _stored(self, receipt: Receipt) -> bool:
        try:
            self._intake.write(receipt)
        except (StoreError, KeyStoreError) as error:
            _log.error(
                "event_not_stored",
                association=receipt.association_id,
                event_kind=receipt.event.value if receipt.event else "",
                reason=str(error),
            )
            return False
        return True
