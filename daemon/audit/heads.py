r"""Signed heads of the log and the file that carries them off the machine.

A head says: at this time the log had this many records and this root. The signature (Ed25519) covers these bytes and
no others:

    "kopru audit head v1\n" ‖ size (8 bytes, big-endian) ‖ root (32 bytes) ‖ time (microseconds since 1970 UTC, 8
    bytes, big-endian)

With each head go two things that its root vouches for: `leaves`, the leaf hashes since the head before, so that one
changed record can be named even when the whole database was forged; and `frontier`, from which sealing and verifying
can go on.

`heads.jsonl` has one head a line, appended and fsynced, never rewritten (except that a last line cut short by a crash
goes).
"""

import base64
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from daemon.audit.errors import HeadsFileError
from daemon.audit.events import canonical_json
from daemon.audit.merkle import HASH_LENGTH, Frontier
from daemon.audit.signing import PublicKey, SigningKey, sync_folder

_CONTEXT = b"kopru audit head v1\n"
_BLOCK = 65536


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with what belongs to it. Its lengths are right once it is made (else ValueError); its truth is
    `is_authentic`.

    `at_microseconds` counts from 1970-01-01 UTC. `leaves` and `frontier` hold 32 bytes a hash.
    """

    size: int
    root: bytes
    at_microseconds: int
    signature: bytes
    frontier: bytes
    leaves: bytes

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 0 < self.size < 2**63:
            raise ValueError("this is no size of a log")
        Frontier.from_bytes(self.size, self.frontier)
        count, rest = divmod(len(self.leaves), HASH_LENGTH)
        if rest or not 0 < count <= self.size or len(self.root) != HASH_LENGTH or not 0 <= self.at_microseconds < 2**63:
            raise ValueError("this is no head of a log")

    @classmethod
    def sign(cls, key: SigningKey, before: Frontier, leaves: list[bytes], at_microseconds: int) -> "SignedHead":
        """The head of the log `before` with `leaves` added; `before` itself is left as it is."""
        after = before.copy()
        for leaf in leaves:
            after.append(leaf)
        root = after.root()
        signature = key.sign(_message(after.size, root, at_microseconds))
        return cls(after.size, root, at_microseconds, signature, after.to_bytes(), b"".join(leaves))

    @property
    def first(self) -> int:
        """The log index of the first record since the head before; the last is ``size - 1``."""
        return self.size - len(self.leaves) // HASH_LENGTH

    def leaf(self, index: int) -> bytes:
        """The leaf hash of the record at a log index from `first` to ``size - 1``."""
        start = (index - self.first) * HASH_LENGTH
        return self.leaves[start : start + HASH_LENGTH]

    def after(self) -> Frontier:
        """The frontier of the log as this head leaves it; to be trusted once `is_authentic` said so."""
        return Frontier.from_bytes(self.size, self.frontier)

    def is_authentic(self, key: PublicKey) -> bool:
        """Whether the key signed size, root and time, and the frontier is that root's."""
        signed = key.signed(self.signature, _message(self.size, self.root, self.at_microseconds))
        return signed and self.after().root() == self.root

    def extends(self, before: Frontier) -> bool:
        """Whether this is the head of the log `before` with `leaves` added, that is, whether the leaves are the true
        ones.
        """
        if before.size != self.first:
            return False
        after = before.copy()
        for index in range(self.first, self.size):
            after.append(self.leaf(index))
        return after.root() == self.root

    def to_json(self) -> dict[str, Any]:
        """As it stands in `heads.jsonl` and in exports; bytes in hexadecimal, lists of hashes in base64."""
        return {
            "at": self.at_microseconds,
            "frontier": base64.b64encode(self.frontier).decode(),
            "leaves": base64.b64encode(self.leaves).decode(),
            "root": self.root.hex(),
            "signature": self.signature.hex(),
            "size": self.size,
        }

    @classmethod
    def from_json(cls, raw: Any) -> "SignedHead":
        """Read what `to_json` made. Raises ValueError for anything else."""
        try:
            if type(raw["at"]) is not int:
                raise ValueError("a head's time is a whole number")
            return cls(
                raw["size"],
                bytes.fromhex(raw["root"]),
                raw["at"],
                bytes.fromhex(raw["signature"]),
                base64.b64decode(raw["frontier"], validate=True),
                base64.b64decode(raw["leaves"], validate=True),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("this is no head of a log") from error


def _message(size: int, root: bytes, at_microseconds: int) -> bytes:
    return _CONTEXT + size.to_bytes(8, "big") + root + at_microseconds.to_bytes(8, "big")


class HeadsFile:
    """The folder whose `heads.jsonl` and `public-key.pem` are meant to leave the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "heads.jsonl"

    def prepare(self, key: PublicKey) -> None:
        """Make the folder and put the public key there. Raises SigningKeyError when another key's lies there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key.publish(self.folder / "public-key.pem")

    def append_after_last(self, following: Callable[[SignedHead | None], Iterable[SignedHead]]) -> int:
        """Append, durably, the heads that `following` gives when told the file's last head; how many there were.

        Held under a lock of the file, so that two processes append each head once. Raises HeadsFileError when the
        last line is no head.
        """
        with self._locked() as file:
            last = _last_head(file, self.path)
            file.seek(0, os.SEEK_END)
            count = 0
            for head in following(last):
                file.write(canonical_json(head.to_json()) + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        return count

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            if is_new:
                sync_folder(self.folder)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _last_head(file: BinaryIO, path: Path) -> SignedHead | None:
    """The last whole line; what a crash left behind it is cut off."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end > 0 and tail.count(b"\n") < 2:  # the newline before the last whole line and the one after it
        start = max(0, end - _BLOCK)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
    whole, newline, cut_short = tail.rpartition(b"\n")
    if cut_short:
        file.truncate(file.seek(0, os.SEEK_END) - len(cut_short))
    if not newline:
        return None
    return _parse_line(whole.rpartition(b"\n")[2], f"the last line of {path}")


def _parse_line(line: bytes, place: str) -> SignedHead:
    try:
        return SignedHead.from_json(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise HeadsFileError(
            f"{place} is no head of an audit log; compare the file with a copy kept elsewhere"
        ) from error


def read_heads(path: Path, length: int | None = None) -> Iterator[tuple[int, SignedHead | None]]:
    """The heads of a `heads.jsonl`, line by line, with the line's number from 1; None for a line that is no head.

    A last line without its newline is one that a crash cut short, or that is being written: it is left out. So is what
    lies beyond the first `length` bytes: it was appended after the caller had taken that length.
    """
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            position += len(line)
            if not line.endswith(b"\n") or (length is not None and position > length):
                return
            try:
                yield number, _parse_line(line, f"{path}:{number}")
            except HeadsFileError:
                yield number, None
