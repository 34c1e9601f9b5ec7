"""An application entity as a destination: gets instances of one study by C-STORE (PS3.4 B).

A destination takes either `DeidentifiedInstance`s, or `MadeInstance`s, which name the patient: its type says which, so
that nothing identified can be sent to one that is not to know it. What the peer answers is told by its status, never by
the peer's own words. Storing an instance again changes nothing: its UID is the same each time.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Generic

from adapters.dicom.errors import SendError
from adapters.dicom.outgoing import Instance, Outgoing
from adapters.dicom.peer_answers import status_name
from adapters.dicom.send import NO_ANSWER, Opened, Peer, associated, groups, is_stored, not_accepted
from adapters.durable_files import Buffer
from adapters.outcomes import Dead, Delivered, DeliveryOutcome, Retry

_ALREADY_THERE: Final = 0x0111  # duplicate SOP instance (PS3.7 C.5.5)
_FOR_NOW: Final = frozenset({0x0110, 0x0213})  # processing failure, resource limitation (PS3.7 C.5.12, C.5.22)
_OUT_OF_RESOURCES: Final = 0xA700  # to A7FF (PS3.4 Table B.2-1)


class DicomDestination(Generic[Instance]):
    """A storage SCP that gets instances of one kind. Any number of threads may store at once."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def store(self, instances: Collection[Outgoing[Instance]]) -> DeliveryOutcome:
        """Store all of them, or say why not all are there. Each is sent in its own transfer syntax, one by one.

        The first instance that is refused ends the attempt, and a context that is not accepted ends it before any
        instance of that association is sent: part of a study is no success.
        """
        stored = 0
        try:
            for group in groups(instances):
                with associated(self._peer, (instance.context for instance in group)) as opened:
                    for refused in sorted({instance.context for instance in group} - opened.accepted):
                        return Dead(not_accepted(refused))
                    for instance in group:
                        if failed := _store(opened, instance):
                            return _told(failed, stored, len(instances))
                        stored += 1
        except SendError as error:
            return Retry(str(error), settled=True)
        return Delivered(0)


def _store(opened: Opened, instance: Outgoing[Instance]) -> Retry | Dead | None:
    """None for an instance that the peer has."""
    if not opened.lasts:
        return Retry("the association has ended", settled=True)
    with _in_memory(instance.open().pieces) as path:
        answer = opened.store(path)
    if answer is None:
        return Retry(NO_ANSWER, settled=True)
    status, _ = answer  # the peer's comment may repeat what we have sent
    if is_stored(status):
        instance.stored()
        return None
    if status == _ALREADY_THERE and not instance.differs:
        return None
    reason = f"0x{status:04X} {status_name(status)}"
    if status == _ALREADY_THERE:
        return Dead(
            f"{reason}: it keeps the one that it was sent before, which differs unless its answer to this one was"
            " lost; take it out there, then let this task run again"
        )
    if status in _FOR_NOW or status & 0xFF00 == _OUT_OF_RESOURCES:
        return Retry(reason, status)
    return Dead(reason)


def _told(failed: Retry | Dead, stored: int, count: int) -> Retry | Dead:
    """The failure, with how much of the study had arrived."""
    reason = f"{failed.reason} ({stored} of {count} instances were stored before)"
    if isinstance(failed, Dead):
        return Dead(reason)
    return Retry(reason, failed.status, settled=failed.settled)


@contextmanager
def _in_memory(pieces: Iterable[Buffer]) -> Iterator[Path]:
    """A path under which pynetdicom can read the file; it never reaches a disk unsealed."""
    descriptor = os.memfd_create("instance", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.writelines(pieces)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
