"""How answers look: a rich table for people, JSON for scripts. The only place of the CLI that prints."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

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


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str = "", empty: str = "none"
) -> None:
    """The named columns of the rows; a state is coloured, a time is local."""
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removesuffix("_at").replace("_", " "), overflow="fold")
    number = 0
    for row in rows:
        number += 1
        table.add_row(*(cell(column, row.get(column)) for column in columns))
    if number:
        console.print(table)
    else:
        if title:
            console.print(Text(title, "bold"))
        console.print(Text(empty, "dim"))


def cell(column: str, value: Any) -> Text:
    """A value as it stands in a table."""
    if value is None:
        return Text("–", "dim")
    if column.endswith(("_at", "_before", "_until")) and isinstance(value, float):
        return Text(datetime.fromtimestamp(value, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = str(value)
    return Text(text, _STYLES.get(text, ""))


def fail(message: str) -> None:
    """Say on standard error what went wrong."""
    errors.print(Text.assemble(("kopru: ", "bold red"), message))
