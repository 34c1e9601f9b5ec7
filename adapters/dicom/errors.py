"""Every error that `adapters.dicom` raises; the tree is drawn in the package's docstring. None holds patient data."""

from enum import IntEnum, unique


class DicomError(Exception):
    """Base of all errors of this package."""


class DanglingReference(DicomError):
    """What was made refers to something that is not among the images that it is to be about."""


@unique
class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 Table 9-26, source 2)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ProtocolError(DicomError):
    """The peer breaks PS3.7 or PS3.8; the association cannot go on. `reason` is what it is told."""

    def __init__(self, reason: AbortReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConnectionLost(DicomError):
    """The peer closed the connection without a release; `cleanly` when no PDU was cut."""

    def __init__(self, message: str, *, cleanly: bool) -> None:
        super().__init__(message)
        self.cleanly = cleanly


class SendError(DicomError):
    """No association could be made, so nothing (more) was sent."""


class PeerUnreachable(SendError):
    """No connection, or no answer to the request for an association; the message says which and why."""


class AssociationRejected(SendError):
    """The peer rejects the association (PS3.8 9.3.4). `source` and `reason` are those of Table 9-21."""

    def __init__(self, message: str, source: int, reason: int) -> None:
        super().__init__(message)
        self.source = source
        self.reason = reason


class AssociationAborted(SendError):
    """The peer aborts instead of answering (PS3.8 9.3.8)."""
