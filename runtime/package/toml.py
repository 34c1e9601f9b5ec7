"""Reading and writing the TOML of packages: a hostile file costs neither memory nor time, and gets one clear answer."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from runtime.errors import PackageError

MOST_BYTES: Final = 1 << 20
_PREPROCESSING_KINDS: Final = ("grayscale", "none")
_STRINGS: Final = re.compile(
    r'''"""(?:\\.?|[^\\])*?(?:"""|\Z)|'{3}.*?(?:'{3}|\Z)|"(?:\\.?|[^"\\\n])*+"?|'[^'\n]*+'?|#[^\n]*+''', re.DOTALL
)
"""Strings and comments; each goes to the end if it has none, so that a text is looked through once."""
_LONG_KEY: Final = re.compile(r"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){32}")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def parse_toml(file: Path, data: bytes) -> dict[str, Any]:
    """The tables in `data`, which `file` holds. Raises `PackageError`."""
    if len(data) > MOST_BYTES:
        raise PackageError(file, "", "is larger than 1 MiB; it is no description of a model")
    try:
        text = data.decode("utf-8")
        if _LONG_KEY.search(_STRINGS.sub("_", text)):  # the time that they take grows with the square of their length
            raise PackageError(file, "", "has a key of more than 32 parts; it is no description of a model")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides its own errors: too large a number, not UTF-8
        raise PackageError(file, "", f"is not TOML: {error}") from None


def as_json(file: Path, tables: Mapping[str, Any]) -> str:
    """The JSON form of the tables, whose types pydantic checks strictly. Raises `PackageError`."""
    try:
        return json.dumps(tables, default=str)
    except (ValueError, RecursionError):
        raise PackageError(file, "", "holds a number that is too large, or too many tables in each other") from None


def explained(file: Path, error: ValidationError) -> PackageError:
    """Name the first problem: its key as in the TOML file, what is wrong, what is allowed."""
    first = error.errors(include_url=False)[0]
    steps = [str(step) for step in first["loc"]]
    if steps[:1] == ["preprocessing"] and steps[1:2] and steps[1] in _PREPROCESSING_KINDS:
        del steps[1]  # pydantic's name of the kind, which no key of the file has
    key = ".".join(steps)
    problem = {
        "extra_forbidden": "unknown key; remove it or correct its spelling",
        "missing": "is missing",
    }.get(first["type"], first["msg"].removeprefix("Value error, "))
    if not key:  # a rule about several keys, which says itself which ones
        key, _, problem = problem.partition(": ")
    return PackageError(file, key, problem)


def to_toml(description: Mapping[str, Any]) -> str:
    """Write strings, numbers, booleans, lists of them, tables of those and arrays of such tables."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in description.items() if not _is_section(value)]
    for key, value in description.items():
        if not _is_section(value):
            continue
        heading, tables = (f"[{key}]", [value]) if isinstance(value, Mapping) else (f"[[{key}]]", value)
        for table in tables:
            lines += ["", heading]
            lines += [f"{_key(name)} = {_value(entry)}" for name, entry in table.items()]
    return "\n".join(lines) + "\n"


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)
    )


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """JSON's forms of these values are TOML's too (TOML 1.0), but for DEL, which must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
