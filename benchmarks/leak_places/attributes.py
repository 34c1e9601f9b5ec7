"""Places in standard attributes and sequences that carry whole records: signatures, originals, people, requests, UIDs,
character sets.
"""

from collections.abc import Sequence

from benchmarks.leak_places.base import code
from benchmarks.leak_places.encoding import Element, Syntax, Written, numbers, sequence, text
from benchmarks.leak_places.place import Catalogue, Instance, implicit
from benchmarks.leak_places.tokens import CharacterSet, Mint

catalogue = Catalogue("Records within the data set")


@catalogue.elements("digital signatures", "certificate, signature, its UID, date and purpose in (FFFA,FFFA)")
def _signatures(mint: Mint) -> Sequence[Written]:
    item = [
        numbers(0x04000005, "US", 1),
        text(0x04000100, "UI", mint.uid("(0400,0100)")),
        text(0x04000105, "DT", mint.date_time("(0400,0105)")),
        text(0x04000110, "CS", "X509_1993_SIG"),
        Element(0x04000115, "OB", mint.ascii("(0400,0115) certificate")),
        Element(0x04000120, "OB", mint.ascii("(0400,0120) signature")),
        Element(0x04000310, "OB", mint.ascii("(0400,0310) time stamp")),
    ]
    return [sequence(0xFFFAFFFA, item)]


@catalogue.elements("MAC parameters", "transfer syntax, algorithm and signed elements in (4FFE,0001)")
def _mac(mint: Mint) -> Sequence[Written]:
    item = [
        numbers(0x04000005, "US", 1),
        text(0x04000010, "UI", mint.uid("(0400,0010)")),
        text(0x04000015, "CS", mint.code("(0400,0015)")),
        Element(0x04000020, "AT", mint.ascii("(0400,0020)", 16)),
    ]
    return [sequence(0x4FFE0001, item)]


@catalogue.elements(
    "encrypted attributes", "(0400,0500): what only the sender can read, and its syntax", provable=False
)
def _encrypted(mint: Mint) -> Sequence[Written]:
    item = [text(0x04000510, "UI", "1.2.840.10008.1.2"), Element(0x04000520, "OB", mint.ascii("(0400,0520)", 32))]
    return [sequence(0x04000500, item)]


@catalogue.elements("original attributes", "former values, who changed them, when and why in (0400,0561)")
def _original(mint: Mint) -> Sequence[Written]:
    former = [
        text(0x00100010, "PN", mint.person_name("former (0010,0010)")),
        text(0x00100020, "LO", mint.text("former (0010,0020)")),
        text(0x00181210, "SH", mint.text("former (0018,1210)")),
    ]
    nonconforming = [
        Element(0x00720026, "AT", mint.ascii("(0072,0026)", 8)),
        Element(0x04000552, "UN", mint.ascii("(0400,0552)", 20)),
    ]
    item = [
        sequence(0x04000550, former),
        sequence(0x04000551, nonconforming),
        text(0x04000562, "DT", mint.date_time("(0400,0562)")),
        text(0x04000563, "LO", mint.text("(0400,0563)")),
        text(0x04000564, "LO", mint.text("(0400,0564)")),
        text(0x04000565, "CS", "CORRECT"),
    ]
    return [sequence(0x04000561, item)]


def _person(mint: Mint, where: str) -> list[Written]:
    return [
        sequence(
            0x00401101, [*code("99", "99LOCAL", "x")[:2], text(0x00080104, "LO", mint.text(f"{where} > meaning"))]
        ),
        text(0x00401102, "ST", mint.text(f"{where} > (0040,1102) address")),
        text(0x00401103, "LO", mint.digits(f"{where} > (0040,1103) telephone")),
        text(0x00401104, "LT", mint.text(f"{where} > (0040,1104) telecom")),
        text(0x00080080, "LO", mint.text(f"{where} > (0008,0080)")),
        text(0x00080081, "ST", mint.text(f"{where} > (0008,0081)")),
    ]


@catalogue.elements("person identification", "physicians' and operators' identification sequences")
def _person_sequences(mint: Mint) -> Sequence[Written]:
    tags = (0x00080096, 0x00081049, 0x00081052, 0x00081062, 0x00081072, 0x00321034)
    return [sequence(tag, _person(mint, f"({tag >> 16:04X},{tag & 0xFFFF:04X})")) for tag in tags]


@catalogue.elements("person identification alone", "the items' attributes without the sequence that the table names")
def _person_alone(mint: Mint) -> Sequence[Written]:
    return [sequence(0x00082218, [*code("T-28000", "SRT", "Lung"), *_person(mint, "(0008,2218)")])]


@catalogue.elements("other patient IDs", "IDs, issuers and types in (0010,1002), with issuer qualifiers")
def _other_ids(mint: Mint) -> Sequence[Written]:
    qualifiers = [text(0x00400032, "UT", mint.text("(0040,0032)")), text(0x00400033, "CS", "ISO")]
    item = [
        text(0x00100020, "LO", mint.digits("(0010,0020)")),
        text(0x00100021, "LO", mint.text("(0010,0021)")),
        text(0x00100022, "CS", "TEXT"),
        sequence(0x00100024, qualifiers),
    ]
    return [sequence(0x00101002, item), sequence(0x00080051, qualifiers), sequence(0x00380014, qualifiers)]


@catalogue.elements("contributing equipment", "maker, station, institution, operator and description in (0018,A001)")
def _contributing(mint: Mint) -> Sequence[Written]:
    item = [
        text(0x00080070, "LO", mint.text("(0008,0070)")),
        text(0x00080080, "LO", mint.text("(0008,0080)")),
        text(0x00081010, "SH", mint.text("(0008,1010)")),
        text(0x00081070, "PN", mint.person_name("(0008,1070)")),
        text(0x00181000, "LO", mint.digits("(0018,1000)")),
        text(0x0018A002, "DT", mint.date_time("(0018,A002)")),
        text(0x0018A003, "ST", mint.text("(0018,A003)")),
        sequence(0x0040A170, [text(0x00080100, "SH", "109101"), text(0x00080104, "LO", mint.text("purpose"))]),
    ]
    return [sequence(0x0018A001, item)]


@catalogue.elements("request attributes", "accession, procedure IDs, reasons and codes in (0040,0275)")
def _request(mint: Mint) -> Sequence[Written]:
    item = [
        text(0x00080050, "SH", mint.text("(0008,0050)")),
        text(0x00400007, "LO", mint.text("(0040,0007)")),
        text(0x00400009, "SH", mint.text("(0040,0009)")),
        text(0x00401001, "SH", mint.text("(0040,1001)")),
        text(0x00401002, "LO", mint.text("(0040,1002)")),
        sequence(0x00321064, [text(0x00080100, "SH", "X"), text(0x00080104, "LO", mint.text("(0032,1064)"))]),
    ]
    return [sequence(0x00400275, item)]


@catalogue.elements("procedure and protocol codes", "meanings of local codes in (0008,1032) and (0040,0260)")
def _procedure_codes(mint: Mint) -> Sequence[Written]:
    def local(where: str) -> list[Written]:
        scheme = text(0x00080102, "SH", "99LOCAL")
        return [text(0x00080100, "SH", mint.code(f"{where} value")), scheme, text(0x00080104, "LO", mint.text(where))]

    return [sequence(0x00081032, local("(0008,1032)")), sequence(0x00400260, local("(0040,0260)"))]


@catalogue.elements("code: meaning", "a name as Code Meaning of a known code")
def _code_meaning(mint: Mint) -> Sequence[Written]:
    item = [
        text(0x00080100, "SH", "39607008"),
        text(0x00080102, "SH", "SCT"),
        text(0x00080104, "LO", mint.text("meaning")),
    ]
    return [sequence(0x00082218, item)]


@catalogue.elements("code: value", "a record number as Code Value, Long Code Value and URN Code Value")
def _code_value(mint: Mint) -> Sequence[Written]:
    scheme, meaning = text(0x00080102, "SH", "SCT"), text(0x00080104, "LO", "Lung")
    return [
        sequence(0x00082218, [text(0x00080100, "SH", mint.code("(0008,0100)")), scheme, meaning]),
        sequence(0x00082228, [text(0x00080119, "UC", mint.text("(0008,0119)")), scheme, meaning]),
        sequence(0x00540220, [Element(0x00080120, "UR", b"urn:oid:1.2." + mint.digits("(0008,0120)")), meaning]),
    ]


@catalogue.elements(
    "code: scheme", "names as Coding Scheme Designator and Version, and in its identification (0008,0110)"
)
def _code_scheme(mint: Mint) -> Sequence[Written]:
    item = [
        text(0x00080100, "SH", "39607008"),
        text(0x00080102, "SH", mint.code("(0008,0102)")),
        text(0x00080103, "SH", mint.text("(0008,0103)")),
        text(0x00080104, "LO", "Lung"),
    ]
    scheme = [
        text(0x00080102, "SH", "99LOCAL"),
        text(0x00080114, "ST", mint.text("(0008,0114)")),
        text(0x00080115, "ST", mint.text("(0008,0115)")),
        text(0x00080116, "ST", mint.text("(0008,0116)")),
    ]
    return [sequence(0x00082218, item), sequence(0x00080110, scheme)]


@catalogue.elements(
    "code: local group extension", "creator UID, version and local version of an extended context group"
)
def _code_extension(mint: Mint) -> Sequence[Written]:
    item = [
        *code("T-28000", "SRT", "Lung"),
        text(0x00080106, "DT", mint.date_time("(0008,0106)")),
        text(0x00080107, "DT", mint.date_time("(0008,0107)")),
        text(0x0008010B, "CS", "Y"),
        text(0x0008010D, "UI", mint.uid("(0008,010D)")),
        text(0x0008010F, "CS", mint.code("(0008,010F)")),
    ]
    return [sequence(0x00082218, item)]


@catalogue.elements("comments", "free comments on image, study, patient, visit, frame, step and acquisition")
def _comments(mint: Mint) -> Sequence[Written]:
    tags = {0x00204000: "LT", 0x00324000: "LT", 0x00104000: "LT", 0x00384000: "LT", 0x00209158: "LT", 0x00400280: "ST"}
    tags |= {0x00184000: "LT", 0x00082111: "ST", 0x00400254: "LO", 0x00402400: "LT"}
    made = (text(tag, vr, mint.text(f"({tag >> 16:04X},{tag & 0xFFFF:04X})")) for tag, vr in tags.items())
    return list(made)


@catalogue.elements("application entities", "AE titles of stations, destinations and retrieval, several of them")
def _entities(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00080054, "AE", mint.code("(0008,0054)") + b"\\" + mint.code("(0008,0054) second")),
        text(0x00080055, "AE", mint.code("(0008,0055)")),
        text(0x00400001, "AE", mint.code("(0040,0001)")),
        text(0x00400241, "AE", mint.code("(0040,0241)")),
        text(0x21000140, "AE", mint.code("(2100,0140)")),
    ]


@catalogue.elements("addresses of resources", "URLs with names, hosts and record numbers")
def _urls(mint: Mint) -> Sequence[Written]:
    tags = (0x00081190, 0x0040E010, 0x00080120, 0x0008010E, 0x00287FE0, 0x0074100A)
    return [text(tag, "UR", mint.of_vr("UR", f"({tag >> 16:04X},{tag & 0xFFFF:04X})") or b"") for tag in tags]


@catalogue.elements("time zone", "a name as Timezone Offset From UTC")
def _time_zone(mint: Mint) -> Sequence[Written]:
    return [text(0x00080201, "SH", b"+0300 " + mint.ascii("(0008,0201)"))]


@catalogue.elements("UID that embeds a date", "birth date and record number as components of UIDs of the table")
def _uid_with_date(mint: Mint) -> Sequence[Written]:
    uid = b"1.2.840.99999." + mint.date("date") + b"." + mint.digits("record number", 9)
    return [text(0x00081155, "UI", uid), text(0x00200200, "UI", uid + b".1"), text(0x00081195, "UI", uid + b".2")]


@catalogue.elements("UIDs in references", "study, series, instance and frame of reference UIDs in reference sequences")
def _references(mint: Mint) -> Sequence[Written]:
    def reference(where: str) -> list[Written]:
        return [text(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2"), text(0x00081155, "UI", mint.uid(where))]

    series = [text(0x0020000E, "UI", mint.uid("series")), sequence(0x00081199, reference("in series"))]
    return [
        sequence(0x00081115, series),
        sequence(0x00081140, reference("(0008,1140)")),
        sequence(0x00082112, reference("(0008,2112)")),
        sequence(0x00081110, reference("(0008,1110)")),
        sequence(0x00081111, reference("(0008,1111)")),
        sequence(0x00081120, reference("(0008,1120)")),
        sequence(0x00081250, [text(0x0020000D, "UI", mint.uid("related study")), *code("1", "SRT", "x")]),
        text(0x00200052, "UI", mint.uid("(0020,0052)")),
        text(0x30060024, "UI", mint.uid("(3006,0024)")),
    ]


@catalogue.elements("UID under a standard root", "a UID of DICOM's own root that is not registered", provable=False)
def _standard_root(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00081155, "UI", b"1.2.840.10008.5.1.4.1.1." + mint.digits("(0008,1155)")),
        text(0x00200052, "UI", b"1.2.840.10008.1.4.1." + mint.digits("(0020,0052)")),
    ]


@catalogue.elements("UID that is text", "a name where a UID belongs", provable=False)
def _uid_text(mint: Mint) -> Sequence[Written]:
    return [text(0x00081155, "UI", mint.ascii("(0008,1155)")), text(0x00081150, "UI", mint.ascii("(0008,1150)"))]


@catalogue.elements("name groups", "alphabetic, ideographic and phonetic groups of a person's name")
def _name_groups(mint: Mint) -> Sequence[Written]:
    value = b"=".join(mint.ascii(f"group {at}").title() + b"^" + mint.ascii(f"group {at} given") for at in range(3))
    return [text(0x00081050, "PN", value), text(0x0040A123, "PN", value + b"\\" + value)]


@catalogue.elements("radiotherapy labels", "plan, structure set, ROI, dose and beam labels, names and observers")
def _radiotherapy(mint: Mint) -> Sequence[Written]:
    roi = [
        text(0x30060026, "LO", mint.text("(3006,0026)")),
        text(0x30060028, "ST", mint.text("(3006,0028)")),
        text(0x300600A6, "PN", mint.person_name("(3006,00A6)")),
    ]
    beam = [text(0x300A00C2, "LO", mint.text("(300A,00C2)")), text(0x300A00B2, "SH", mint.text("(300A,00B2)"))]
    return [
        text(0x300A0002, "SH", mint.text("(300A,0002)")),
        text(0x300A0003, "LO", mint.text("(300A,0003)")),
        text(0x300A0006, "DA", mint.date("(300A,0006)")),
        text(0x30060002, "SH", mint.text("(3006,0002)")),
        sequence(0x30060020, roi),
        sequence(0x300A00B0, beam),
    ]


@catalogue.elements("segments", "labels, descriptions, tracking IDs and algorithm names of segments")
def _segments(mint: Mint) -> Sequence[Written]:
    item = [
        numbers(0x00620004, "US", 1),
        text(0x00620005, "LO", mint.text("(0062,0005)")),
        text(0x00620006, "ST", mint.text("(0062,0006)")),
        text(0x00620009, "LO", mint.text("(0062,0009)")),
        text(0x00620020, "UT", mint.text("(0062,0020)")),
        text(0x00620021, "UI", mint.uid("(0062,0021)")),
    ]
    return [sequence(0x00620002, item)]


@catalogue.elements("labels of multi-frame dimensions", "dimension labels, frame labels, purposes and stack IDs")
def _dimensions(mint: Mint) -> Sequence[Written]:
    content = [
        text(0x00209056, "SH", mint.text("(0020,9056)")),
        text(0x00209453, "LO", mint.text("(0020,9453)")),
        text(0x00209158, "LT", mint.text("(0020,9158)")),
        text(0x00189074, "DT", mint.date_time("(0018,9074)")),
    ]
    organisation = [text(0x00209164, "UI", mint.uid("(0020,9164)")), text(0x00209421, "LO", mint.text("(0020,9421)"))]
    return [sequence(0x52009230, [sequence(0x00209111, content)]), sequence(0x00209222, organisation)]


@catalogue.elements("elements within bytes", "an encoded data set in the value of an OB attribute")
def _within_bytes(mint: Mint) -> Sequence[Written]:
    inner = implicit(text(0x00100010, "PN", mint.person_name("inner (0010,0010)")))
    return [Element(0x00880906, "ST", mint.text("(0088,0906)")), Element(0x00420011, "OB", inner)]


@catalogue.whole("character set: junk", "a name as Specific Character Set", provable=False)
def _character_set_junk(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.replace(text(0x00080005, "CS", mint.code("(0008,0005)")))


@catalogue.whole("character set: junk as second value", "a name behind a defined term", provable=False)
def _character_set_second(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.replace(text(0x00080005, "CS", b"ISO 2022 IR 100\\" + mint.code("(0008,0005)")))


@catalogue.elements("character set: in an item", "an item with a character set of its own", provable=False)
def _character_set_item(mint: Mint) -> Sequence[Written]:
    foreign = Mint(f"item {mint.chance.random()}", CharacterSet.UTF_8)
    item = [
        text(0x00080005, "CS", "ISO_IR 192"),
        *code("T-28000", "SRT", "Lung"),
        text(0x00100010, "PN", foreign.person_name("in the item")),
        text(0x00181400, "LO", foreign.text("in the item")),
    ]
    mint.witnesses += foreign.witnesses
    return [sequence(0x00082218, item)]


@catalogue.elements(
    "character set: junk in an item", "a name as Specific Character Set of an item", depths=(1, 2, 3), provable=False
)
def _character_set_junk_item(mint: Mint) -> Sequence[Written]:
    return [text(0x00080005, "CS", mint.code("(0008,0005)"))]


@catalogue.elements(
    "character set: escape sequences", "names between escape sequences that switch to no known set", provable=False
)
def _escapes(mint: Mint) -> Sequence[Written]:
    return [
        text(0x00281054, "LO", b"HU\x1b(Z" + mint.ascii("(0028,1054)") + b"\x1b(B"),
        text(0x00281055, "LO", b"\x1b$)C" + mint.ascii("(0028,1055)")),
        text(0x00081030, "LO", b"\x1b$B" + mint.ascii("(0008,1030)") + b"\x1b(B"),
    ]


@catalogue.elements(
    "character set: other than said", "text in UTF-8 and UTF-16 whatever the character set", provable=False
)
def _other_set(mint: Mint) -> Sequence[Written]:
    wide = mint.ascii("UTF-16").decode()
    foreign = Mint(wide, CharacterSet.UTF_8)
    elements = [
        text(0x00181400, "LO", foreign.text("UTF-8")),
        text(0x00281055, "LO", wide.encode("utf-16-le")),
        text(0x00181210, "SH", wide.encode("utf-16-be")[:16]),
    ]
    mint.witnesses += foreign.witnesses
    return elements
