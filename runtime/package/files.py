"""The files of a package: regular files in one folder, each known by the digest of the very bytes that were read."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from runtime.errors import PackageError


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The regular file `path`, for reading. Raises `PackageError` for links, folders, pipes and what cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise _no_file(path) from None
        raise PackageError(path, "", f"cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    with os.fdopen(descriptor, "rb") as stream:
        try:
            yield stream
        except OSError as error:
            raise PackageError(path, "", f"cannot be read ({error.strerror})") from None


def _no_file(path: Path) -> PackageError:
    return PackageError(path, "", "is no regular file; packages hold no folders and no links")


def replace_file(path: Path, parts: Iterable[bytes], mode: int = 0o644) -> None:
    """Write the file whole or not at all, and durably: readers see the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """The SHA-256 of the file, in hex."""
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_listed(directory: Path, allowed: Collection[str]) -> None:
    """Raise `PackageError` for anything in the folder that is not `allowed`."""
    for path in sorted(directory.iterdir()):
        if path.name not in allowed:
            raise PackageError(path, "", "is not listed in [files] of model.toml; remove it")


def changed(file: Path, key: str, expected: str, found: str) -> PackageError:
    """The refusal of a file with another digest."""
    return PackageError(
        file,
        key,
        f"the file has the SHA-256 {found}, not {expected}: it was changed; get the package anew from its maker",
    )
