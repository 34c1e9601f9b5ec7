"""Makes `safe_private.txt` from a CSV of PS3.15 Table E.3.10-1: one line a row, group, element, VR, VM and creator.

Run it for a new edition: ``python -m anonymize.tables.make_safe_private TABLE.csv --edition 2026d``. It must never be
needed at run time. A row whose VR the standard leaves open gets the VR "-": it is not kept.
"""

import argparse
import csv
import re
from pathlib import Path

from anonymize.safe_private import TABLE

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),xx([0-9A-Fa-f]{2})\)")


def _line(row: dict[str, str]) -> str:
    match = _TAG.fullmatch(row["tag"])
    if match is None:
        raise SystemExit(f"a tag that this script does not know: {row['tag']}")
    vr = row["vr"].partition("/")[0] or "-"
    return " ".join([match[1].upper(), match[2].upper(), vr, row["vm"] or "1", row["private_creator"]])


def make_safe_private(source: Path, edition: str) -> str:
    """Give the text of the compact table: a head with the edition, then the rows in order."""
    rows = sorted(_line(row) for row in csv.DictReader(source.read_text("utf-8").splitlines()))
    head = f"# source: DICOM PS3.15 Table E.3.10-1, {edition} (facts of a public standard, (c) NEMA)\n"
    return head + "\n".join(rows) + "\n"


def main() -> None:
    """Write the table into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="CSV of Table E.3.10-1")
    parser.add_argument("--edition", required=True, help="edition of PS3.15, such as 2026d")
    arguments = parser.parse_args()
    text = make_safe_private(arguments.source, arguments.edition)
    Path(__file__).with_name(TABLE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
