"""The files of a package: regular files in one folder, each known by the digest of the very bytes that were read."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

from runtime.errors import PackageError

_PARTIAL: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}")


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
    partial = _partial(path)
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


def _partial(path: Path) -> Path:
    """What `path` is called until it is whole."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}")


def whole_name(name: str) -> str:
    """What would have become of a file that was not written to its end, since its writer was killed; else `name`."""
    found = _PARTIAL.fullmatch(name)
    return found[1] if found else name


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes `directory` if all goes well, and else is removed: whole or not at all.

    What was left of it where a writer was killed is removed first; a writer at work holds a lock on its own. Raises
    `FileExistsError` where `directory` is there, or has come there meanwhile.
    """
    problem = FileExistsError(errno.EEXIST, "is there already; packages are never changed, only added", directory)
    if os.path.lexists(directory):
        raise problem
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(directory)
    with _locked(directory.parent):
        for path in directory.parent.iterdir():
            if path.name != directory.name and whole_name(path.name) == directory.name:
                _remove_unless_locked(path)
        partial.mkdir()
        lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield partial
        try:
            partial.rename(directory)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise problem from None
            raise
        sync_folder(directory.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def _locked(folder: Path, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _remove_unless_locked(folder: Path) -> None:
    if folder.is_symlink():
        return
    with suppress(OSError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):  # else it is written, or no folder
        shutil.rmtree(folder, ignore_errors=True)


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


def check_listed(directory: Path, allowed: Collection[str], own: Collection[str]) -> None:
    """Raise `PackageError` for anything in the folder that is not `allowed`, and nothing left of one's `own`."""
    for path in sorted(directory.iterdir()):
        if path.name not in allowed and whole_name(path.name) not in own:
            raise PackageError(path, "", "is not listed in [files] of model.toml; remove it")


def changed(file: Path, key: str, expected: str, found: str) -> PackageError:
    """The refusal of a file with another digest."""
    return PackageError(
        file,
        key,
        f"the file has the SHA-256 {found}, not {expected}: it was changed; get the package anew from its maker",
    )
