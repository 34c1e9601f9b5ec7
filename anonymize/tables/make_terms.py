"""Makes `terms.txt`: the words of the defined terms and enumerated values of PS3.3 that PS3.6 and PS3.16 do not have.

Run it for a new edition: ``python -m anonymize.tables.make_terms /usr/bin/dciodvfy``. It must never be needed at run
time. The terms are those that `dciodvfy` of dicom3tools holds an instance against; words of up to three letters
need no list (see `anonymize.vocabulary`), and names of private creators are none.
"""

import argparse
import re
from pathlib import Path

from anonymize.vocabulary import TERMS, standard_words

_TERM = re.compile(rb"(?<=\0)((?:3D_)?[A-Z][A-Z0-9_ +]{1,15})(?=\0)")
_WORD = re.compile(r"[a-z]{4,}")
_CREATOR = re.compile(
    r"GEMS|GEIIS|SIEMENS|PHILIPS|AGFA|DLX|ADAC|CAMTRONICS|ACUSON|ELSCINT|KRETZ|LODOX|INFINITT|APEX|_\d\d+$"
)


def make_terms(program: bytes) -> str:
    """Give the text: one word a line, in order."""
    terms = {match.decode("ascii") for match in _TERM.findall(program)}
    words = {word for term in terms if not _CREATOR.search(term) for word in _WORD.findall(term.lower())}
    source = "# source: defined terms and enumerated values of DICOM PS3.3 (facts of a public standard, (c) NEMA)\n"
    return source + "".join(f"{word}\n" for word in sorted(words - standard_words()))


def main() -> None:
    """Write the list into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path, help="the program dciodvfy of dicom3tools")
    text = make_terms(parser.parse_args().program.read_bytes())
    Path(__file__).with_name(TERMS).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
