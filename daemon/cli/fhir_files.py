"""FHIR files as commands take them: one resource or Bundle in JSON, or a resource a line (NDJSON, as bulk exports are).

Numbers keep all of their digits (FHIR R4 2.6.2.3). What is wrong with a file is said by its place, never by a value.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn

from adapters.durable_files import write_all

Resource = Mapping[str, Any]

_SUFFIXES: Final = frozenset({".json", ".ndjson"})
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"
_HEAD_BYTES: Final = 4096


class NotFhir(ValueError):
    """A file, or a line of one, is no FHIR resource in JSON."""


def is_json(path: Path) -> bool:
    """Whether a file is to be read as JSON: by its first character, else by its name; no DICOM Part 10 file is."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[128:132] == b"DICM":
        return False
    return head.lstrip(_BLANKS).startswith(b"{") or path.suffix.lower() in _SUFFIXES


def read_resources(path: Path) -> Iterator[tuple[int | None, Resource | NotFhir]]:
    """Give the resources of a file with the numbers of their lines, None for a file that is one resource.

    A line that is no resource is given as what is wrong with it. Raises `NotFhir` where that is the file, `OSError`.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            if not _is_line_by_line(path):
                yield None, _resource(file.read())
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _resource_or_problem(line)
    except UnicodeDecodeError:
        raise NotFhir("no JSON: its text is not UTF-8") from None


def _is_line_by_line(path: Path) -> bool:
    """Whether the first line is a resource, and another follows; or the file's name says so."""
    if path.suffix.lower() == ".ndjson":
        return True
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in file if line.strip())
        first = next(lines, "")
        return isinstance(_resource_or_problem(first), Mapping) and next(lines, None) is not None


def _resource_or_problem(text: str) -> Resource | NotFhir:
    try:
        return _resource(text)
    except NotFhir as problem:
        return problem


def _resource(text: str) -> Resource:
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise NotFhir(f"no JSON: its syntax is broken at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotFhir("no FHIR: its values are nested too deeply") from None
    except ValueError:
        raise NotFhir("no JSON: it has a number that JSON does not allow") from None
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise NotFhir("no FHIR: an object with a resourceType is wanted")
    return value


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


def json_text(value: Any) -> str:
    """JSON of values in which decimals are `Decimal`, on one line and in ASCII."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, allow_nan=False)


class CleanFile:
    """A file of clean resources that is being written; it is named by its content, since names can tell who it is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor, name = tempfile.mkstemp(dir=folder, prefix=".unfinished-")  # with mode 0600
        self._temporary = Path(name)
        self._digest = hashlib.sha256()
        self._types: set[str] = set()

    def add(self, resource: Resource) -> None:
        """Write one clean resource as a line."""
        line = json_text(resource).encode("ascii") + b"\n"
        write_all(self._descriptor, line)
        self._digest.update(line)
        self._types.add(str(resource["resourceType"]))

    def finish(self, suffix: str) -> Path | None:
        """Give the file its name; None, and no file, where nothing was written."""
        if not self._types:
            return None
        kind = self._types.pop() if len(self._types) == 1 else "resources"
        final = self._folder / f"{kind}-{self._digest.hexdigest()[:32]}{suffix}"
        self._temporary.rename(final)
        return final

    def close(self) -> None:
        """Leave nothing unfinished."""
        os.close(self._descriptor)
        self._temporary.unlink(missing_ok=True)


@contextmanager
def clean_file(folder: Path) -> Iterator[CleanFile]:
    """A file that lasts only if it is finished."""
    file = CleanFile(folder)
    try:
        yield file
    finally:
        file.close()
