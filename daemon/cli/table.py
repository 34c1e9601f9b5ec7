"""Lays rows out for a terminal of a given width, so that what a person copies stays whole.

Ids, pseudonyms, paths and checksums are never folded and never cut. Where the terminal is too narrow, columns that
matter less are left out and named; text stands beside its row if no word of it must be broken for that, else below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

_GAP: Final = 2
_INDENT: Final = 4
_LEAST_TEXT: Final = 24  # columns; where less is left, text goes below

Row = Mapping[str, Text]


@dataclass(frozen=True)
class Table:
    """`columns` stand beside each other and are never folded; `texts` are. A row without one of the texts lacks it."""

    columns: Sequence[str]
    texts: Sequence[str]
    rows: Sequence[Row]

    def lines(self, console: Console, first_to_go: Sequence[str]) -> Iterator[Text]:
        """What to print. `first_to_go` are left out, in this order, while the columns do not fit."""
        headings = {name: Text(heading(name), "bold") for name in (*self.columns, *self.texts)}
        widths = {name: max(row[name].cell_len for row in (headings, *self.rows)) for name in self.columns}
        left_out = []
        for name in first_to_go:
            if name in widths and _start(widths) - _GAP > console.width:
                del widths[name]
                left_out.append(heading(name))
        room = console.width - _start(widths)
        if len(self.texts) > 1 or room < _LEAST_TEXT:
            room = 0
        yield from _row(headings, widths, self.texts[:1] if room else (), console, room)
        for row in self.rows:
            yield from _row(row, widths, [name for name in self.texts if name in row], console, room)
        if left_out:
            note = Text(f"no room for: {', '.join(left_out)}; a wider terminal or --json shows them", "dim")
            yield from note.wrap(console, console.width)


def heading(column: str) -> str:
    """What stands above a column."""
    return column.removesuffix("_at").replace("_", " ")


def _start(widths: Mapping[str, int]) -> int:
    """Where text begins that stands beside these columns."""
    return sum(width + _GAP for width in widths.values())


def _row(row: Row, widths: Mapping[str, int], texts: Sequence[str], console: Console, room: int) -> Iterator[Text]:
    line = Text()
    for name, width in widths.items():
        line += row[name]
        line.pad_right(width - row[name].cell_len + _GAP)
    below = []
    for name in texts:
        longest = max((Text(word).cell_len for word in row[name].plain.split()), default=0)
        if longest <= room:
            first, *rest = row[name].wrap(console, room)
            line += first
            below += [_indented(part, _start(widths)) for part in rest]
        else:
            labelled = Text(f"{heading(name)}: " if len(texts) > 1 else "", "dim") + row[name]
            below += [_indented(p, _INDENT) for p in labelled.wrap(console, max(console.width - _INDENT, longest))]
    for printed in (line, *below):
        printed.rstrip()
        yield printed


def _indented(line: Text, columns: int) -> Text:
    return Text(" " * columns) + line
