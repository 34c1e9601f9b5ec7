"""Places in private elements (PS3.5 7.8): creators, blocks, orphans and look-alikes of safe private attributes."""

from collections.abc import Sequence

from benchmarks.leak_places.base import code
from benchmarks.leak_places.encoding import Element, Items, Written, numbers, sequence, text
from benchmarks.leak_places.place import EXPLICIT, Catalogue
from benchmarks.leak_places.tokens import Mint

catalogue = Catalogue("Private elements")


@catalogue.elements("private: with creator", "text, names, dates and UIDs of a private block")
def _with_creator(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00090010, "LO", "KOPRU TEST"),
        text(0x00091001, "LO", mint.text("(0009,1001)")),
        text(0x00091002, "PN", mint.person_name("(0009,1002)")),
        text(0x00091003, "DA", mint.date("(0009,1003)")),
        text(0x00091004, "UI", mint.uid("(0009,1004)")),
        Element(0x00091005, "UN", mint.ascii("(0009,1005)")),
        Element(0x00091006, "OB", mint.ascii("(0009,1006)")),
    ]


@catalogue.elements("private: orphan", "private elements of a block that no creator reserves")
def _orphan(mint: Mint) -> Sequence[Written]:
    return [text(0x00091101, "LO", mint.text("(0009,1101)")), text(0x7FE11001, "LT", mint.text("(7FE1,1001)"))]


@catalogue.elements("private: creator's name", "a token as private creator")
def _creator(mint: Mint) -> Sequence[Written]:
    return [text(0x00110010, "LO", mint.text("(0011,0010)")), text(0x00111001, "DS", "1.5")]


@catalogue.elements("private: creator alone", "a private creator whose block is empty")
def _creator_alone(mint: Mint) -> Sequence[Written]:
    return [text(0x001100FF, "LO", mint.text("(0011,00FF)")), text(0x60010010, "LO", mint.text("(6001,0010)"))]


@catalogue.elements("private: creator of another VR", "a private creator written as UN, PN and OB", syntaxes=EXPLICIT)
def _creator_vr(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x00110010, "UN", mint.ascii("(0011,0010)")),
        text(0x00130010, "PN", mint.person_name("(0013,0010)")),
        Element(0x00150010, "OB", mint.ascii("(0015,0010)")),
    ]


@catalogue.elements("private: sequence", "standard and private attributes in a private sequence")
def _sequence(mint: Mint) -> Sequence[Written]:
    item = [
        text(0x00100010, "PN", mint.person_name("in (0009,1010)")),
        text(0x00091001, "LO", mint.text("in (0009,1010)")),
    ]
    return [text(0x00090010, "LO", "KOPRU TEST"), sequence(0x00091010, item, undefined=True)]


@catalogue.elements("private: in a standard sequence", "private elements beside a code, creator in the same item")
def _in_standard(mint: Mint) -> Sequence[Written]:
    item = [
        *code("T-28000", "SRT", "Lung"),
        text(0x00090010, "LO", "KOPRU TEST"),
        text(0x00091001, "LO", mint.text("(0009,1001)")),
        sequence(0x00091010, [text(0x00100020, "LO", mint.text("(0009,1010) > (0010,0020)"))]),
    ]
    return [sequence(0x00082218, item)]


@catalogue.elements(
    "private: creator in the outer data set", "private elements in an item whose creator stands outside it"
)
def _creator_outside(mint: Mint) -> Sequence[Written]:
    item = [*code("T-28000", "SRT", "Lung"), text(0x00091001, "LO", mint.text("(0009,1001)"))]
    return [text(0x00090010, "LO", "KOPRU TEST"), sequence(0x00082218, item)]


@catalogue.elements(
    "private: safe attribute, wrong creator", "the number of a safe private attribute under another creator"
)
def _look_alike(mint: Mint) -> Sequence[Written]:
    # (0019,xx23) of GEMS_ACQU_01 and (0019,xx0C) of SIEMENS MR HEADER are in Table E.3.10-1.
    return [
        text(0x00190010, "LO", "GEMS ACQU 01"),
        text(0x00191023, "LO", mint.text("(0019,1023)")),
        text(0x00190011, "LO", "SIEMENS MR HEADERS"),
        text(0x0019110C, "IS", mint.digits("(0019,110C)", 10)),
        text(0x20010010, "LO", "Philips Imaging DD 0O1"),
        text(0x20011003, "LO", mint.text("(2001,1003)")),
    ]


@catalogue.elements(
    "private: safe attribute, other VR", "a safe private attribute that holds text instead of its number"
)
def _safe_with_text(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00190010, "LO", "GEMS_ACQU_01"),
        text(0x00191023, "LO", mint.text("(0019,1023)")),
        text(0x00190011, "LO", "SIEMENS MR HEADER"),
        text(0x0019110C, "UT", mint.text("(0019,110C)")),
        sequence(0x0019110A, [text(0x00100010, "PN", mint.person_name("(0019,110A) > (0010,0010)"))]),
    ]


@catalogue.elements(
    "private: two creators of one block", "a creator given twice, the second of them a token", provable=False
)
def _two_creators(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00190010, "LO", "GEMS_ACQU_01"),
        text(0x00190010, "LO", mint.text("(0019,0010)")),
        text(0x00191023, "DS", mint.digits("(0019,1023)")),
    ]


@catalogue.elements("private: creator of several values", "a creator with a token behind a backslash, or behind blanks")
def _creator_values(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00190010, "LO", b"GEMS_ACQU_01\\" + mint.text("(0019,0010)")),
        text(0x00191023, "DS", "0"),
        text(0x00290010, "LO", b"SIEMENS MR HEADER   " + mint.text("(0029,0010)")),
        text(0x00291008, "CS", "IMAGE NUM 4"),
    ]


@catalogue.elements(
    "private: below the blocks", "odd groups' elements 0001 to 000F and 0100 to 0FFF, which no block can hold"
)
def _below_blocks(mint: Mint) -> Sequence[Written]:
    return [text(0x00090001, "LO", mint.text("(0009,0001)")), text(0x00090123, "LO", mint.text("(0009,0123)"))]


@catalogue.elements(
    "private: forbidden groups", "elements of groups 0001, 0003, 0005, 0007 and FFFF", depths=(0, 1), provable=False
)
def _forbidden(mint: Mint) -> Sequence[Written]:
    odd = (0x00010010, 0x00031001, 0x00050010, 0x00071001)
    return [text(tag, "LO", mint.text(f"({tag >> 16:04X},{tag & 0xFFFF:04X})")) for tag in odd]


@catalogue.elements("private: vendor header", "a vendor's binary header with a name in it, such as (0029,xx10) CSA")
def _vendor_header(mint: Mint) -> Sequence[Written]:
    csa = b"SV10\x04\x03\x02\x01" + b"PatientName\0" + mint.ascii("CSA header", 16) + b"\0" * 40
    return [
        text(0x00290010, "LO", "SIEMENS CSA HEADER"),
        Element(0x00291010, "OB", csa),
        Element(0x00291020, "UN", mint.ascii("(0029,1020)")),
        numbers(0x00291030, "US", 1),
    ]


@catalogue.elements("private: deeply nested", "five private sequences within each other")
def _deeply(mint: Mint) -> Sequence[Written]:
    content: list[Written] = [text(0x00100010, "PN", mint.person_name("innermost (0010,0010)"))]
    for _ in range(5):
        content = [
            text(0x00090010, "LO", "KOPRU TEST"),
            Element(0x00091010, "SQ", Items((tuple(content),), undefined=mint.chance.random() < 0.5)),
        ]
    return content
