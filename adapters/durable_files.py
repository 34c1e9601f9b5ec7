"""Files that are on the disk before the caller goes on: what "durable" means here, in one place (DESIGN §2.1).

A new file is written under a temporary name, fsynced, given its final name, and the folder is fsynced; only then does a
function return. After an fsync that failed nothing is retried on the same file: the kernel may have dropped the data.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


def fsync_directory(path: Path) -> None:
    """Make the entries of the folder durable: names given, changed and removed in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make the folder (0700) and those above it, durably; one that exists is left as it is."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):  # another process was faster; its fsync may still be on its way, so do ours
        path.mkdir(mode=0o700)
    fsync_directory(path.parent)


def write_synced(path: Path, parts: Iterable[Buffer]) -> None:
    """Write a file (0600) that must not exist yet, and fsync it. Its name is not durable before the folder is fsynced.

    On any error the file is removed again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            for part in parts:
                write_all(descriptor, part)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_all(descriptor: int, data: Buffer) -> None:
    """Write all of `data`; `write(2)` may take less at a time."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def overwrite_and_remove(path: Path) -> None:
    """Overwrite the file with random bytes, fsync, and remove it durably. One that is not there is fine.

    Best effort on the medium: a copying file system or a flash disk may keep the old blocks.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        write_all(descriptor, os.urandom(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    fsync_directory(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on the file (made if absent) against other processes and threads; gives its descriptor.

    The lock goes with its holder: a killed process leaves none behind (flock(2)).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
