"""`wraps.log`: which key now opens which object of a folder. Appended to; the last valid record of an object wins.

A record has a fixed length: object id (16), wrap (102), CRC-32 (4). A tail that a crash has torn was never reported as
written: it is skipped, and cut off by the next append. The checksum finds torn records; forged ones do not open.
"""

import os
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from adapters.durable_files import fsync_directory, locked, write_all
from adapters.storage.container import WRAP_BYTES, Wrap
from adapters.storage.errors import ObjectDamaged

FILE_NAME: Final = "wraps.log"
_ID_BYTES: Final = 16
RECORD_BYTES: Final = _ID_BYTES + WRAP_BYTES + 4


def pack_record(object_id: str, wrap: Wrap) -> bytes:
    """One record."""
    body = bytes.fromhex(object_id) + wrap.pack()
    return body + zlib.crc32(body).to_bytes(4, "big")


def parse_records(log: bytes) -> dict[str, Wrap]:
    """The last valid wrap of each object; damaged records and a torn tail are skipped."""
    wraps: dict[str, Wrap] = {}
    for start in range(0, len(log) - RECORD_BYTES + 1, RECORD_BYTES):
        body = log[start : start + RECORD_BYTES - 4]
        if zlib.crc32(body).to_bytes(4, "big") != log[start + RECORD_BYTES - 4 : start + RECORD_BYTES]:
            continue
        try:
            wraps[body[:_ID_BYTES].hex()] = Wrap.unpack(body[_ID_BYTES:])
        except ObjectDamaged:  # a kind of key that this version does not know; what it replaced may still open
            continue
    return wraps


def read_wraps(folder: Path) -> dict[str, Wrap]:
    """The wraps of a folder's objects; empty where nothing was rewrapped yet."""
    try:
        return parse_records((folder / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return {}


def forget_earlier_wraps(folder: Path, object_ids: Collection[str]) -> None:
    """Overwrite with zeros, which are no valid record, all but the last valid record of these objects; durable on
    return. The length stays: whoever reads meanwhile finds the records that count where they were.
    """
    with locked(folder / FILE_NAME) as descriptor:
        log = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        kept: set[str] = set()
        for start in range(len(log) // RECORD_BYTES * RECORD_BYTES - RECORD_BYTES, -1, -RECORD_BYTES):
            for object_id in parse_records(log[start : start + RECORD_BYTES]):
                if object_id in kept:
                    os.pwrite(descriptor, bytes(RECORD_BYTES), start)
                elif object_id in object_ids:
                    kept.add(object_id)
        os.fsync(descriptor)


def append_wraps(folder: Path, records: Iterable[bytes]) -> None:
    """Add records made by `pack_record`, durable on return: one write, one fsync. Safe among processes."""
    path = folder / FILE_NAME
    created = not path.exists()
    with locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        whole = size - size % RECORD_BYTES
        if whole != size:
            os.ftruncate(descriptor, whole)
        os.lseek(descriptor, whole, os.SEEK_SET)
        write_all(descriptor, b"".join(records))
        os.fsync(descriptor)
    if created or size == 0:
        fsync_directory(folder)
