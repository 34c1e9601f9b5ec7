"""What verifying the log found: problems, each with the name of the record it is about, and the size and head that
hold.
"""

from dataclasses import dataclass
from enum import StrEnum

from daemon.audit.heads import SignedHead

MOST_PROBLEMS = 1000
"""So many are listed; the rest is counted, so that a log that was wholly replaced does not fill the memory."""


class ProblemKind(StrEnum):
    """What is wrong with a record or a head."""

    CHANGED = "changed"
    REMOVED = "removed"
    TRUNCATED = "truncated"
    INSERTED = "inserted"
    REORDERED = "reordered"
    GAP = "gap"
    COLUMN = "column"
    DIVERGED = "diverged"
    UNVOUCHED = "unvouched"
    FORGED_HEAD = "forged-head"
    REMOVED_HEAD = "removed-head"
    FORKED = "forked"
    BROKEN_FILE = "broken-file"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `log_index` … `last_index` are the records meant; `writer` and `sequence` … `last_sequence` name
    them, too.

    What is not known, or does not apply, is None. `what` says it in words, without repeating anything a forger wrote.
    """

    kind: ProblemKind
    what: str
    log_index: int | None = None
    last_index: int | None = None
    writer: str | None = None
    sequence: int | None = None
    last_sequence: int | None = None

    def __str__(self) -> str:
        names = []
        if self.log_index is not None:
            names.append(f"record {_range(self.log_index, self.last_index)}")
        if self.writer is not None:
            names.append(f"{self.writer} {_range(self.sequence, self.last_sequence)}")
        return f"{self.kind.value}: {', '.join([*names, self.what])}"


def _range(first: int | None, last: int | None) -> str:
    number = "" if first is None else f"#{first}"
    return number if last is None or last == first else f"{number} to #{last}"


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of `verify`. `size` and `head` are those of the last authentic head; 0 and None for an empty log.

    `unsealed` counts the records that are not sealed yet (at most a second's worth while the daemon runs): about them
    the log proves nothing yet. `published` is the size that the heads file vouches for, None where none was given.
    `omitted` counts the problems beyond the first `MOST_PROBLEMS`.
    """

    problems: tuple[Problem, ...]
    size: int
    head: SignedHead | None
    unsealed: int = 0
    published: int | None = None
    omitted: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


class Findings:
    """Collects problems, each once, and not more than fit."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Problem] = {}
        self.omitted = 0

    def add(self, problem: Problem) -> None:
        """Take down a problem, unless the same was found about the same record before."""
        key = (problem.kind, problem.log_index, problem.writer, problem.sequence, problem.what)
        if key in self._found:
            return
        if len(self._found) < MOST_PROBLEMS:
            self._found[key] = problem
        else:
            self.omitted += 1

    def listed(self) -> tuple[Problem, ...]:
        """By log index; those about no record last."""
        return tuple(sorted(self._found.values(), key=lambda p: (p.log_index is None, p.log_index or 0)))
