"""Places that exist because bytes can be written otherwise than PS3.5 has it: encodings, lengths, order, leftovers."""

from collections.abc import Sequence

from benchmarks.leak_places.base import code
from benchmarks.leak_places.encoding import (
    IMPLICIT_LITTLE,
    Element,
    Encoding,
    Items,
    Numbers,
    Raw,
    Syntax,
    Written,
    encode,
    header,
    sequence,
    text,
)  # fmt: skip
from benchmarks.leak_places.place import EXPLICIT, NATIVE, Catalogue, Instance, implicit
from benchmarks.leak_places.tokens import Mint

catalogue = Catalogue("Encodings, lengths, order and leftovers")


@catalogue.elements("UN: known text", "standard attributes whose header says UN", syntaxes=EXPLICIT)
def _un_known(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x00081030, "LO", mint.text("(0008,1030)"), vr_written="UN"),
        Element(0x00181400, "LO", mint.text("(0018,1400)"), vr_written="UN"),
        Element(0x00181210, "SH", mint.text("(0018,1210)"), vr_written="UN"),
        Element(0x00204000, "LT", mint.text("(0020,4000)"), vr_written="UN"),
    ]


@catalogue.elements(
    "UN: known UID, date and name", "UI, DA, TM and PN attributes whose header says UN", syntaxes=EXPLICIT
)
def _un_typed(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x00081155, "UI", mint.uid("(0008,1155)"), vr_written="UN"),
        Element(0x00080022, "DA", mint.date("(0008,0022)"), vr_written="UN"),
        Element(0x00080032, "TM", mint.time("(0008,0032)"), vr_written="UN"),
        Element(0x00081050, "PN", mint.person_name("(0008,1050)"), vr_written="UN"),
        Element(0x00189074, "DT", mint.date_time("(0018,9074)"), vr_written="UN"),
    ]


def _people(mint: Mint) -> list[Written]:
    return [
        *code("T-28000", "SRT", "Lung"),
        text(0x00081030, "LO", mint.text("(0008,1030) in UN")),
        text(0x0040A123, "PN", mint.person_name("(0040,A123) in UN")),
        text(0x0040A124, "UI", mint.uid("(0040,A124) in UN")),
        text(0x00181210, "SH", mint.text("(0018,1210) in UN")),
    ]


@catalogue.elements(
    "UN: sequence of undefined length", "a standard sequence as UN, its items in implicit VR", syntaxes=EXPLICIT
)
def _un_sequence(mint: Mint) -> Sequence[Written]:
    items = Items((tuple(_people(mint)),), undefined=True, always=IMPLICIT_LITTLE)
    return [Element(0x00082218, "SQ", items, vr_written="UN")]


@catalogue.elements("UN: sequence of defined length", "the same with a length", syntaxes=EXPLICIT)
def _un_sequence_defined(mint: Mint) -> Sequence[Written]:
    items = Items((tuple(_people(mint)),), always=IMPLICIT_LITTLE)
    return [Element(0x00082218, "SQ", items, vr_written="UN")]


@catalogue.elements("UN: nested in UN", "a sequence as UN within a sequence as UN within another", syntaxes=EXPLICIT)
def _un_nested(mint: Mint) -> Sequence[Written]:
    inner = Element(0x00082220, "SQ", Items((tuple(_people(mint)),), undefined=True))
    middle = sequence(0x00082228, [*code("T-28000", "SRT", "Lung"), inner], undefined=True)
    outer = Items(((*code("T-28000", "SRT", "Lung"), middle),), undefined=True, always=IMPLICIT_LITTLE)
    return [Element(0x00082218, "SQ", outer, vr_written="UN")]


@catalogue.elements("UN: private sequence", "a private sequence as UN, with creator", syntaxes=EXPLICIT)
def _un_private(mint: Mint) -> Sequence[Written]:
    items = Items((tuple(_people(mint)),), undefined=True, always=IMPLICIT_LITTLE)
    return [text(0x00290010, "LO", "KOPRU TEST"), Element(0x00291001, "SQ", items, vr_written="UN")]


@catalogue.elements("UN: tag of no dictionary", "an even group that PS3.6 does not have, as UN")
def _un_unknown(mint: Mint) -> Sequence[Written]:
    return [Element(0x00761F32, "UN", mint.ascii("(0076,1F32)"), vr_written="UN")]


@catalogue.elements("unknown even group", "text and a sequence in groups that PS3.6 does not have")
def _unknown_group(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00341234, "LO", mint.text("(0034,1234)")),
        text(0x1FFE0010, "UT", mint.text("(1FFE,0010)")),
        sequence(0x77760020, [text(0x00100010, "PN", mint.person_name("(7776,0020) > (0010,0010)"))]),
    ]


@catalogue.elements("unknown element of a known group", "an element of group 0018 and 0028 that PS3.6 does not have")
def _unknown_element(mint: Mint) -> Sequence[Written]:
    return [text(0x0018FFF0, "LO", mint.text("(0018,FFF0)")), text(0x0028FFF2, "CS", mint.code("(0028,FFF2)"))]


@catalogue.elements("unknown VR", "a VR code that no edition of PS3.5 has", syntaxes=EXPLICIT, provable=False)
def _unknown_vr(mint: Mint) -> Sequence[Written]:
    return [Element(0x00181400, "LO", mint.text("(0018,1400)"), vr_written="QX")]


@catalogue.elements("wrong VR: text for a number", "a kept binary number whose header says LO", syntaxes=EXPLICIT)
def _text_for_number(mint: Mint) -> Sequence[Written]:
    return [Element(0x00281101, "LO", mint.ascii("(0028,1101)")), Element(0x00189305, "LT", mint.ascii("(0018,9305)"))]


@catalogue.elements("wrong VR: bytes for a code", "a kept code string whose header says OB", syntaxes=EXPLICIT)
def _bytes_for_code(mint: Mint) -> Sequence[Written]:
    return [Element(0x00185100, "OB", mint.ascii("(0018,5100)")), Element(0x00180060, "UT", mint.text("(0018,0060)"))]


@catalogue.elements(
    "wrong VR: sequence for text", "a kept text attribute that is written as a sequence", syntaxes=EXPLICIT
)
def _sequence_for_text(mint: Mint) -> Sequence[Written]:
    return [Element(0x00181140, "SQ", Items((tuple(_people(mint)),)))]


@catalogue.elements(
    "number of letters", "letters in the bytes of kept binary numbers, more values than the attribute has"
)
def _number_of_letters(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x00189307, "FD", mint.ascii("(0018,9307)", 16)),
        Element(0x00281101, "US", mint.ascii("(0028,1101)", 20)),
        Element(0x00189219, "SS", mint.ascii("(0018,9219)", 20)),
    ]


@catalogue.elements("padding: behind a NUL", "what stands behind the NUL of a text, a code and a UID")
def _behind_nul(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00180022, "CS", b"AXIAL\0" + mint.ascii("(0018,0022)")),
        text(0x00180060, "DS", b"120\0" + mint.ascii("(0018,0060)")),
        text(0x00281054, "LO", b"HU\0" + mint.text("(0028,1054)")),
        text(0x00181151, "IS", b"240\0\0" + mint.ascii("(0018,1151)")),
    ]


@catalogue.elements("padding: UID behind a NUL", "what stands behind the NUL of a class UID and an instance UID")
def _uid_behind_nul(mint: Mint) -> Sequence[Written]:
    reference = [
        text(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.2\0" + mint.ascii("(0008,1150)")),
        text(0x00081155, "UI", mint.uid("(0008,1155)") + b"\0" + mint.ascii("(0008,1155) padding")),
    ]
    return [sequence(0x00081199, reference)]


@catalogue.elements("longer than the VR allows", "a name behind 64 characters, 16 characters, 4 characters of an age")
def _too_long(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00181400, "LO", b"STANDARD" * 9 + mint.text("(0018,1400)")),
        text(0x00180022, "CS", b"AXIAL MODE AXIAL MODE " + mint.code("(0018,0022)")),
        text(0x00181100, "DS", b"350.0000000000000000" + mint.digits("(0018,1100)")),
        text(0x00101010, "AS", b"045Y" + mint.ascii("(0010,1010)")),
        text(0x00080023, "DA", b"20210304" + mint.digits("(0008,0023)")),
    ]


@catalogue.elements("UID longer than 64", "a UID of 80 characters whose end is a record number")
def _uid_too_long(mint: Mint) -> Sequence[Written]:
    return [text(0x00081155, "UI", b"1.2.840.99999." + b"1." * 30 + mint.digits("(0008,1155)"))]


@catalogue.elements("second value only", "a name as second, third or last of several values")
def _second_value(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00181030, "LO", b"CHEST ROUTINE\\" + mint.text("(0018,1030)")),
        text(0x00180022, "CS", b"AXIAL\\HELIX\\" + mint.code("(0018,0022)")),
        text(0x00181210, "SH", b"B30f\\" + mint.text("(0018,1210)")),
        text(0x00281055, "LO", b"LUNG\\BONE\\" + mint.text("(0028,1055)")),
    ]


@catalogue.elements("empty first value", "a name behind one or more empty values")
def _empty_first(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00081060, "PN", b"\\" + mint.person_name("(0008,1060)")),
        text(0x00180022, "CS", b"\\\\" + mint.code("(0018,0022)")),
        text(0x00281055, "LO", b"\\" + mint.text("(0028,1055)")),
    ]


@catalogue.elements("blanks around", "names between blanks, tabs and line ends")
def _blanks(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00081048, "PN", b"   " + mint.person_name("(0008,1048)") + b"    "),
        text(0x00181210, "SH", b"\t" + mint.text("(0018,1210)") + b"\r\n"),
        text(0x00180015, "CS", b"  " + mint.code("(0018,0015)") + b"  "),
    ]


@catalogue.elements("case", "the name in lower, upper and title case")
def _case(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00281056, "CS", mint.ascii("(0028,1056)")),
        text(0x00181210, "SH", mint.ascii("(0018,1210)").upper()),
        text(0x00181508, "CS", mint.ascii("(0018,1508)")),
        text(0x00281055, "LO", mint.ascii("(0028,1055)").title()),
    ]


@catalogue.elements("group length", "(gggg,0000) with bytes in it instead of a length")
def _group_length(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x00080000, "OB", mint.ascii("(0008,0000)")),
        Element(0x00100000, "UL", Numbers((4242,))),
        Element(0x00180000, "LT", mint.text("(0018,0000)")),
        Element(0x00090000, "UN", mint.ascii("(0009,0000)")),
    ]


@catalogue.elements("group length of four letters", "(gggg,0000) elements whose four bytes are letters")
def _group_length_letters(mint: Mint) -> Sequence[Written]:
    pieces = mint.pieces("four letters each", 4)
    groups = (0x0008, 0x0010, 0x0018, 0x0020)
    return [Element(group << 16, "UL", piece) for group, piece in zip(groups, pieces, strict=True)]


@catalogue.elements("data set trailing padding", "(FFFC,FFFC) with text in it", depths=(0, 1))
def _trailing_padding(mint: Mint) -> Sequence[Written]:
    return [Element(0xFFFCFFFC, "OB", mint.ascii("(FFFC,FFFC)", 40))]


@catalogue.whole("behind the last element", "bytes behind the last element that are none", provable=False)
def _behind_last(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.tail = mint.text("tail") + b" " + mint.digits("tail")


@catalogue.whole("element behind the last", "an element of lower tag behind the pixels", provable=False)
def _element_behind(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    instance.tail = encode([text(0x00104000, "LT", mint.text("(0010,4000)"))], syntax.encoding)


@catalogue.whole(
    "deflated: behind the stream", "bytes behind the deflated stream", syntaxes=(Syntax.DEFLATED,), provable=False
)
def _behind_deflated(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.after_stream = mint.ascii("behind the stream", 40)


@catalogue.elements(
    "group 0002 in the data set", "File Meta Information elements where none belong", depths=(0, 1), provable=False
)
def _file_meta_inside(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00020016, "AE", mint.code("(0002,0016)")),
        text(0x00020100, "UI", mint.uid("(0002,0100)")),
        Element(0x00020102, "OB", mint.ascii("(0002,0102)")),
    ]


@catalogue.elements("group 0000 in the data set", "command elements where none belong", depths=(0, 1), provable=False)
def _command_inside(mint: Mint) -> Sequence[Written]:
    return [text(0x00001030, "AE", mint.code("(0000,1030)")), text(0x00000902, "LO", mint.text("(0000,0902)"))]


@catalogue.elements("group 0004 in the data set", "DICOMDIR elements where none belong")
def _directory_inside(mint: Mint) -> Sequence[Written]:
    record = [text(0x00100010, "PN", mint.person_name("record > (0010,0010)")), text(0x00041430, "CS", "PATIENT")]
    return [text(0x00041130, "CS", mint.code("(0004,1130)")), sequence(0x00041220, record)]


@catalogue.elements("retired groups", "text in retired groups and elements: 0008,4000, 0018,..., 4000, 4008")
def _retired(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00084000, "LT", mint.text("(0008,4000) Identifying Comments")),
        text(0x40000010, "LT", mint.text("(4000,0010) Arbitrary")),
        text(0x40004000, "LT", mint.text("(4000,4000) Text Comments")),
        text(0x4008010B, "ST", mint.text("(4008,010B) Interpretation Text")),
        text(0x00201070, "IS", b"1\\" + mint.digits("(0020,1070)", 10)),
        text(0x00100022, "CS", mint.code("(0010,0022) Type of Patient ID")),
    ]


@catalogue.elements("duplicate tag", "the same attribute twice in a data set", provable=False)
def _duplicate(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00181140, "CS", "CW"),
        text(0x00181140, "CS", mint.code("(0018,1140) again")),
        text(0x00281054, "LO", mint.text("(0028,1054) again")),
        text(0x00281054, "LO", "HU"),
    ]


@catalogue.whole("descending order", "elements by descending tag", provable=False)
def _descending(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.replace(text(0x00104000, "LT", mint.text("(0010,4000)")), text(0x00181400, "LO", mint.text("(0018,1400)")))
    instance.elements.sort(key=lambda element: -element.tag)
    instance.ordered = False


@catalogue.elements(
    "reserved bytes of a header",
    "two letters in the reserved bytes of each long header",
    syntaxes=EXPLICIT,
    provable=False,
)
def _reserved(mint: Mint) -> Sequence[Written]:
    token = mint.ascii("reserved bytes", 8)
    tags = (0x00082218, 0x00082228, 0x00540220, 0x00540410)
    pieces = (token[2 * at : 2 * at + 2] for at in range(4))
    item = tuple(code("T-28000", "SRT", "Lung"))
    return [Element(tag, "SQ", Items((item,)), reserved=piece) for tag, piece in zip(tags, pieces, strict=True)]


@catalogue.elements("delimiter with a length", "bytes in a Sequence Delimitation Item", provable=False)
def _delimiter(mint: Mint) -> Sequence[Written]:
    items = Items((code("T-28000", "SRT", "Lung"),), undefined=True, after_end=mint.ascii("delimiter"))
    return [Element(0x00082218, "SQ", items)]


@catalogue.elements("behind an item's last element", "fewer bytes than a header at the end of an item", provable=False)
def _item_tail(mint: Mint) -> Sequence[Written]:
    token = mint.ascii("item's tail", 6)

    def write(encoding: Encoding) -> bytes:
        content = encode(code("T-28000", "SRT", "Lung"), encoding) + token
        item = header(0xFFFEE000, "", len(content), encoding) + content
        return header(0x00082218, "SQ", len(item), encoding) + item

    return [Raw(0x00082218, write)]


@catalogue.elements("between the items", "an element between the items of a sequence", provable=False)
def _between_items(mint: Mint) -> Sequence[Written]:
    token = mint.text("between items")

    def write(encoding: Encoding) -> bytes:
        content = encode(code("T-28000", "SRT", "Lung"), encoding)
        item = header(0xFFFEE000, "", len(content), encoding) + content
        body = item + encode([text(0x00104000, "LT", token)], encoding) + item
        return header(0x00082218, "SQ", len(body), encoding) + body

    return [Raw(0x00082218, write)]


@catalogue.elements("text in a sequence's value", "a sequence whose value is text and no items", provable=False)
def _text_as_sequence(mint: Mint) -> Sequence[Written]:
    token = mint.ascii("sequence's value", 20)
    return [Raw(0x00082218, lambda encoding: header(0x00082218, "SQ", len(token), encoding) + token)]


@catalogue.elements("odd length", "a text of odd length, not padded", provable=False)
def _odd_length(mint: Mint) -> Sequence[Written]:
    token = mint.ascii("(0018,1400)", 11)
    return [Raw(0x00181400, lambda encoding: header(0x00181400, "LO", len(token), encoding) + token)]


@catalogue.elements(
    "explicit items in an implicit data set",
    "a sequence whose items have VRs",
    syntaxes=(Syntax.IMPLICIT,),
    provable=False,
)
def _explicit_in_implicit(mint: Mint) -> Sequence[Written]:
    people = _people(mint)

    def write(encoding: Encoding) -> bytes:
        content = encode(people, Encoding(explicit=True, little=True))
        item = header(0xFFFEE000, "", len(content), encoding) + content
        return header(0x00082218, "SQ", len(item), encoding) + item

    return [Raw(0x00082218, write)]


@catalogue.elements(
    "bytes of implicit elements in UN text", "elements within the value of a kept text attribute", syntaxes=EXPLICIT
)
def _elements_in_text(mint: Mint) -> Sequence[Written]:
    inner = implicit(*_people(mint))
    return [Element(0x00181140, "CS", inner, vr_written="UN")]


@catalogue.elements("control characters", "a name among control characters and in a kept unit")
def _controls(mint: Mint) -> Sequence[Written]:
    return [text(0x00281054, "LO", b"HU\x0c" + mint.text("(0028,1054)") + b"\x1a")]


@catalogue.whole(
    "whole file as data set",
    "preamble, DICM and File Meta Information before the data set",
    syntaxes=NATIVE,
    provable=False,
)
def _whole_file(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    preamble = mint.ascii("preamble", 128)
    title = mint.code("(0002,0016)")
    content = preamble + b"DICM" + encode([text(0x00020016, "AE", title)], Encoding(explicit=True, little=True))
    instance.elements.append(Raw(0, lambda _encoding: content))
