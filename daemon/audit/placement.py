"""Compares which record stands at each index with which was sealed there, and tells a changed record from a moved one.

A record that is not the sealed one may stand elsewhere. So what is missing and what is surplus is kept, by leaf hash,
until it turns up or the end comes. Then what was surplus and missing at one index was changed; what was only missing,
removed; only surplus, inserted; and what turned up elsewhere was reordered, unless the insertions and removals before
it explain its shift.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from daemon.audit.findings import Findings, Problem, ProblemKind

_WINDOW = 40_000
"""So many open cases are kept; of more, the older ones are settled. It bounds the memory for a log replaced whole."""


@dataclass(frozen=True, slots=True)
class RecordName:
    """What a record calls itself, where that is fit to be repeated."""

    writer: str | None = None
    sequence: int | None = None


_NAMELESS = RecordName()


@dataclass(slots=True)
class _Shift:
    """`count` records in a row that stand away from where they were sealed; `name` is the first's."""

    found: int
    sealed: int
    count: int
    name: RecordName


class Placement:
    """Told of each index in turn. Says nothing about records that stand where they were sealed."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._missing: dict[bytes, int] = {}
        self._surplus: dict[bytes, tuple[int, RecordName]] = {}
        self._shifts: list[_Shift] = []
        self._inserted: list[int] = []
        self._removed: list[int] = []
        self._unvouched: list[int] = []

    def lacks(self, index: int, sealed: bytes | None) -> None:
        """No record stands at this index. `sealed` is the leaf hash that was sealed there, where that is known."""
        if sealed is None:
            self._removed.append(index)
        else:
            self._miss(index, sealed)

    def differs(self, index: int, sealed: bytes, found: bytes, name: RecordName) -> None:
        """At this index stands another record than the sealed one."""
        self._miss(index, sealed)
        self._find(index, found, name)

    def intrudes(self, index: int | None, name: RecordName) -> None:
        """A record has no place in the log at all: its index is no index, or another stands there."""
        self._add(ProblemKind.INSERTED, "it was never sealed at this place", index, index, name)

    def stands_behind(self, index: int, found: bytes, name: RecordName) -> None:
        """A record stands behind the last head."""
        sealed = self._missing.pop(found, None)
        if sealed is not None:
            self._move(index, sealed, name)
        else:
            self._unvouched.append(index)

    def settle(self, size: int) -> None:
        """Report what stayed open; `size` is the log's, by its last head."""
        self._classify(before=size)
        self._removed.sort()
        self._inserted.sort()
        for first, last in _runs(self._removed):
            if last == size - 1:
                self._add(ProblemKind.TRUNCATED, "the end of the log was cut off", first, last)
            else:
                self._add(ProblemKind.REMOVED, "it was sealed, but is gone", first, last)
        for first, last in _runs(self._unvouched):
            what = "no signed head covers it: it was inserted, or the heads after it were removed"
            self._add(ProblemKind.UNVOUCHED, what, first, last)
        for shift in self._shifts:
            before = bisect_left(self._inserted, shift.found) - bisect_left(self._removed, shift.sealed)
            if shift.found - shift.sealed != before:
                what = f"sealed at #{shift.sealed}" + (" and following" if shift.count > 1 else "")
                self._add(ProblemKind.REORDERED, what, shift.found, shift.found + shift.count - 1, shift.name)

    def _miss(self, index: int, sealed: bytes) -> None:
        found = self._surplus.pop(sealed, None)
        if found is not None:
            self._move(found[0], index, found[1])
            return
        self._missing[sealed] = index
        if len(self._missing) + len(self._surplus) > _WINDOW:
            self._classify(before=index - _WINDOW // 4)

    def _find(self, index: int, found: bytes, name: RecordName) -> None:
        sealed = self._missing.pop(found, None)
        if sealed is not None:
            self._move(index, sealed, name)
        elif found in self._surplus:
            self._add(ProblemKind.INSERTED, "it is a copy of another record", index, index, name)
            self._inserted.append(index)
        else:
            self._surplus[found] = (index, name)

    def _move(self, found: int, sealed: int, name: RecordName) -> None:
        last = self._shifts[-1] if self._shifts else None
        if last and last.found + last.count == found and last.sealed + last.count == sealed:
            last.count += 1
        else:
            self._shifts.append(_Shift(found, sealed, 1, name))

    def _classify(self, before: int) -> None:
        """Settle the open cases at indices below `before`."""
        missing = {index: leaf for leaf, index in self._missing.items() if index < before}
        surplus = {index: (leaf, name) for leaf, (index, name) in self._surplus.items() if index < before}
        for index, (leaf, name) in surplus.items():
            del self._surplus[leaf]
            if index in missing:
                self._add(ProblemKind.CHANGED, "its bytes are not those that were sealed", index, index, name)
            else:
                self._add(ProblemKind.INSERTED, "no such record was sealed", index, index, name)
                self._inserted.append(index)
        for index, leaf in missing.items():
            del self._missing[leaf]
            if index not in surplus:
                self._removed.append(index)

    def _add(
        self, kind: ProblemKind, what: str, first: int | None, last: int | None, name: RecordName = _NAMELESS
    ) -> None:
        self._findings.add(Problem(kind, what, first, last, name.writer, name.sequence))


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs without a hole, each its first and last."""
    first = last = None
    for number in numbers:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = None
        first = number if first is None else first
        last = number
    if first is not None and last is not None:
        yield first, last
