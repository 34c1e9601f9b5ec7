"""Settings while they are put together: one value for each path, and the origin of each.

Nothing here is checked yet; a draft must never be used for anything but making `Settings`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.settings.errors import Problem
from daemon.settings.origin import DEFAULT, KeyPath, Origin

LISTS = {"sources": "ae_title", "destinations": "name"}
"""The lists of tables, and the key that names an entry."""


@dataclass
class Draft:
    """Values by path; what is assigned later wins."""

    values: dict[KeyPath, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def assign(self, path: KeyPath, value: Any, origin: Origin, lines: Mapping[KeyPath, Origin] | None = None) -> None:
        """Set `path`; a table is merged key by key, anything else replaces what was there.

        `lines` gives the origins of parts of the value more exactly, where they are known.
        """
        lines = lines or {}
        if not isinstance(value, dict):
            for old in [old for old in self.values if old[: len(path)] == path]:
                del self.values[old], self.origins[old]
        for below, leaf in leaves(value, path).items():
            for end in range(1, len(below)):
                if self.values.pop(below[:end], None) is not None:  # a value that is a table now
                    del self.origins[below[:end]]
            self.values[below] = leaf
            self.origins[below] = lines.get(below, origin)
        self.origins |= {at: line for at, line in lines.items() if at[: len(path)] == path}

    def assign_text(self, parts: list[str], text: str, origin: Origin) -> None:
        """Set the value that a variable or an option gives; text that starts with `[` or `{` is JSON if it can be."""
        path = self._path(parts)
        if path is None:
            kind, name = parts[:2]
            self.refuse((), origin, f"there is no entry {name!r} in `{kind}`; entries go by name or by number from 0.")
            return
        value: Any = text
        if text.startswith(("[", "{")):
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = text
        self.assign(path, value, origin)

    def _path(self, parts: list[str]) -> KeyPath | None:
        if len(parts) < 2 or parts[0] not in LISTS:
            return self._as_spelt(parts)
        kind, name, *rest = parts
        for number in self.entries(kind):
            known = self.values.get((kind, number, LISTS[kind]))
            if name == str(number) or (isinstance(known, str) and _plain(known) == _plain(name)):
                return (kind, number, *rest)
        return None

    def _as_spelt(self, parts: list[str]) -> KeyPath:
        """The path, with the names of tables as the file spells them: a variable's name has no hyphen."""
        path: KeyPath = ()
        for part in parts:
            known = {
                str(other[len(path)]) for other in self.values if len(other) > len(path) and other[: len(path)] == path
            }
            alike = sorted(name for name in known if _plain(name) == _plain(part))
            path = (*path, part if part in known or not alike else alike[0])
        return path

    def entries(self, kind: str) -> list[int]:
        """The numbers of the entries of a list of tables."""
        numbers = {path[1] for path in self.values if path[0] == kind and len(path) > 1}
        return sorted(number for number in numbers if isinstance(number, int))

    def origin(self, path: KeyPath) -> Origin:
        """Where the value came from; else something in it; else the table it would be in."""
        if path in self.origins:
            return self.origins[path]
        for other, origin in self.origins.items():
            if other[: len(path)] == path:
                return origin
        return self.origin(path[:-1]) if path else DEFAULT

    def refuse(self, path: KeyPath, origin: Origin, message: str) -> None:
        """Note that the value at `path` cannot be used."""
        self.problems.append(Problem(dotted(path, self.values), str(origin), message))

    def tree(self) -> dict[str, Any]:
        """The values as nested tables and lists."""
        root: dict[Any, Any] = {}
        for path, value in self.values.items():
            node = root
            for part in path[:-1]:
                node = node.setdefault(part, {})
            if value == {}:
                node.setdefault(path[-1], {})
            else:
                node[path[-1]] = value
        return {name: _lists(value) for name, value in root.items()}


def leaves(value: Any, at: KeyPath = ()) -> dict[KeyPath, Any]:
    """All values below a table or a list of tables, by path. A list of anything else is one value."""
    below: dict[str | int, Any] = {}
    if isinstance(value, dict):
        below = value
    elif isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        below = dict(enumerate(value))
    if not below:
        return {at: value}
    return {path: leaf for part, inner in below.items() for path, leaf in leaves(inner, (*at, part)).items()}


def dotted(path: KeyPath, values: Mapping[KeyPath, Any]) -> str:
    """The path as a person writes it; an entry of a list goes by its name if it has one."""
    parts = [str(part) for part in path]
    if len(path) > 1 and path[0] in LISTS:
        name = values.get((*path[:2], LISTS[str(path[0])]))
        parts[1] = name if isinstance(name, str) else parts[1]
    return ".".join(parts)


def _plain(name: str) -> str:
    """A name as an environment variable can spell it."""
    return re.sub("[^a-z0-9]", "_", name.lower())


def _lists(value: Any) -> Any:
    """Tables whose keys are numbers as the lists that they were."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(entry) for key, entry in value.items()}
    if inner and all(isinstance(key, int) for key in inner):
        return [inner[key] for key in sorted(inner)]
    return inner
