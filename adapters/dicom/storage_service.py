"""The storage service (PS3.4 B): checks a C-STORE request, stores the data set as it came, and only then says success.

Statuses that are not success, and when:
    0122  the SOP class is not that of the presentation context, or the context is not one for storage
    A700  no room, store or key store down, or the data set is larger than the limit
    A900  the data set's SOP Class UID or SOP Instance UID is missing or not that of the request
    C000  the data set cannot be read to its end in its transfer syntax, its SOP Instance UID is no UID, or its Study or
          Series Instance UID is missing or no UID
An instance without Patient ID is taken: it gets a scope per study when it is indexed.
"""

import re
from typing import Final

from adapters.dicom.dimse import Message, Status
from adapters.dicom.errors import DicomError
from adapters.dicom.negotiation import is_storage
from adapters.dicom.upper_layer import ContextAnswer
from adapters.keys import KeyStoreError
from adapters.storage import StoreError, StoreFull
from anonymize import MalformedDataSet, read_header

# PS3.5 9.1, but for components that begin with a zero: they are forbidden, sent, and harmless.
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)*")


class StoreRefusal(DicomError):
    """Why an instance is not taken. `comment` goes into (0000,0902), so at most 64 characters, and never data."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(f"0x{status:04X}: {comment}")
        self.status = status
        self.comment = comment


def check_instance(message: Message, context: ContextAnswer) -> None:
    """Raise `StoreRefusal` unless the data set is whole and is the instance that the request announces."""
    command = message.command
    if command.sop_class_uid != context.abstract_syntax or not is_storage(context.abstract_syntax):
        raise StoreRefusal(Status.SOP_CLASS_NOT_SUPPORTED, "SOP class is not that of the presentation context")
    if message.oversized:
        raise StoreRefusal(Status.OUT_OF_RESOURCES, "data set is larger than this receiver's limit")
    if not message.data_set:
        raise StoreRefusal(Status.CANNOT_UNDERSTAND, "request has no data set")
    try:
        header = read_header(message.data_set, context.transfer_syntax)
    except MalformedDataSet as error:
        raise StoreRefusal(Status.CANNOT_UNDERSTAND, f"at byte {error.offset}: {error.reason}") from None
    if header.sop_class_uid != command.sop_class_uid:
        raise StoreRefusal(Status.DOES_NOT_MATCH_SOP_CLASS, "SOP Class UID of data set and request differ")
    if header.sop_instance_uid != command.sop_instance_uid:
        raise StoreRefusal(Status.DOES_NOT_MATCH_SOP_CLASS, "SOP Instance UID of data set and request differ")
    for name, uid in (
        ("SOP Instance UID", header.sop_instance_uid),
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
    ):
        if not _UID.fullmatch(uid):
            raise StoreRefusal(Status.CANNOT_UNDERSTAND, f"{name} is missing or no UID")


def refusal_of_store(error: StoreError | KeyStoreError) -> StoreRefusal:
    """What the peer is told when storing fails: to try again later."""
    comment = "no room left" if isinstance(error, StoreFull) else "object store is not available"
    return StoreRefusal(Status.OUT_OF_RESOURCES, comment)
