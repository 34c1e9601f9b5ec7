"""Exports: one file that proves itself to somebody who has only it and the public key (DESIGN §2.8).

A file of lines, each canonical JSON with one key that says what the line is. A whole export has, in the order of the
log, ``event`` lines and after each batch its ``head``. A selected one has the last ``head`` and, with each ``event``, a
proof that it is in that log; it proves what it holds, not that it holds everything selected. See `docs/audit.md`.
"""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from daemon.audit.errors import ExportError
from daemon.audit.events import canonical_json
from daemon.audit.findings import Findings, Problem, ProblemKind, Report
from daemon.audit.heads import SignedHead, read_heads
from daemon.audit.merkle import HASH_LENGTH, Tree, inclusion_holds, leaf_hash
from daemon.audit.records import DatabaseLog, Selection, StoredEvent, open_database_log
from daemon.audit.signing import PublicKey, sync_folder
from daemon.audit.verify import name_of, verify_log
from daemon.database import Database

_FORMAT = "kopru-audit-export"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: sealed events, heads, and events that were not sealed yet."""

    events: int
    heads: int
    unsealed: int


def export(database: Database, path: Path, key: PublicKey, selection: Selection | None = None) -> Exported:
    """Write the log, or the events selected with their proofs, to a new file of mode 0600; all of it or nothing.

    Raises FileExistsError when the file is there; ExportError when events are selected and the log has no head yet, or
    is not sound (a whole export is made all the same, as the log stands).
    """
    if path.exists():
        raise FileExistsError(f"{path} is there already; an export replaces nothing")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, open_database_log(database) as log:
            writer = _Writer(file)
            writer.header(key, selection)
            if selection is None:
                writer.whole(log)
            else:
                writer.selected(log, key, selection)
            exported = writer.end()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return exported


class _Writer:
    """Writes lines and counts them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = {"event": 0, "head": 0, "unsealed": 0}

    def _line(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind in self._count:
            self._count[kind] += 1
        self._file.write(canonical_json({kind: content}) + b"\n")

    def header(self, key: PublicKey, selection: Selection | None) -> None:
        selected = selection and {"since": selection.since, "subject": selection.subject, "until": selection.until}
        content = {"format": _FORMAT, "public_key": key.fingerprint, "selection": selected, "version": _VERSION}
        self._line("header", content)

    def whole(self, log: DatabaseLog) -> None:
        events = log.sealed()
        event = next(events, None)
        for _, head in log.heads():
            while event is not None and isinstance(event.log_index, int) and head and event.log_index < head.size:
                self._event("event", event)
                event = next(events, None)
            self._line("head", head.to_json() if head else {})
        while event is not None:
            self._event("event", event)
            event = next(events, None)
        for unsealed in log.unsealed():
            self._event("unsealed", unsealed)

    def selected(self, log: DatabaseLog, key: PublicKey, selection: Selection) -> None:
        tree, head = Tree(), None
        for place, head in log.heads():
            if head is None or head.first != tree.size or not head.is_authentic(key):
                raise ExportError(
                    f"{place} is not sound, so that nothing can be proven by it; run `kopru audit verify`"
                )
            for index in range(head.first, head.size):
                tree.append(head.leaf(index))
        if head is None:
            raise ExportError("the audit log has no head yet, so that nothing can be proven; wait until it was sealed")
        if tree.root() != head.root:
            raise ExportError("the leaf hashes do not give the last head's root; run `kopru audit verify`")
        self._line("head", head.to_json())
        for event in log.selected(selection):
            if event.log_index is None:
                self._event("unsealed", event)
            elif not isinstance(event.log_index, int) or not 0 <= event.log_index < head.size:
                raise ExportError("a selected record has no place in the log; run `kopru audit verify`")
            else:
                proof = b"".join(tree.inclusion_proof(event.log_index))
                self._event("event", event, proof=base64.b64encode(proof).decode())

    def _event(self, kind: str, event: StoredEvent, **more: str) -> None:
        content: dict[str, Any] = dict(more)
        try:
            content["body"] = event.body.decode()
        except UnicodeDecodeError:  # a record that somebody changed; it is exported as it is
            content["body_base64"] = base64.b64encode(event.body).decode()
        if kind == "event":
            content["index"] = event.log_index if isinstance(event.log_index, int | float | str) else None
        self._line(kind, content)

    def end(self) -> Exported:
        self._line(
            "end", {"events": self._count["event"], "heads": self._count["head"], "unsealed": self._count["unsealed"]}
        )
        return Exported(self._count["event"], self._count["head"], self._count["unsealed"])


def verify_export(path: Path, key: PublicKey, heads_file: Path | None = None) -> Report:
    """Verify an export with nothing but the public key; with a `heads.jsonl`, also against what was published.

    Heads that were published after the export was made say nothing about it: the report's `published` is then more than
    its `size`. Raises ExportError when the file is no export, OSError when it, or the heads file, cannot be read.
    """
    findings = Findings()
    is_whole = _check_lines(path, key, findings)
    log = _ExportedLog(path)
    if is_whole:
        return verify_log(log, key, heads_file, findings, ends_at=log.ends_at())
    return _verify_selected(log, key, heads_file, findings)


def _verify_selected(log: "_ExportedLog", key: PublicKey, heads_file: Path | None, findings: Findings) -> Report:
    head = next((head for _, head in log.heads()), None)
    if head is None or not head.is_authentic(key):
        findings.add(
            Problem(ProblemKind.FORGED_HEAD, "the export's head was not signed with this key, or was changed since")
        )
        return Report(findings.listed(), 0, None)
    for event, proof in log.proofs():
        if not _is_proven(event, proof, head):
            findings.add(_unproven(event))
    published = _compare(head, heads_file, key, findings) if heads_file else None
    return Report(findings.listed(), head.size, head, sum(1 for _ in log.unsealed()), published, findings.omitted)


def _compare(head: SignedHead, heads_file: Path, key: PublicKey, findings: Findings) -> int:
    """Check that the published heads have this one, as far as they go; the size that they go to."""
    published, roots = 0, set()
    for _, other in read_heads(heads_file):
        if other is not None and other.is_authentic(key):
            published = max(published, other.size)
            roots |= {other.root} if other.size == head.size else set()
    if published >= head.size and roots != {head.root}:
        what = f"the export's head at size {head.size} is signed but not the published one: there are two histories"
        findings.add(Problem(ProblemKind.FORKED, what))
    return published


def _is_proven(event: StoredEvent, proof: bytes, head: SignedHead) -> bool:
    path = [proof[start : start + HASH_LENGTH] for start in range(0, len(proof), HASH_LENGTH)]
    index = event.log_index if type(event.log_index) is int else -1
    return inclusion_holds(leaf_hash(event.body), index, head.size, path, head.root)


def _unproven(event: StoredEvent) -> Problem:
    index = event.log_index if type(event.log_index) is int else None
    what = "it is not in the log whose head is given: it was changed, moved or made up"
    name = name_of(event)
    return Problem(ProblemKind.CHANGED, what, index, index, name.writer, name.sequence)


def _check_lines(path: Path, key: PublicKey, findings: Findings) -> bool:
    """Check that each line is one of an export and that none is missing at the end; whether it is of a whole log."""
    count = {"event": 0, "head": 0, "unsealed": 0}
    end: object = None
    lines = _lines(path)
    _, kind, header = next(lines, (1, None, None))
    if kind != "header" or not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ExportError(f"{path} is not an export of an audit log")
    if header.get("version") != _VERSION:
        raise ExportError(f"{path} has a version of the format that this kopru does not know; use a newer one")
    if header.get("public_key") != key.fingerprint:
        findings.add(Problem(ProblemKind.BROKEN_FILE, "the export names another public key than the one given"))
    for number, kind, content in lines:
        if end is not None or kind not in {*count, "end"}:
            findings.add(Problem(ProblemKind.BROKEN_FILE, f"line {number} of the export is none that belongs there"))
        elif kind == "end":
            end = content
        else:
            count[kind] += 1
    if end != {"events": count["event"], "heads": count["head"], "unsealed": count["unsealed"]}:
        findings.add(Problem(ProblemKind.BROKEN_FILE, "the export lacks lines that it had, or has more"))
    return header.get("selection") is None


def _lines(path: Path) -> Iterator[tuple[int, str | None, Any]]:
    """Number, kind and content of each line; the kind is None where there is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                ((kind, content),) = json.loads(line).items()
            except (ValueError, AttributeError, RecursionError):
                kind = content = None
            yield number, kind, content


class _ExportedLog:
    """A `StoredLog` that reads an export, once for each part."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _lines_of(self, kind: str) -> Iterator[tuple[int, Any]]:
        return ((number, content) for number, found, content in _lines(self._path) if found == kind)

    def ends_at(self) -> int:
        """The size that the log had when it was exported, by all that the export has of it."""
        heads = (content.get("size") for _, content in self._lines_of("head") if isinstance(content, dict))
        last_head = max((size for size in heads if type(size) is int), default=0)
        indices = (event.log_index for event in self.sealed())
        return max(last_head, 1 + max((index for index in indices if type(index) is int), default=-1))

    def heads(self) -> Iterator[tuple[str, SignedHead | None]]:
        for number, content in self._lines_of("head"):
            try:
                head = SignedHead.from_json(content)
            except ValueError:
                head = None
            yield f"the head in line {number} of the export", head

    def sealed(self) -> Iterator[StoredEvent]:
        return (_event(content) for _, content in self._lines_of("event"))

    def proofs(self) -> Iterator[tuple[StoredEvent, bytes]]:
        """The events of a selected export, each with its inclusion proof."""
        return ((_event(content), _base64(content, "proof")) for _, content in self._lines_of("event"))

    def unsealed(self) -> Iterator[StoredEvent]:
        return (_event(content) for _, content in self._lines_of("unsealed"))

    def counters(self) -> Mapping[str, int] | None:
        return None


def _event(content: Any) -> StoredEvent:
    """What a line holds; an empty body, which no record has, where it holds none."""
    if not isinstance(content, dict):
        return StoredEvent(None, b"", None)
    body = content.get("body")
    try:
        data = body.encode() if isinstance(body, str) else _base64(content, "body_base64")
    except UnicodeEncodeError:
        data = b""
    return StoredEvent(content.get("index"), data, None)


def _base64(content: Any, key: str) -> bytes:
    try:
        return base64.b64decode(content[key], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return b""
