"""The files of a package: regular files in one folder, each known by the digest of the very bytes that were read."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
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
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_file(path)
        try:
            yield stream
        except OSError as error:
            raise PackageError(path, "", f"cannot be read ({error.strerror})") from None


def _no_file(path: Path) -> PackageError:
    return PackageError(path, "", "is no regular file; packages hold no folders and no links")


def digest(path: Path) -> str:
    """The SHA-256 of the file, in hex."""
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_listed(directory: Path, allowed: Mapping[str, object]) -> None:
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
