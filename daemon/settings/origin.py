"""Where each value of the settings came from: a line of the TOML file, an environment variable, an option, a default.

`toml_lines` finds the line of every key by giving the file to the real parser one statement at a time, so that it
agrees with TOML 1.0 without a second parser of ours.
"""

import io
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

KeyPath = tuple[str | int, ...]
"""The way to a value: `("dicom", "port")`, `("sources", 0, "issuer")`."""


class OriginKind(Enum):
    """The places a value can come from, weakest first."""

    DEFAULT = "default"
    FILE = "file"
    CREDENTIAL = "systemd credential"
    SECRET_FILE = "secret file"  # noqa: S105 - a word for people
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Origin:
    """Where one value came from."""

    kind: OriginKind
    place: str = ""
    """`FILE:LINE`, the variable's name, the option's key or the secret's file; empty for a default."""

    def __str__(self) -> str:
        if self.kind is OriginKind.FILE:
            return self.place
        return f"{self.kind.value} {self.place}".rstrip()


DEFAULT = Origin(OriginKind.DEFAULT)


def file_origin(path: Path, line: int | None = None) -> Origin:
    """The origin of a value that a file holds, with its line where it is known."""
    return Origin(OriginKind.FILE, f"{path}:{line}" if line else str(path))


def toml_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) on which each table and each key of a valid TOML document starts.

    Tables in arrays are numbered as in the parsed document: the second `[[sources]]` is `("sources", 1)`.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    pending = ""
    start = 0
    for number, line in enumerate(io.StringIO(text), start=1):
        start = start if pending else number
        pending += line
        try:
            statement = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        if pending.lstrip().startswith("["):
            table = _table_path(statement, counts)
            lines.setdefault(table, start)
        else:
            for path in _paths(statement):
                lines.setdefault(table + path, start)
        pending = ""
    return lines


def _table_path(header: dict[str, object], counts: dict[KeyPath, int]) -> KeyPath:
    """The path that a table header stands for; `counts` holds the number of the newest table of each array."""
    path: KeyPath = ()
    node: object = header
    while isinstance(node, dict) and node:
        name, node = next(iter(node.items()))
        path = (*path, name)
        if isinstance(node, list):
            counts[path] = counts.get(path, -1) + 1
            node = node[0]
        if path in counts:
            path = (*path, counts[path])
    return path


def _paths(node: object, at: KeyPath = ()) -> list[KeyPath]:
    """The paths of a value and of everything below it."""
    below: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        below = list(node.items())
    elif isinstance(node, list):
        below = list(enumerate(node))
    found = [at] if at else []
    for part, value in below:
        found += _paths(value, (*at, part))
    return found
