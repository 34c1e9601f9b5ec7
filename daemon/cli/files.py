"""Files as commands take them: folders are walked, DICOM Part 10 files are read without changing a byte of the data
set.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from anonymize import MalformedDataSet, ReceivedInstance, read_file_meta_information

_PREAMBLE_BYTES: Final = 128
_HEAD_BYTES: Final = 1 << 14  # more than any File Meta Information takes


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
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES)
        if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
            raise NotDicom("not a DICOM Part 10 file")
        try:
            meta = read_file_meta_information(head[_PREAMBLE_BYTES + 4 :])
        except MalformedDataSet:
            raise NotDicom("the File Meta Information is damaged or incomplete") from None
        file.seek(_PREAMBLE_BYTES + 4 + meta.length)
        data_set = file.readall()
    return ReceivedInstance(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, data_set)
