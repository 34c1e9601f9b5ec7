"""Places that only a file has: preamble and File Meta Information (PS3.10 7.1), given to `kopru deidentify`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.leak_places.base import image
from benchmarks.leak_places.encoding import EXPLICIT_LITTLE, Element, Written, encode, numbers, text
from benchmarks.leak_places.place import SIX, Place
from benchmarks.leak_places.search import survivors
from benchmarks.leak_places.tokens import CharacterSet, Mint
from benchmarks.leak_places.trial import Case, Outcome

_ROOT = Path(__file__).parents[2]
_START = "from daemon.cli import main; main()"
_KEY = bytes(range(32))
"""Always the same, so that a run with the same seed finds the same: the outputs' names follow from it, and digits of a
random one can look like those that are sought.
"""

# What a maker returns: the preamble, and elements of the File Meta Information beside those that must be there.
Header = tuple[bytes, Sequence[Written]]


def _preamble(mint: Mint) -> Header:
    return mint.ascii("preamble", 128), ()


def _tiff(mint: Mint) -> Header:
    return (b"II*\0\x08\0\0\0" + mint.ascii("TIFF in the preamble", 64)).ljust(128, b"\0"), ()


def _entities(mint: Mint) -> Header:
    titles = (0x00020016, 0x00020017, 0x00020018)
    return bytes(128), [text(tag, "AE", mint.code(f"(0002,{tag & 0xFFFF:04X})")) for tag in titles]


def _addresses(mint: Mint) -> Header:
    addresses = (0x00020026, 0x00020027, 0x00020028)
    return bytes(128), [text(tag, "UR", mint.of_vr("UR", f"(0002,{tag & 0xFFFF:04X})") or b"") for tag in addresses]


def _private(mint: Mint) -> Header:
    return bytes(128), [
        text(0x00020100, "UI", mint.uid("(0002,0100)")),
        Element(0x00020102, "OB", mint.ascii("(0002,0102)")),
    ]


def _implementation(mint: Mint) -> Header:
    return bytes(128), [
        text(0x00020012, "UI", mint.uid("(0002,0012)")),
        text(0x00020013, "SH", mint.ascii("(0002,0013)")),
    ]


def _unknown(mint: Mint) -> Header:
    return bytes(128), [text(0x00020099, "LO", mint.ascii("(0002,0099)"))]


_MAKERS: dict[str, tuple[str, Callable[[Mint], Header]]] = {
    "file: preamble": ("the 128 bytes before DICM", _preamble),
    "file: TIFF in the preamble": ("a second format's header in the preamble", _tiff),
    "file: application entities": ("source, sending and receiving AE titles of the File Meta Information", _entities),
    "file: presentation addresses": (
        "source, sending and receiving addresses of the File Meta Information",
        _addresses,
    ),
    "file: private information": ("private information and its creator", _private),
    "file: implementation": ("implementation class UID and version name of who wrote the file", _implementation),
    "file: unknown meta element": ("an element of group 0002 that PS3.10 does not have", _unknown),
}
_SETS = (CharacterSet.ASCII, CharacterSet.TURKISH)
PLACES = tuple(
    Place(name, what, "Files, as `kopru deidentify` reads them", SIX, _SETS, (0,), provable=True, base="image")
    for name, (what, _) in _MAKERS.items()
)


def _file(case: Case, mint: Mint) -> bytes:
    instance = image(mint, case.syntax)
    preamble, extra = _MAKERS[case.place.name][1](mint)
    meta: list[Written] = [
        Element(0x00020001, "OB", b"\0\1"),
        text(0x00020002, "UI", instance.sop_class),
        text(0x00020003, "UI", instance.sop_instance),
        text(0x00020010, "UI", case.syntax.value),
        *extra,
    ]
    if not any(element.tag == 0x00020012 for element in extra):
        meta.append(text(0x00020012, "UI", "1.2.3.4"))
    body = encode(meta, EXPLICIT_LITTLE)
    length = encode([numbers(0x00020000, "UL", len(body))], EXPLICIT_LITTLE)
    return preamble + b"DICM" + length + body + instance.data_set(case.syntax)


def run_all(cases: Sequence[Case]) -> Iterator[Outcome]:
    """De-identify all cases' files by one start of the command."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "in"), Path(folder, "out")
        given.mkdir()
        witnesses = {}
        for number, case in enumerate(cases):
            mint = Mint(
                f"{case.seed}:{case.place.name}:{case.syntax.name}:{case.character_set.name}", case.character_set
            )
            path = given / f"{number}.dcm"
            path.write_bytes(_file(case, mint))
            witnesses[str(path)] = (case, mint.witnesses)
        key = Path(folder, "key")
        key.write_bytes(_KEY)
        key.chmod(0o600)
        command = ["deidentify", str(given), "--out", str(out), "--key", str(key), "--json"]
        ran = subprocess.run([sys.executable, "-c", _START, *command], cwd=_ROOT, capture_output=True, timeout=300)
        said = ("what the command said", ran.stdout + ran.stderr)
        for row in json.loads(ran.stdout):
            case, sought = witnesses.pop(row["file"])
            if row["output"] is None:
                yield Outcome(case, refused=row["reason"] or row["outcome"], survivors=survivors(b"", sought, [said]))
            else:
                name = ("output's name", row["output"].encode())
                yield Outcome(case, survivors=survivors(Path(row["output"]).read_bytes(), sought, [name, said]))
        for case, _ in witnesses.values():
            yield Outcome(case, broken="the command said nothing of the file")
