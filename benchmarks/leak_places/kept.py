"""Over-removal: standard attributes that Table E.1-1 has no row for and that hold no words must come out unchanged."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom._dicom_dict import DicomDictionary

from anonymize import ReceivedInstance
from benchmarks.leak_places.base import image
from benchmarks.leak_places.encoding import Element, Numbers, Syntax, numbers, packed, text
from benchmarks.leak_places.table import actions, name_of, table_is_at_hand
from benchmarks.leak_places.tokens import CharacterSet, Mint
from benchmarks.leak_places.trial import deidentified

_BINARY = ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
# The patient, the structure of the file or of the pixels, parts of what the table removes as a whole.
_STRUCTURAL_GROUPS = frozenset({0x0000, 0x0002, 0x0004, 0x0010, 0x0400, 0x4FFE, 0x5400, 0x7FE0, 0xFFFA, 0xFFFC, 0xFFFE})
_PIXEL_DESCRIPTION = range(0x00280000, 0x00280200)
_LENGTH_OF_DOCUMENT = 0x00420015

_TERMS = {
    0x00080008: "DERIVED\\PRIMARY\\AXIAL\\AVERAGE", 0x00080068: "FOR PRESENTATION", 0x00080060: "MR",
    0x00180015: "ABDOMEN", 0x00180020: "SE", 0x00180021: "SK", 0x00180022: "PFP", 0x00180023: "2D",
    0x00180025: "N", 0x00185100: "FFS", 0x00185101: "PA", 0x00200060: "L",
    0x00200062: "U", 0x00280051: "UNIF", 0x00281040: "LIN", 0x00281056: "LINEAR", 0x00282110: "00",
    0x00541001: "BQML", 0x00541102: "NONE", 0x20500020: "IDENTITY", 0x00181508: "CARM",
    0x00187060: "AUTOMATIC", 0x00187050: "ALUMINUM", 0x00189004: "PRODUCT",
    0x00189302: "SPIRAL",
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """How many attributes were given, and the names of those that were lost or changed."""

    given: int
    lost: tuple[str, ...]


def technical() -> Iterator[Element]:
    """Numbers of every kind, by the dictionary and the table, then code strings with defined terms."""
    known = actions()
    for tag, (vr, multiplicity, _, retired, *_rest) in DicomDictionary.items():
        if tag in known or retired or tag >> 16 in _STRUCTURAL_GROUPS or tag in _PIXEL_DESCRIPTION:
            continue
        count = int(multiplicity.split("-")[0].rstrip("n") or 1)
        if vr in _BINARY and tag != _LENGTH_OF_DOCUMENT:
            yield numbers(tag, vr, *([1] * count))
        elif vr == "DS":
            yield text(tag, vr, "\\".join(["1.5"] * count))
        elif vr == "IS":
            yield text(tag, vr, "\\".join(["3"] * count))
    for tag, term in _TERMS.items():
        yield text(tag, "CS", term)


def survey(syntax: Syntax = Syntax.EXPLICIT) -> Kept:
    """Send an image with all of them through; without the table at hand there is no list to go by, so none."""
    if not table_is_at_hand():
        return Kept(0, ())
    instance = image(Mint("kept", CharacterSet.ASCII), syntax)
    given = list(technical())
    instance.replace(*given)
    data_set = instance.data_set(syntax)
    received = ReceivedInstance(instance.sop_class, instance.sop_instance, syntax.value, data_set)
    come = pydicom.dcmread(BytesIO(deidentified(received)[0]))
    return Kept(len(given), tuple(name_of(e.tag) for e in given if not _unchanged(e, come.get_item(e.tag), syntax)))


def _unchanged(element: Element, raw: object, syntax: Syntax) -> bool:
    value = getattr(raw, "value", None)
    if isinstance(element.value, Numbers):
        return bool(value == packed(element.vr, element.value, syntax.encoding))
    return isinstance(value, bytes) and isinstance(element.value, bytes) and value.rstrip() == element.value.rstrip()
