"""Verifies a whole log against what was signed, and names every record that is not as it was (DESIGN §2.8).

It believes only the public key: a head counts once its signature holds, leaf hashes once they give a signed root. It
reads front to back, so that a million records need no more memory than a thousand. It writes nothing and needs no
settings.

What the record at an index must be is told by the first of these:
1. the leaf hashes with the next head in the heads file, if they extend the log so far to its signed root;
2. those with the log's own next head, likewise;
3. nothing: the records' own hashes must then give the next signed root together, else some record up to it was changed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from daemon.audit.errors import EventError
from daemon.audit.events import Body, Name, parse_body
from daemon.audit.findings import Findings, Problem, ProblemKind, Report
from daemon.audit.heads import SignedHead, read_heads
from daemon.audit.merkle import Frontier, leaf_hash
from daemon.audit.numbering import Numbering
from daemon.audit.placement import Placement, RecordName
from daemon.audit.records import Columns, StoredEvent, StoredLog, open_database_log
from daemon.audit.signing import PublicKey
from daemon.database import Database


def verify(database: Database, key: PublicKey, heads_file: Path | None = None) -> Report:
    """Verify the log in a database; with a `heads.jsonl`, also against what left the machine.

    A log that is not sound is no error: the report says so, also when heads were signed and the file is gone. Raises
    OSError when the heads file is there but cannot be read.
    """
    # A head is published after its commit. So whatever the file held before the database's snapshot was taken is in the
    # snapshot, while a sealer at work may publish more at any time.
    length = heads_file.stat().st_size if heads_file is not None and heads_file.exists() else None
    with open_database_log(database) as log:
        return verify_log(log, key, heads_file, Findings(), heads_length=length)


def verify_log(
    log: StoredLog,
    key: PublicKey,
    heads_file: Path | None,
    findings: Findings,
    *,
    heads_length: int | None = None,
    ends_at: int | None = None,
) -> Report:
    """Verify a whole log wherever it stands, see `verify`; `findings` are what was found before, and are added to.

    Of the heads file, only the first `heads_length` bytes count, if that is given. `ends_at` is the size at which the
    log was copied: heads beyond it are about records that came later, and are only counted as `published`.
    """
    return _Verification(log, key, heads_file, findings, heads_length, ends_at).run()


class _AuthenticHeads:
    """The heads of one source that the key signed, in ascending size; reports the others."""

    def __init__(
        self,
        heads: Iterable[tuple[str, SignedHead | None]],
        key: PublicKey,
        findings: Findings,
        ends_at: int | None = None,
    ) -> None:
        self._heads = iter(heads)
        self._key = key
        self._findings = findings
        self._ends_at = ends_at
        self.size = 0
        """Of the last head that was taken, or that is beyond the end."""
        self.next = self._read()

    def take(self) -> SignedHead | None:
        """The next head; None when there is no more."""
        head = self.next
        if head is not None:
            self.size = head.size
            self.next = self._read()
        return head

    def _read(self) -> SignedHead | None:
        for place, head in self._heads:
            if head is None:
                what = f"{place} cannot be read as a head"
            elif not head.is_authentic(self._key):
                what = f"{place} was not signed with this key, or was changed since"
            elif head.size <= self.size:
                what = f"{place} repeats a size or stands behind a later one"
            elif self._ends_at is not None and head.size > self._ends_at:
                self.size = head.size
                continue
            else:
                return head
            self._findings.add(Problem(ProblemKind.FORGED_HEAD, what))
        return None


class _Records:
    """The sealed records, taken by index."""

    def __init__(self, events: Iterator[StoredEvent]) -> None:
        self._events = events
        self._next = next(events, None)

    def take(self, index: int) -> tuple[list[StoredEvent], StoredEvent | None]:
        """Records that stand before `index` though their places are taken, or none; and the one at `index`, if any."""
        intruders = []
        while (event := self._next) is not None and _stands_before(event.log_index, index):
            intruders.append(event)
            self._next = next(self._events, None)
        if event is None or type(event.log_index) is not int or event.log_index != index:
            return intruders, None
        self._next = next(self._events, None)
        return intruders, event

    def rest(self) -> Iterator[StoredEvent]:
        """All that were not taken."""
        while (event := self._next) is not None:
            self._next = next(self._events, None)
            yield event


def _stands_before(log_index: object, index: int) -> bool:
    return isinstance(log_index, int | float) and log_index < index


class _Verification:
    """One run over a log."""

    def __init__(
        self,
        log: StoredLog,
        key: PublicKey,
        heads_file: Path | None,
        findings: Findings,
        heads_length: int | None,
        ends_at: int | None,
    ) -> None:
        self._log = log
        self._findings = findings
        self._own = _AuthenticHeads(log.heads(), key, self._findings)
        self._published = _AuthenticHeads(_published(heads_file, heads_length), key, self._findings, ends_at)
        self._heads_file = heads_file
        self._records = _Records(log.sealed())
        self._placement = Placement(self._findings)
        self._numbering = Numbering(self._findings)
        self._frontier = Frontier()

    def run(self) -> Report:
        """Read everything once."""
        last = None
        while self._own.next or self._published.next:
            last = self._check_next_head()
        for event in self._records.rest():
            self._check_behind(event)
        unsealed = 0
        for event in self._log.unsealed():
            unsealed += 1
            self._check_itself(event, is_vouched=True)
            self._check_not_sealed(event)
        if last is not None and self._heads_file is not None and not self._heads_file.exists():
            what = f"the heads were published, but {self._heads_file} is gone"
            self._findings.add(Problem(ProblemKind.REMOVED_HEAD, what))
        self._placement.settle(self._frontier.size)
        self._numbering.settle(self._log.counters())
        return Report(
            problems=self._findings.listed(),
            size=self._frontier.size,
            head=last,
            unsealed=unsealed,
            published=self._published.size if self._heads_file else None,
            omitted=self._findings.omitted,
        )

    def _check_next_head(self) -> SignedHead:
        """Compare the records up to a next head with what it vouches for."""
        published, own = self._published.next, self._own.next
        if published is not None and published.extends(self._frontier):
            self._check_by_published(published)
            return published
        size = min(head.size for head in (own, published) if head)
        heads = [head for head in (own, published) if head and head.size == size]
        if own in heads:
            self._own.take()
        else:
            self._lacks_head(size)
        if published in heads:
            self._published.take()
        if len(heads) > 1 and heads[0].root != heads[1].root:
            self._is_forked(size)
            heads = heads[1:]
        self._check_records(heads)
        self._frontier = heads[0].after()
        return heads[0]

    def _check_by_published(self, head: SignedHead) -> None:
        """The records that a published head vouches for; the log's own heads among them must say the same."""
        self._published.take()
        has_own = False
        for index in range(head.first, head.size):
            self._check_place(index, head.leaf(index))
            self._frontier.append(head.leaf(index))
            if (own := self._own.next) is None or own.size != self._frontier.size:
                continue
            self._own.take()
            has_own = own.size == head.size
            if own.root != self._frontier.root():
                self._is_forked(own.size)
            elif has_own and own.leaves != head.leaves:
                self._has_wrong_leaves(own.size)
        if not has_own:
            self._lacks_head(head.size)

    def _lacks_head(self, size: int) -> None:
        what = f"a head at size {size} was published, but the log has none"
        self._findings.add(Problem(ProblemKind.REMOVED_HEAD, what))

    def _is_forked(self, size: int) -> None:
        what = f"the head at size {size} is signed but not the published one: whoever has the key wrote two histories"
        self._findings.add(Problem(ProblemKind.FORKED, what))

    def _has_wrong_leaves(self, size: int) -> None:
        what = f"the leaf hashes with the head at size {size} are not those that were signed"
        self._findings.add(Problem(ProblemKind.FORGED_HEAD, what))

    def _check_records(self, heads: list[SignedHead]) -> None:
        """The records from where the log was checked to, up to the size of `heads`, of which the first has the root."""
        start, size = self._frontier.size, heads[0].size
        running = self._frontier.copy()
        # Where a head between is missing, its records have nothing but their own hashes until this head's leaves begin.
        for index in range(start, min(max(start, heads[0].first), size)):
            self._append_own_hash(running, index)
        vouching = next((head for head in heads if head.extends(running)), None)
        if vouching is not None:
            for index in range(running.size, size):
                self._check_place(index, vouching.leaf(index))
        else:
            while running.size < size:
                self._append_own_hash(running, running.size)
            if running.root() != heads[0].root:
                what = "these records do not give the signed root: one of them was changed, removed or moved"
                self._findings.add(Problem(ProblemKind.DIVERGED, what, start, size - 1))
                return
        if vouching is not heads[0]:
            self._has_wrong_leaves(size)

    def _append_own_hash(self, running: Frontier, index: int) -> None:
        """Check a record for which no leaf hash is vouched; a missing one leaves a hole that no root will fit."""
        running.append(self._check_place(index, None) or bytes(32))

    def _check_place(self, index: int, sealed: bytes | None) -> bytes | None:
        """Check the record at an index; its own hash, None when there is none."""
        intruders, event = self._records.take(index)
        for intruder in intruders:
            self._check_intruder(intruder)
        if event is None:
            self._placement.lacks(index, sealed)
            return None
        found = leaf_hash(event.body)
        noted = event.columns.leaf_hash if event.columns else found
        name = self._check_itself(event, is_vouched=found == (sealed or noted), place_is_known=sealed is not None)
        if sealed is not None and found != sealed:
            self._placement.differs(index, sealed, found, name)
        elif noted != found:
            kind = ProblemKind.CHANGED if sealed is None else ProblemKind.COLUMN
            what = "its bytes do not have the leaf hash that is noted beside them"
            self._findings.add(Problem(kind, what, index, index, name.writer, name.sequence))
        return found

    def _check_intruder(self, event: StoredEvent) -> None:
        name = self._check_itself(event, is_vouched=False)
        index = event.log_index if type(event.log_index) is int else None
        self._placement.intrudes(index, name)

    def _check_behind(self, event: StoredEvent) -> None:
        """A record for which no head is left."""
        if type(event.log_index) is not int or event.log_index < self._frontier.size:
            self._check_intruder(event)
            return
        name = self._check_itself(event, is_vouched=False)
        self._placement.stands_behind(event.log_index, leaf_hash(event.body), name)

    def _check_itself(self, event: StoredEvent, *, is_vouched: bool, place_is_known: bool = False) -> RecordName:
        """Compare body and columns, and take down the record's number; its name.

        Where the bytes are not those that were sealed, the columns are asked first who the record was.
        """
        body = _body(event)
        name = _name(body, event.columns) if is_vouched else _name(event.columns, body)
        index = event.log_index if type(event.log_index) is int else None
        if body is None:
            what = "its body is not that of an event"
            self._findings.add(Problem(ProblemKind.CHANGED, what, index, index, name.writer, name.sequence))
        elif event.columns is not None and (wrong := _wrong_columns(event.columns, body)):
            what = f"look-up columns say otherwise than the body: {', '.join(wrong)}"
            self._findings.add(Problem(ProblemKind.COLUMN, what, index, index, name.writer, name.sequence))
        if name.writer is not None and name.sequence is not None:
            self._numbering.see(name.writer, name.sequence, index, place_is_known=place_is_known)
        return name

    def _check_not_sealed(self, event: StoredEvent) -> None:
        columns = event.columns
        if columns is not None and columns.leaf_hash is not None:
            name = _name(columns)
            what = "it has a leaf hash but no place in the log: it was taken out of it"
            self._findings.add(Problem(ProblemKind.COLUMN, what, None, None, name.writer, name.sequence))


def name_of(event: StoredEvent) -> RecordName:
    """What a record calls itself in its body."""
    return _name(_body(event))


def _body(event: StoredEvent) -> Body | None:
    try:
        return parse_body(event.body)
    except ValueError:
        return None


def _published(heads_file: Path | None, length: int | None) -> Iterator[tuple[str, SignedHead | None]]:
    if heads_file is not None and heads_file.exists():
        for number, head in read_heads(heads_file, length):
            yield f"line {number} of the heads file", head


def _wrong_columns(columns: Columns, body: Body) -> list[str]:
    agree = {
        "writer": columns.writer == body.writer,
        "sequence": columns.sequence == body.sequence,
        "at": isinstance(columns.at, float | int) and round(columns.at * 1_000_000) == body.at_microseconds,
        "kind": columns.kind == body.kind,
        "subject": columns.subject == body.subject,
    }
    return [column for column, agrees in agree.items() if not agrees]


def _name(*sources: Body | Columns | None) -> RecordName:
    """What to call a record: by the first source that has what could be a writer's name and a number."""
    for source in sources:
        if source is None or type(source.sequence) is not int or not isinstance(source.writer, str):
            continue
        try:
            return RecordName(str(Name(source.writer)), source.sequence)
        except EventError:
            continue
    return RecordName()
