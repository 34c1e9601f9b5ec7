"""Reads ``labels.csv`` as hospitals' spreadsheets write it, and says by line what cannot be right in it.

Nothing is guessed: a row without a patient, or a label that is no label, ends the run, since what is learnt or tested
from it would be wrong. Messages name lines, columns and labels, never a patient or what else a cell holds.
"""

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from training.errors import DataError

_COLUMNS = ("file", "label", "patient", "source")
_SHOWN = 5  # lines, of those that have the same fault


class Row(NamedTuple):
    """A row of the table: a file or folder, and what is known of it."""

    line: int
    file: str
    label: str
    patient: str
    source: str


def read_table(path: Path, labels: Sequence[str]) -> tuple[Row, ...]:
    """Read the table: UTF-8, columns separated by commas or semicolons; other columns are left alone.

    Raises `DataError` for what is no such table, has no rows, lacks a value or has a label that is none of `labels`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = tuple(_rows(path, stream))
    except UnicodeDecodeError:
        raise DataError(f"{path}: cannot be read: it is not in UTF-8; save it as CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as the label table: {error}") from error
    if not rows:
        raise DataError(f"{path}: holds no rows")
    for column in _COLUMNS:
        if without := [row.line for row in rows if not getattr(row, column)]:
            raise DataError(f"{path}: {_lines(without)} no {column}; give each row one, or take it out")
    for label in sorted({row.label for row in rows} - set(labels)):
        where = _lines([row.line for row in rows if row.label == label])
        raise DataError(f"{path}: {where} the unknown label {label!r}; known are {', '.join(labels)}: see [[labels]]")
    return rows


def _rows(path: Path, stream: TextIO) -> Iterator[Row]:
    first = stream.readline()
    stream.seek(0)
    reader = csv.reader(stream, delimiter=";" if ";" in first and "," not in first else ",")
    head = [name.strip() for name in next(reader, [])]
    missing = [column for column in _COLUMNS if head.count(column) != 1]
    if missing:
        raise DataError(
            f"{path}: cannot be read: its first line must name the columns {', '.join(_COLUMNS)} once each, with "
            f"commas or semicolons between them; {missing[0]} is not there"
        )
    places = [head.index(column) for column in _COLUMNS]
    for values in reader:
        if not any(map(str.strip, values)):
            continue
        if len(values) != len(head):
            raise DataError(
                f"{path}: line {reader.line_num} has {len(values)} values for {len(head)} columns; put a value that "
                "holds the separator in double quotes"
            )
        yield Row(reader.line_num, values[places[0]].strip(), *(_plain(values[place]) for place in places[1:]))


def _plain(value: str) -> str:
    """The same text for what reads the same: else two spellings of one patient would be two patients."""
    return " ".join(unicodedata.normalize("NFC", value).split())


def _lines(numbers: Iterable[int]) -> str:
    """Where, to be followed by what is there."""
    found = list(numbers)
    shown = ", ".join(map(str, found[:_SHOWN]))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"line {shown} has" if len(found) == 1 else f"lines {shown}{more} have"
