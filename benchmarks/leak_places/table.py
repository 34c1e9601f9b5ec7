"""Places that Table E.1-1 of PS3.15 names, by the Basic Profile's action, and attributes that it lacks, by VR."""

import csv
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary

from benchmarks.leak_places.base import code
from benchmarks.leak_places.encoding import Element, Written, sequence, text
from benchmarks.leak_places.place import Catalogue
from benchmarks.leak_places.tokens import Mint

_BESIDE_THE_CHECKOUT = Path(__file__).parents[3] / "shared" / "data"

# Enough of each action to plant where the table is not at hand.
_EMBEDDED = {
    0x00080050: "Z", 0x00080020: "Z", 0x00080030: "Z", 0x00080090: "Z", 0x00100030: "Z", 0x00100020: "Z",
    0x00100010: "Z", 0x00080014: "U", 0x00080018: "U", 0x00081155: "U", 0x0020000D: "U", 0x00200052: "U",
    0x00080021: "X/D", 0x00080031: "X/D", 0x00080070: "X/Z/D", 0x00080080: "X/Z/D", 0x00081010: "X/Z/D",
    0x00081030: "X", 0x0008103E: "X", 0x00101010: "X", 0x00104000: "X", 0x00204000: "X", 0x00102160: "X",
    0x00080022: "X/Z", 0x00080032: "X/Z", 0x00081048: "X", 0x00081140: "X/Z/U*", 0x00082112: "X/Z/U*",
    0x00080023: "Z/D", 0x00080033: "Z/D", 0x00181000: "X/Z/D", 0x0040A730: "D", 0x0040A123: "D", 0x0040A124: "U",
}  # fmt: skip
# Where Table E.1-1 is at hand and where it has no row, standard attributes are caught by their VR.
_CAUGHT_BY_VR = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "DA", "DT", "TM", "AS", "AE")

# Text that says how other bytes are to be read, or what the file is; tokens in these are places of their own.
_STRUCTURAL = frozenset({0x00080005, 0x00080016, 0x00080018, 0x00280004, 0x00080060})
_ACTIONS = ("X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*")


def data_folder() -> Path:
    """Where the tables of PS3.15 lie: KOPRU_TEST_DATA, else `../shared/data` beside the checkout."""
    return Path(os.environ.get("KOPRU_TEST_DATA") or _BESIDE_THE_CHECKOUT) / "ps3.15"


@cache
def actions() -> dict[int, str]:
    """Basic Profile action by tag, patterns left out; without the table, of the attributes that this module knows."""
    path = data_folder() / "e1_1_2026d.csv"
    if not path.exists():
        return dict(_EMBEDDED)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {int(row["tag"][1:5] + row["tag"][6:10], 16): row["basic_profile"] for row in rows if _is_single(row["tag"])}


def _is_single(tag: str) -> bool:
    return len(tag) == 11 and all(digit in "0123456789abcdefABCDEF" for digit in tag[1:5] + tag[6:10])


def table_is_at_hand() -> bool:
    return (data_folder() / "e1_1_2026d.csv").exists()


def vr_of(tag: int) -> str:
    """The VR of PS3.6; LO for what is newer than the dictionary at hand."""
    return str(DicomDictionary[tag][0]).split(" or ")[0] if tag in DicomDictionary else "LO"


def name_of(tag: int) -> str:
    """(gggg,eeee) and the name of PS3.6."""
    name = DicomDictionary[tag][2] if tag in DicomDictionary else "newer than the dictionary"
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {name}"


def tokens_in(tag: int, vr: str, mint: Mint) -> Element | None:
    """The attribute with a token as its value, or an item of tokens; None where the VR has no room for one."""
    label = name_of(tag)
    if vr == "SQ":
        meaning = mint.text(f"{label} > Code Meaning")
        value = mint.code(f"{label} > Code Value")
        comment = text(0x00204000, "LT", mint.text(f"{label} > Image Comments"))
        person = text(0x0040A123, "PN", mint.person_name(f"{label} > Person Name"))
        scheme, name = text(0x00080102, "SH", "99LOCAL"), text(0x00080104, "LO", meaning)
        return sequence(tag, [text(0x00080100, "SH", value), scheme, name, comment, person])
    value_of_vr = mint.of_vr(vr, label)
    return None if value_of_vr is None else Element(tag, vr, value_of_vr)


catalogue = Catalogue("Attributes of Table E.1-1, and standard attributes that it lacks")


def _rows_with(action: str, mint: Mint) -> Iterator[Element]:
    for tag, of_tag in actions().items():
        # Groups 0000 and 0002, and what follows the pixels, have places of their own.
        if of_tag != action or tag in _STRUCTURAL or tag >> 16 in {0x0000, 0x0002, 0xFFFA, 0xFFFC}:
            continue
        planted = tokens_in(tag, vr_of(tag), mint)
        if planted is not None:
            yield planted


def _plant_action(action: str) -> None:
    @catalogue.elements(f"table: action {action}", f"every attribute whose action is {action}, each with a token")
    def _(mint: Mint) -> Sequence[Written]:
        return list(_rows_with(action, mint))


for _action in _ACTIONS:
    _plant_action(_action)


def absent(vr: str) -> list[int]:
    """Standard attributes of the VR that Table E.1-1 has no row for."""
    known = actions() if table_is_at_hand() else {}
    tags = (tag for tag, entry in DicomDictionary.items() if entry[0] == vr and tag not in known)
    return [tag for tag in tags if tag >> 16 not in {0x0000, 0x0002, 0x0004, 0xFFFA, 0xFFFC, 0xFFFE}]


def _plant_absent(vr: str) -> None:
    @catalogue.elements(f"absent from the table: {vr}", f"every standard {vr} attribute that the table has no row for")
    def _(mint: Mint) -> Sequence[Written]:
        planted = (tokens_in(tag, vr, mint) for tag in absent(vr) if tag not in _STRUCTURAL)
        return [element for element in planted if element is not None]


for _vr in _CAUGHT_BY_VR:
    _plant_absent(_vr)


@catalogue.elements("absent from the table: UI", "UIDs of instances and references that the table has no row for")
def _absent_uids(mint: Mint) -> Sequence[Written]:
    # Class, transfer syntax and coding scheme UIDs admit registered values only: other places try those.
    registered = ("Class", "Transfer Syntax", "Coding Scheme", "Context UID", "Mapping Resource", "Context Group")
    named = (tag for tag in absent("UI") if not any(word in name_of(tag) for word in registered))
    return [Element(tag, "UI", mint.uid(name_of(tag))) for tag in named if tag not in _STRUCTURAL]


@catalogue.elements(
    "class UID with a record number", "a Referenced SOP Class UID that no one has registered", provable=False
)
def _class_uid(mint: Mint) -> Sequence[Written]:
    reference = [text(0x00081150, "UI", mint.uid("class")), text(0x00081155, "UI", mint.uid("instance"))]
    return [sequence(0x00081199, reference)]


@catalogue.elements(
    "coding scheme UID with a record number", "Coding Scheme and Context UIDs of a code item", provable=False
)
def _scheme_uid(mint: Mint) -> Sequence[Written]:
    item = [*code("T-28000", "SRT", "Lung"), text(0x0008010C, "UI", mint.uid("coding scheme"))]
    item += [text(0x00080117, "UI", mint.uid("context")), text(0x00080118, "UI", mint.uid("mapping resource"))]
    return [sequence(0x00082228, item)]


@catalogue.elements("code string: body part", "a name in Body Part Examined, a CS that people type into")
def _body_part(mint: Mint) -> Sequence[Written]:
    return [text(0x00180015, "CS", mint.code("(0018,0015)"))]


@catalogue.elements("code string: image type", "a name as a further value of Image Type")
def _image_type(mint: Mint) -> Sequence[Written]:
    return [text(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL\\" + mint.code("(0008,0008)"))]


@catalogue.elements("code string: burned-in annotation", "a name as Burned In Annotation", provable=False)
def _burned_in(mint: Mint) -> Sequence[Written]:
    return [text(0x00280301, "CS", mint.code("(0028,0301)"))]


@catalogue.elements(
    "code string: any", "every CS attribute that the table has no row for, each with a token", provable=False
)
def _code_strings(mint: Mint) -> Sequence[Written]:
    kept = _STRUCTURAL | {0x00080008, 0x00180015}
    return [Element(tag, "CS", mint.code(name_of(tag))) for tag in absent("CS") if tag not in kept]


def _plant_number_with_comment(vr: str, tag: int, number: bytes) -> None:
    @catalogue.elements(f"number with a comment: {vr}", f"a name behind the digits of a {vr}")
    def _(mint: Mint) -> Sequence[Written]:
        return [text(tag, vr, number + b" " + mint.ascii(name_of(tag)))]


_plant_number_with_comment("DS", 0x00180060, b"120")
_plant_number_with_comment("IS", 0x00181151, b"240")
_plant_number_with_comment("TM", 0x00080030, b"134500")
_plant_number_with_comment("DA", 0x00080020, b"20210304")
_plant_number_with_comment("DT", 0x0008002A, b"20210304134500")
_plant_number_with_comment("AS", 0x00101010, b"045Y")


@catalogue.elements("number: name instead", "a name as the only value of a DS that is kept", provable=False)
def _name_as_number(mint: Mint) -> Sequence[Written]:
    return [text(0x00181100, "DS", mint.ascii("(0018,1100)"))]


@catalogue.elements(
    "attribute tags", "letters in the values of an Attribute Tag that name no attribute", provable=False
)
def _attribute_tags(mint: Mint) -> Sequence[Written]:
    return [Element(0x00280009, "AT", mint.ascii("(0028,0009)", 12))]
