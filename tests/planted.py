"""Searches bytes for identifiers that a test planted, in every form in which they could have got out.

Each identifier is looked for as it is, in upper and lower case and with blanks for carets, in UTF-8, Latin-5
(ISO 8859-9, what Turkish DICOM uses) and UTF-16, and each of those also in hexadecimal, Base64, URL-quoted and escaped
as JSON does. A search that finds nothing proves something only beside one that finds: search the opened objects too.
"""

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

_SHORTEST = 6  # characters; in megabytes of sealed bytes shorter ones turn up by chance
_ENCODINGS = ("utf-8", "iso-8859-9", "utf-16-le", "utf-16-be")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A planted identifier found in the clear: what, in which form, and where."""

    identifier: str
    form: str
    where: str
    offset: int


def _spellings(identifier: str) -> set[str]:
    plain = {identifier, identifier.replace("^", " "), identifier.replace("^", "")}
    cased = {text for p in plain for text in (p, p.upper(), p.lower(), p.title())}
    # Turkish: i/İ and ı/I are pairs of their own.
    return cased | {p.replace("i", "İ").replace("ı", "I").upper() for p in plain}


def _base64_cores(data: bytes) -> Iterator[bytes]:
    """The Base64 text that must appear wherever `data` lies within encoded bytes: one for each of three alignments."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        first = -(-before * 4 // 3)  # the first characters mix in what stands before
        usable = (before + len(data)) * 8 // 6  # the last one may mix in what stands after
        yield encoded[first:usable]


@cache
def _needles(identifier: str) -> tuple[tuple[str, bytes], ...]:
    if len(identifier) < _SHORTEST:
        raise ValueError(f"an identifier of fewer than {_SHORTEST} characters is found by chance")
    found: dict[bytes, str] = {}
    for text in sorted(_spellings(identifier)):
        found.setdefault(json.dumps(text)[1:-1].encode(), "JSON")
        found.setdefault(quote(text, safe="").encode(), "URL")
        found.setdefault(quote_plus(text).encode(), "URL")
        for encoding in _ENCODINGS:
            try:
                raw = text.encode(encoding)
            except UnicodeEncodeError:
                continue
            found[raw] = encoding
            found.setdefault(raw.hex().encode(), f"{encoding} in hex")
            found.setdefault(raw.hex().upper().encode(), f"{encoding} in hex")
            for core in _base64_cores(raw):
                found.setdefault(core, f"{encoding} in Base64")
                found.setdefault(core.replace(b"+", b"-").replace(b"/", b"_"), f"{encoding} in Base64")
    return tuple((form, needle) for needle, form in found.items())


def search_bytes(data: bytes, identifiers: Iterable[str], where: str) -> list[Sighting]:
    """Every identifier in `data`, one sighting for each form; `where` names the data."""
    return [
        Sighting(identifier, form, where, offset)
        for identifier in identifiers
        for form, needle in _needles(identifier)
        if (offset := data.find(needle)) >= 0
    ]


def search_tree(root: Path, identifiers: Iterable[str]) -> list[Sighting]:
    """Every identifier in the files below `root`, and in the names of files and folders."""
    identifiers = list(identifiers)
    sightings = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        sightings += search_bytes(name.encode(errors="surrogateescape"), identifiers, f"the name of {name}")
        if path.is_file():
            sightings += search_bytes(path.read_bytes(), identifiers, str(path))
    return sightings


def search_sqlite(path: Path, identifiers: Iterable[str]) -> list[Sighting]:
    """Every identifier in an SQLite database: in its files' bytes, and value by value, since pages split long ones."""
    identifiers = list(identifiers)
    sightings = []
    for suffix in ("", "-wal", "-journal"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            sightings += search_bytes(file.read_bytes(), identifiers, str(file))
    connection = sqlite3.connect(path)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    data = value if isinstance(value, bytes) else str(value).encode()
                    sightings += search_bytes(data, identifiers, f"{table}.{column}")
    finally:
        connection.close()
    return sightings
