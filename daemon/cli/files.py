"""Files as commands take them: folders are walked, DICOM Part 10 files are read without changing a byte of the data
set.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from anonymize import ReceivedInstance

_PREAMBLE_BYTES: Final = 128


class NotDicom(ValueError):
    """A file is no DICOM Part 10 file (PS3.10 7.1)."""


def walk_files(paths: Iterable[Path]) -> list[Path]:
    """The files, and those within the folders, in a stable order."""
    found: list[Path] = []
    for path in paths:
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return found


def read_instance(path: Path) -> ReceivedInstance:
    """Read a Part 10 file as if it had been received. Raises `NotDicom`, `OSError`."""
    from pydicom.filereader import read_file_meta_info

    data = path.read_bytes()
    if data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        raise NotDicom("not a DICOM Part 10 file")
    try:
        meta = read_file_meta_info(path)
        start = _PREAMBLE_BYTES + 4 + 12 + int(meta.FileMetaInformationGroupLength)
        sop_class, sop_instance, syntax = (
            str(uid) for uid in (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
        )
    except (AttributeError, ValueError, EOFError, KeyError, struct.error):
        raise NotDicom("the File Meta Information is damaged or incomplete") from None
    return ReceivedInstance(sop_class, sop_instance, syntax, data[start:])
