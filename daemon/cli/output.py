"""How answers look: a table for people, JSON for scripts. The only place of the CLI that prints.

Nothing printed is folded but a table's texts (`daemon.cli.table`): what is longer than a line is the terminal's to
break, so that it can be copied whole.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from daemon.cli.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_TEXTS: Final = frozenset({"reason", "last_error", "detail", "details", "outcome", "intended_use", "value"})
"""Columns that hold sentences. All others hold what a person may copy."""
_STYLES = {
    "delivered": "green",
    "done": "green",
    "sealed": "green",
    "held": "yellow",
    "quarantined": "yellow",
    "undelivered": "red",
    "failed": "red",
    "dead": "red",
    "conflict": "yellow",
    "superseded": "dim",
    "unselected": "dim",
}


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(*parts: str | Text | tuple[str, str]) -> None:
    """A line on standard output: plain text, or pairs of text and style. No markup is read in it."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def fail(message: str) -> None:
    """Say on standard error what went wrong."""
    errors.print(Text.assemble(("kopru: ", "bold red"), message), soft_wrap=True)


def warn(message: str) -> None:
    """Say on standard error what is allowed but hardly meant."""
    errors.print(Text.assemble(("kopru: warning: ", "bold yellow"), message), soft_wrap=True)


def print_table(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    title: str = "",
    empty: str = "none",
    first_to_go: Sequence[str] = (),
) -> None:
    """The named columns of the rows; a state is coloured, a time is local. `first_to_go`: see `daemon.cli.table`."""
    listed = list(rows)
    if title:
        say((title, "bold"))
    if not listed:
        say((f"{empty}\n", "dim"))
        return
    table = Table(
        [name for name in columns if name not in _TEXTS],
        [name for name in columns if name in _TEXTS and any(row.get(name) for row in listed)],
        [
            {name: cell(name, row.get(name)) for name in columns if name not in _TEXTS or row.get(name)}
            for row in listed
        ],
    )
    for line in table.lines(console, first_to_go):
        say(line)
    say()


def cell(column: str, value: Any) -> Text:
    """A value as it stands in a table."""
    if value is None:
        return Text("–", "dim")
    if column.endswith(("_at", "_before", "_until")) and isinstance(value, float):
        return Text(datetime.fromtimestamp(value, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = "".join(character if character.isprintable() else " " for character in str(value))
    return Text(text, _STYLES.get(text, ""))
