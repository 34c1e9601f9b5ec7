"""Makes `e1_1.txt` from a CSV of PS3.15 Table E.1-1: one line a row, tag pattern, Basic Profile action, options.

Run it when a new edition is adopted: ``python -m anonymize.tables.make_table e1_1_2026d.csv --edition 2026d``. It must
never be needed at run time. The CSV has one column per option, named as `anonymize.profile.Option` has them.
"""

import argparse
import csv
import hashlib
import re
from pathlib import Path

from anonymize.options import Option
from anonymize.profile import PRIVATE_PATTERN, TABLE

_COLUMNS = tuple(option.column for option in Option)
_TAG = re.compile(r"\(([0-9A-Fx]{4}),([0-9A-Fx]{4})\)")


def _pattern(tag: str) -> str:
    if tag == "(gggg,eeee) where gggg is odd":
        return PRIVATE_PATTERN
    match = _TAG.fullmatch(tag)
    if match is None:
        raise SystemExit(f"a tag that this script does not know: {tag}")
    return match[1] + match[2]


def _line(row: dict[str, str]) -> str:
    options = [f"{column}={row[column]}" for column in _COLUMNS if row.get(column)]
    return " ".join([_pattern(row["tag"]), row["basic_profile"], *options])


def make_table(source: Path, edition: str) -> str:
    """Give the text of the compact table: a head with edition and checksums, then the rows sorted by tag."""
    raw = source.read_bytes()
    rows = sorted(_line(row) for row in csv.DictReader(raw.decode("utf-8").splitlines()))
    body = "\n".join(rows) + "\n"
    head = {
        "source": "DICOM PS3.15 Table E.1-1 (facts of a public standard, (c) NEMA)",
        "edition": edition,
        "source-sha256": hashlib.sha256(raw).hexdigest(),
        "rows": str(len(rows)),
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }
    return "".join(f"# {key}: {value}\n" for key, value in head.items()) + body


def main() -> None:
    """Write the table into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="CSV of Table E.1-1")
    parser.add_argument("--edition", required=True, help="edition of PS3.15, such as 2026d")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(TABLE))
    arguments = parser.parse_args()
    arguments.out.write_text(make_table(arguments.source, arguments.edition), encoding="utf-8")


if __name__ == "__main__":
    main()
