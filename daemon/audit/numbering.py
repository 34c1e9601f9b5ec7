"""Checks that each writer's records are numbered 1, 2, 3 … without a gap, in the log and on into what is not sealed
yet.

This finds what the tree cannot: a record that was removed before it was sealed, and the end of a log that was cut off
together with its heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.audit.findings import Findings, Problem, ProblemKind


@dataclass(slots=True)
class _Writer:
    next: int = 1
    holes: list[tuple[int, int]] = field(default_factory=list)
    """Numbers that were passed over, as first and last."""

    def fill(self, number: int) -> bool:
        """Whether the number was in a hole; it no longer is."""
        for place, (first, last) in enumerate(self.holes):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self.holes[place : place + 1] = [(a, b) for a, b in rest if a <= b]
                return True
        return False


class Numbering:
    """Follows all writers at once; holds a few numbers for each."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._writers: dict[str, _Writer] = {}

    def see(self, name: str, number: int, log_index: int | None, *, place_is_known: bool) -> None:
        """Take down the next record of the log, or the next one that is not sealed.

        Where it is known which record was sealed at each place, the order is not judged here too.
        """
        writer = self._writers.setdefault(name, _Writer())
        if number == writer.next:
            writer.next += 1
        elif number > writer.next:
            writer.holes.append((writer.next, number - 1))
            writer.next = number + 1
        elif writer.fill(number):
            if not place_is_known:
                self._add(ProblemKind.REORDERED, "it stands behind later ones of its writer", name, number, log_index)
        else:
            self._add(ProblemKind.INSERTED, "its writer used this number before", name, number, log_index)

    def settle(self, counters: Mapping[str, int] | None) -> None:
        """Report the gaps, once all records were seen; `counters` are the last numbers taken, where they are known."""
        for name, writer in self._writers.items():
            for first, last in writer.holes:
                self._gap(name, first, last)
        if counters is None:
            return
        for name in sorted(counters.keys() | self._writers.keys()):
            seen = self._writers.get(name, _Writer()).next - 1
            taken = counters.get(name, 0)
            if taken > seen:
                self._gap(name, seen + 1, taken)
            elif taken < seen:
                self._add(ProblemKind.GAP, "the writer's counter was set back behind this number", name, seen, None)

    def _gap(self, name: str, first: int, last: int) -> None:
        what = "the numbers were taken, but there is no such record"
        self._findings.add(Problem(ProblemKind.GAP, what, writer=name, sequence=first, last_sequence=last))

    def _add(self, kind: ProblemKind, what: str, name: str, number: int, log_index: int | None) -> None:
        self._findings.add(Problem(kind, what, log_index, writer=name, sequence=number))
