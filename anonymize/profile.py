"""Table E.1-1 of PS3.15 in memory: which action the Basic Profile and each option prescribe for an attribute.

It must never fall back: a damaged table, an unknown action or a missing row is refused when the table is read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache
from importlib.resources import files
from typing import Final

from anonymize.errors import InvalidProfile
from anonymize.options import Option

TABLE: Final = "e1_1.txt"
_BY_COLUMN: Final = {option.column: option for option in Option}

PRIVATE_PATTERN: Final = "odd"  # in the table's place for "(gggg,eeee) where gggg is odd"


@unique
class ActionCode(StrEnum):
    """What a cell of the table says (PS3.15 E.1.1)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    KEEP = "K"
    CLEAN = "C"
    REMOVE_OR_EMPTY = "X/Z"
    REMOVE_OR_DUMMY = "X/D"
    REMOVE_EMPTY_OR_DUMMY = "X/Z/D"
    EMPTY_OR_DUMMY = "Z/D"
    REMOVE_EMPTY_OR_UIDS = "X/Z/U*"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: the Basic Profile's action, and what each option would put in its place."""

    pattern: str
    basic: ActionCode
    options: Mapping[Option, ActionCode]


@dataclass(frozen=True, slots=True)
class Profile:
    """The whole table. `rows` by tag; `patterns` as (mask, tag, row) for repeating groups; `private` for odd groups."""

    edition: str
    rows: Mapping[int, Row]
    patterns: tuple[tuple[int, int, Row], ...]
    private: Row

    def row(self, tag: int) -> Row | None:
        """Find the row that covers `tag` (``group << 16 | element``); None where the table does not list it."""
        if tag >> 16 & 1:
            return self.private
        if (row := self.rows.get(tag)) is not None:
            return row
        return next((row for mask, value, row in self.patterns if tag & mask == value), None)

    def __len__(self) -> int:
        return len(self.rows) + len(self.patterns) + 1


def _row(line: str) -> Row:
    pattern, code, *cells = line.split(" ")
    try:
        pairs = (cell.split("=", 1) for cell in cells)
        return Row(pattern, ActionCode(code), {_BY_COLUMN[name]: ActionCode(value) for name, value in pairs})
    except (KeyError, ValueError) as error:
        raise InvalidProfile(
            f"the row of {pattern} in {TABLE} holds what is no action or option; make it anew"
        ) from error


def _mask(pattern: str) -> int:
    return int("".join("0" if digit == "x" else "F" for digit in pattern), 16)


def parse_profile(text: str) -> Profile:
    """Read what `anonymize.tables.make_table` wrote.

    Raises `InvalidProfile` on a wrong checksum or number of rows, an unknown action or option, or no private row.
    """
    lines = text.splitlines(keepends=True)
    head = dict(line[2:].rstrip("\n").split(": ", 1) for line in lines if line.startswith("# "))
    body = [line for line in lines if not line.startswith("# ")]
    if hashlib.sha256("".join(body).encode()).hexdigest() != head.get("sha256"):
        raise InvalidProfile(f"{TABLE} does not have the checksum that it states; install the package anew")
    rows = {row.pattern: row for row in map(_row, map(str.rstrip, body))}
    if str(len(rows)) != head.get("rows") or PRIVATE_PATTERN not in rows:
        raise InvalidProfile(f"{TABLE} does not have the rows that it states; make it anew")
    private = rows.pop(PRIVATE_PATTERN)
    return Profile(
        edition=head["edition"],
        rows={int(pattern, 16): row for pattern, row in rows.items() if "x" not in pattern},
        patterns=tuple((_mask(p), int(p.replace("x", "0"), 16), row) for p, row in rows.items() if "x" in p),
        private=private,
    )


@cache
def load_profile() -> Profile:
    """Read the table that ships with the package, once."""
    return parse_profile(files("anonymize.tables").joinpath(TABLE).read_text("utf-8"))
