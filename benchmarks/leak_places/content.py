"""Places in content trees, waveforms and presentation states (PS3.3 C.17, C.10.9, C.10.5)."""

from collections.abc import Sequence

from benchmarks.leak_places.base import code
from benchmarks.leak_places.encoding import Element, Syntax, Written, numbers, sequence, text
from benchmarks.leak_places.place import NATIVE, Catalogue, Instance
from benchmarks.leak_places.tokens import Mint

catalogue = Catalogue("Reports, waveforms and presentation states")
_CONTENT = 0x0040A730


def _item(kind: str, *elements: Written) -> list[Written]:
    concept = sequence(0x0040A043, code("121071", "DCM", "Finding"))
    return [text(0x0040A010, "CS", "CONTAINS"), text(0x0040A040, "CS", kind), concept, *elements]


def _reference(mint: Mint) -> Element:
    class_uid = text(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2")
    return sequence(0x00081199, [class_uid, text(0x00081155, "UI", mint.uid("(0008,1155)"))])


def _value(kind: str, mint: Mint) -> list[Written]:
    label = f"{kind} value"
    if kind == "TEXT":
        return [text(0x0040A160, "UT", mint.text(label))]
    if kind == "PNAME":
        return [text(0x0040A123, "PN", mint.person_name(label))]
    if kind == "UIDREF":
        return [text(0x0040A124, "UI", mint.uid(label))]
    if kind == "DATETIME":
        return [text(0x0040A120, "DT", mint.date_time(label))]
    if kind == "DATE":
        return [text(0x0040A121, "DA", mint.date(label))]
    if kind == "TIME":
        return [text(0x0040A122, "TM", mint.time(label))]
    if kind == "CODE":
        local = text(0x00080100, "SH", mint.code("code's value")), text(0x00080102, "SH", "99LOCAL")
        return [sequence(0x0040A168, [*local, text(0x00080104, "LO", mint.text(label))])]
    if kind == "NUM":
        unit = [text(0x00080100, "SH", "mm"), text(0x00080102, "SH", "UCUM"), text(0x00080104, "LO", mint.text("unit"))]
        return [sequence(0x0040A300, [sequence(0x004008EA, unit), text(0x0040A30A, "DS", "4.5")])]
    if kind == "TCOORD":
        return [text(0x0040A130, "CS", "POINT"), text(0x0040A13A, "DT", mint.date_time(label))]
    return [_reference(mint)]


_KINDS = ("TEXT", "PNAME", "UIDREF", "DATETIME", "DATE", "TIME", "CODE", "NUM", "TCOORD", "IMAGE", "COMPOSITE")


def _plant_kind(kind: str) -> None:
    @catalogue.whole(
        f"content item: {kind}",
        f"a {kind} item's value, 1 to 3 containers deep",
        syntaxes=NATIVE,
        base="structured report",
    )
    def _(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
        content = _item(kind, *_value(kind, mint))
        for _level in range(mint.chance.randrange(3)):
            content = _item("CONTAINER", text(0x0040A050, "CS", "SEPARATE"), sequence(_CONTENT, content))
        instance.replace(sequence(_CONTENT, content))


for _kind in _KINDS:
    _plant_kind(_kind)


@catalogue.whole(
    "content item: concept names",
    "names as meanings of a title and of a concept",
    syntaxes=NATIVE,
    base="structured report",
)
def _concept_names(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    def local(where: str) -> list[Written]:
        return [
            text(0x00080100, "SH", "X1"),
            text(0x00080102, "SH", "99LOCAL"),
            text(0x00080104, "LO", mint.text(where)),
        ]

    item = [text(0x0040A010, "CS", "CONTAINS"), text(0x0040A040, "CS", "TEXT"), sequence(0x0040A043, local("concept"))]
    instance.replace(sequence(0x0040A043, local("title")), sequence(_CONTENT, [*item, text(0x0040A160, "UT", "none")]))


@catalogue.whole(
    "content: observers",
    "verifying observers, authors, participants and custodians",
    syntaxes=NATIVE,
    base="structured report",
)
def _observers(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    verifier = [
        text(0x0040A027, "LO", mint.text("(0040,A027)")),
        text(0x0040A030, "DT", mint.date_time("(0040,A030)")),
        text(0x0040A075, "PN", mint.person_name("(0040,A075)")),
    ]
    author = [text(0x0040A123, "PN", mint.person_name("(0040,A078)")), text(0x00080080, "LO", mint.text("(0008,0080)"))]
    custodian = [text(0x00080080, "LO", mint.text("(0040,A07C)")), *code("X", "99LOCAL", "x")]
    instance.replace(
        sequence(0x0040A073, verifier),
        sequence(0x0040A078, author),
        sequence(0x0040A07A, author),
        sequence(0x0040A07C, custodian),
    )


@catalogue.whole(
    "content: evidence", "references to the evidence and to former reports", syntaxes=NATIVE, base="structured report"
)
def _evidence(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    series = [
        _reference(mint),
        text(0x0020000E, "UI", mint.uid("series")),
        text(0x00080054, "AE", mint.code("(0008,0054)")),
    ]
    study = [text(0x0020000D, "UI", mint.uid("study")), sequence(0x00081115, series)]
    request = [
        text(0x0020000D, "UI", mint.uid("requested study")),
        text(0x00080050, "SH", mint.text("(0008,0050)")),
        text(0x00402016, "LO", mint.text("(0040,2016)")),
        text(0x00402017, "LO", mint.text("(0040,2017)")),
    ]
    instance.replace(sequence(0x0040A375, study), sequence(0x0040A360, study), sequence(0x0040A370, request))


@catalogue.elements("content items without a report", "a content tree in an image's acquisition context")
def _acquisition_context(mint: Mint) -> Sequence[Written]:
    return [sequence(0x00400555, _item("TEXT", *_value("TEXT", mint)), _item("PNAME", *_value("PNAME", mint)))]


@catalogue.whole(
    "waveform: annotations", "free text, coded meaning and UID of annotations", syntaxes=NATIVE, base="ECG"
)
def _annotations(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    item = [
        text(0x00700006, "ST", mint.text("(0070,0006)")),
        sequence(0x0040A043, [text(0x00080100, "SH", "X1"), text(0x00080104, "LO", mint.text("meaning"))]),
        numbers(0x0040A0B0, "US", 1, 1),
        numbers(0x0040A180, "US", 1),
        text(0x0040A171, "UI", mint.uid("(0040,A171)")),
        text(0x0040A13A, "DT", mint.date_time("(0040,A13A)")),
    ]
    instance.replace(sequence(0x0040B020, item))


@catalogue.whole(
    "waveform: labels", "multiplex group, channel and source labels, comments", syntaxes=NATIVE, base="ECG"
)
def _waveform_labels(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    local = [text(0x00080100, "SH", "X1"), text(0x00080104, "LO", mint.text("source"))]
    channel = [
        text(0x003A0202, "IS", "1"),
        text(0x003A0203, "SH", mint.text("(003A,0203)")),
        sequence(0x003A0208, local),
        text(0x003A020C, "LO", mint.text("(003A,020C)")),
        numbers(0x003A021A, "US", 16),
    ]
    group = [
        text(0x003A0004, "CS", "ORIGINAL"),
        numbers(0x003A0005, "US", 1),
        numbers(0x003A0010, "UL", 8),
        text(0x003A001A, "DS", "500"),
        text(0x003A0020, "SH", mint.text("(003A,0020)")),
        sequence(0x003A0200, channel),
        numbers(0x54001004, "US", 16),
        text(0x54001006, "CS", "SS"),
        numbers(0x54001010, "OW", *range(8)),
    ]
    instance.replace(sequence(0x54000100, group))


@catalogue.whole(
    "waveform: behind the samples",
    "bytes behind the samples that the channels have",
    syntaxes=NATIVE,
    base="ECG",
    provable=False,
)
def _waveform_tail(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    group = [
        text(0x003A0004, "CS", "ORIGINAL"),
        numbers(0x003A0005, "US", 1),
        numbers(0x003A0010, "UL", 4),
        text(0x003A001A, "DS", "500"),
        numbers(0x54001004, "US", 8),
        text(0x54001006, "CS", "SB"),
        Element(0x54001010, "OB", b"\1\2\3\4" + mint.ascii("behind the samples", 32)),
    ]
    instance.replace(sequence(0x54000100, group))


@catalogue.whole(
    "presentation state: text", "text objects, layers, labels and creators", syntaxes=NATIVE, base="presentation state"
)
def _presentation(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    graphic = [
        text(0x00700002, "CS", mint.code("(0070,0002)")),
        sequence(0x00700008, [text(0x00700006, "ST", mint.text("(0070,0006)"))]),
    ]
    layer = [
        text(0x00700002, "CS", mint.code("(0070,0002) of the layer")),
        text(0x00700062, "IS", "1"),
        text(0x00700068, "LO", mint.text("(0070,0068)")),
    ]
    instance.replace(
        sequence(0x00700001, graphic),
        sequence(0x00700060, layer),
        text(0x00700080, "CS", mint.code("(0070,0080)")),
        text(0x00700081, "LO", mint.text("(0070,0081)")),
        text(0x00700082, "DA", mint.date("(0070,0082)")),
        text(0x00700083, "TM", mint.time("(0070,0083)")),
        text(0x00700084, "PN", mint.person_name("(0070,0084)")),
    )


@catalogue.whole(
    "presentation state: drawn letters",
    "a name drawn by its polylines' points",
    syntaxes=NATIVE,
    base="presentation state",
)
def _drawn(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    points = Element(0x00700022, "FL", mint.ascii("(0070,0022)", 32))
    drawn = [text(0x00700005, "CS", "PIXEL"), numbers(0x00700020, "US", 2), numbers(0x00700021, "US", 4), points]
    instance.replace(sequence(0x00700001, [sequence(0x00700009, [*drawn, text(0x00700023, "CS", "POLYLINE")])]))
