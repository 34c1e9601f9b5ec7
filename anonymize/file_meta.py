"""Reads what a Part 10 file says of the data set in it: its File Meta Information (PS3.10 7.1)."""

from dataclasses import dataclass, field
from typing import Final

from anonymize.elements import Encoding, walk
from anonymize.errors import MalformedDataSet

_GROUP_LENGTH: Final = b"\x02\0\0\0UL\4\0"
_WANTED: Final = (0x00020002, 0x00020003, 0x00020010)  # Media Storage SOP Class and Instance UID, Transfer Syntax UID


@dataclass(frozen=True, slots=True)
class FileMetaInformation:
    """The UIDs of the instance in the file, and the bytes from behind "DICM" to where its data set begins."""

    length: int
    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    transfer_syntax_uid: str


def read_file_meta_information(data: bytes) -> FileMetaInformation:
    """Read the group 0002 that `data` begins with. Raises `MalformedDataSet` where it is cut off or lacks a UID."""
    if not data.startswith(_GROUP_LENGTH) or len(data) < 12:
        raise MalformedDataSet(0, "the File Meta Information has no length")
    length = 12 + int.from_bytes(data[8:12], "little")
    if length > len(data):
        raise MalformedDataSet(0, "the File Meta Information is cut off")
    uids = {
        element.tag: data[12 + element.value : 12 + element.value + element.length]
        for element in walk(data[12:length], Encoding.EXPLICIT_LITTLE)
    }
    try:
        texts = [uids[tag].decode("ascii").strip(" \0") for tag in _WANTED]
    except (KeyError, UnicodeDecodeError):
        raise MalformedDataSet(0, "the File Meta Information lacks a UID") from None
    return FileMetaInformation(length, *texts)
