"""The instances that tokens are planted in: small, valid, with an identity of their own and technical attributes that
de-identification must keep.
"""

from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from benchmarks.leak_places.encoding import Element, Fragments, Numbers, Syntax, Written, numbers, sequence, text
from benchmarks.leak_places.place import Instance
from benchmarks.leak_places.tokens import Mint

SIDE = 32  # rows and columns of the image

CT, BASIC_TEXT_SR, TWELVE_LEAD_ECG = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("2", "88.11", "9.1.1"))
PRESENTATION_STATE, ENCAPSULATED_PDF = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("11.1", "104.1"))

ROWS, COLUMNS, PIXEL_DATA = 0x00280010, 0x00280011, 0x7FE00010

# Attributes absent from Table E.1-1 that say nothing of a person: they must come out as they went in.
TECHNICAL_TEXT = (
    text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
    text(0x00080060, "CS", "CT"),
    text(0x00180015, "CS", "CHEST"),
    text(0x00180022, "CS", "AXIAL MODE"),
    text(0x00180050, "DS", "1.25"),
    text(0x00180060, "DS", "120"),
    text(0x00180088, "DS", "1.25"),
    text(0x00180090, "DS", "500"),
    text(0x00181100, "DS", "350"),
    text(0x00181110, "DS", "949.1"),
    text(0x00181111, "DS", "541"),
    text(0x00181120, "DS", "0"),
    text(0x00181130, "DS", "133.5"),
    text(0x00181140, "CS", "CW"),
    text(0x00181150, "IS", "500"),
    text(0x00181151, "IS", "240"),
    text(0x00181152, "IS", "120"),
    text(0x00181170, "IS", "28"),
    text(0x00181190, "DS", "0.7"),
    text(0x00185100, "CS", "HFS"),
    text(0x00200011, "IS", "3"),
    text(0x00200012, "IS", "1"),
    text(0x00200013, "IS", "17"),
    text(0x00200032, "DS", "-175\\-175\\-92.5"),
    text(0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
    text(0x00201041, "DS", "-92.5"),
    text(0x00280004, "CS", "MONOCHROME2"),
    text(0x00280030, "DS", "0.7\\0.7"),
    text(0x00281050, "DS", "40"),
    text(0x00281051, "DS", "400"),
    text(0x00281052, "DS", "-1024"),
    text(0x00281053, "DS", "1"),
    text(0x00281054, "LO", "HU"),
)
TECHNICAL_NUMBERS = (
    numbers(0x00189305, "FD", 0.5),
    numbers(0x00189306, "FD", 0.625),
    numbers(0x00189307, "FD", 40.0),
    numbers(0x00189345, "FD", 8.25),
    numbers(0x00280002, "US", 1),
    numbers(ROWS, "US", SIDE),
    numbers(COLUMNS, "US", SIDE),
)
# In the innermost item of a nested plant.
NESTED_MARKER = text(0x00180050, "DS", "1.25")


def bits(allocated: int, stored: int) -> tuple[Element, ...]:
    """Bits Allocated, Bits Stored, High Bit, Pixel Representation."""
    return (
        numbers(0x00280100, "US", allocated),
        numbers(0x00280101, "US", stored),
        numbers(0x00280102, "US", stored - 1),
        numbers(0x00280103, "US", 0),
    )


@cache
def picture() -> np.ndarray:
    """A smooth 8-bit picture without text, shape (SIDE, SIDE)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    waves: np.ndarray = 127 + 60 * np.sin(x / 7) + 60 * np.cos(y / 9)
    return waves.astype(np.uint8)


@cache
def jpeg() -> bytes:
    """The picture as a baseline JPEG stream."""
    stream = BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG", quality=90)
    return _even(stream.getvalue())


@cache
def jpeg_2000() -> bytes:
    """The picture as a reversible JPEG 2000 codestream."""
    stream = BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return _even(stream.getvalue())


@cache
def rle() -> bytes:
    """The picture as one RLE segment of literal runs (PS3.5 annex G)."""
    return rle_frame(literal_runs(picture().tobytes()))


def literal_runs(content: bytes) -> bytes:
    """PackBits without any packing."""
    pieces = (content[at : at + 128] for at in range(0, len(content), 128))
    return b"".join(bytes((len(piece) - 1,)) + piece for piece in pieces)


def rle_frame(segment: bytes, unused_offsets: bytes = b"\0" * 56) -> bytes:
    """One frame of one segment; 14 of the header's 15 offsets are unused and should be 0."""
    return b"\x01\0\0\0\x40\0\0\0" + unused_offsets + _even(segment)


def _even(content: bytes) -> bytes:
    return content + b"\0" * (len(content) % 2)


def pixel_elements(syntax: Syntax, words: np.ndarray | None = None) -> tuple[Element, ...]:
    """The pixels and the attributes that describe them; `words` replaces the native 16-bit words, 12 bits stored."""
    encapsulated: dict[Syntax, Callable[[], bytes]] = {Syntax.JPEG: jpeg, Syntax.JPEG_2000: jpeg_2000, Syntax.RLE: rle}
    if syntax in encapsulated:
        return *bits(8, 8), Element(PIXEL_DATA, "OB", Fragments(b"", (encapsulated[syntax](),)))
    words = picture().astype(np.uint16) * 16 if words is None else words
    return *bits(16, 12), Element(PIXEL_DATA, "OW", Numbers(tuple(words.ravel().tolist())))


def identity(mint: Mint, sop_class: str, sop_instance: str) -> list[Written]:
    """What every instance says of its patient, study and series; each value is a token."""
    elements: list[Written] = [
        text(0x00080016, "UI", sop_class),
        text(0x00080018, "UI", sop_instance),
        text(0x00080020, "DA", mint.date("base: Study Date")),
        text(0x00080030, "TM", mint.time("base: Study Time")),
        text(0x00080050, "SH", mint.text("base: Accession Number")),
        text(0x00080090, "PN", mint.person_name("base: Referring Physician's Name")),
        text(0x00081030, "LO", mint.text("base: Study Description")),
        text(0x00100010, "PN", mint.person_name("base: Patient's Name")),
        text(0x00100020, "LO", mint.digits("base: Patient ID")),
        text(0x00100030, "DA", mint.date("base: Patient's Birth Date")),
        text(0x00100040, "CS", "O"),
        text(0x0020000D, "UI", mint.uid("base: Study Instance UID")),
        text(0x0020000E, "UI", mint.uid("base: Series Instance UID")),
        text(0x00200010, "SH", mint.text("base: Study ID")),
        text(0x00200052, "UI", mint.uid("base: Frame of Reference UID")),
    ]
    if mint.character_set.term:
        elements.append(text(0x00080005, "CS", mint.character_set.term))
    return elements


def image(mint: Mint, syntax: Syntax) -> Instance:
    """A CT slice of SIDE × SIDE: 12 of 16 bits in native syntaxes, 8 of 8 in the others."""
    sop_instance = mint.uid("base: SOP Instance UID").decode()
    elements = [*identity(mint, CT, sop_instance), *TECHNICAL_TEXT, *TECHNICAL_NUMBERS, *pixel_elements(syntax)]
    return Instance(CT, sop_instance, elements)


def structured_report(mint: Mint, _syntax: Syntax) -> Instance:
    """A Basic Text SR whose content tree has a title and no items yet."""
    sop_instance = mint.uid("base: SOP Instance UID").decode()
    elements = [
        *identity(mint, BASIC_TEXT_SR, sop_instance),
        text(0x00080060, "CS", "SR"),
        text(0x00200011, "IS", "5"),
        text(0x00200013, "IS", "1"),
        text(0x0040A040, "CS", "CONTAINER"),
        sequence(0x0040A043, code("18748-4", "LN", "Diagnostic imaging study")),
        text(0x0040A050, "CS", "SEPARATE"),
        text(0x0040A491, "CS", "COMPLETE"),
        text(0x0040A493, "CS", "UNVERIFIED"),
    ]
    return Instance(BASIC_TEXT_SR, sop_instance, elements)


def ecg(mint: Mint, _syntax: Syntax) -> Instance:
    """A 12-lead ECG with one channel of 32 samples."""
    sop_instance = mint.uid("base: SOP Instance UID").decode()
    group = (
        text(0x003A0004, "CS", "ORIGINAL"),
        numbers(0x003A0005, "US", 1),
        numbers(0x003A0010, "UL", 32),
        text(0x003A001A, "DS", "500"),
        sequence(0x003A0200, [sequence(0x003A0208, code("2:1", "MDC", "Lead I")), numbers(0x003A021A, "US", 16)]),
        numbers(0x54001004, "US", 16),
        text(0x54001006, "CS", "SS"),
        numbers(0x54001010, "OW", *range(32)),
    )
    elements = [
        *identity(mint, TWELVE_LEAD_ECG, sop_instance),
        text(0x00080060, "CS", "ECG"),
        text(0x00200011, "IS", "1"),
        text(0x00200013, "IS", "1"),
        sequence(0x54000100, group),
    ]
    return Instance(TWELVE_LEAD_ECG, sop_instance, elements)


def presentation_state(mint: Mint, _syntax: Syntax) -> Instance:
    """A Grayscale Softcopy Presentation State that shows nothing yet."""
    sop_instance = mint.uid("base: SOP Instance UID").decode()
    elements = [
        *identity(mint, PRESENTATION_STATE, sop_instance),
        text(0x00080060, "CS", "PR"),
        text(0x00200011, "IS", "7"),
        text(0x00200013, "IS", "1"),
        text(0x20500020, "CS", "IDENTITY"),
    ]
    return Instance(PRESENTATION_STATE, sop_instance, elements)


def document(mint: Mint, _syntax: Syntax) -> Instance:
    """An encapsulated document whose bytes are still to be given."""
    sop_instance = mint.uid("base: SOP Instance UID").decode()
    elements = [
        *identity(mint, ENCAPSULATED_PDF, sop_instance),
        text(0x00080060, "CS", "DOC"),
        text(0x00080064, "CS", "WSD"),
        text(0x00200011, "IS", "9"),
        text(0x00200013, "IS", "1"),
        text(0x00280301, "CS", "NO"),
        text(0x00420012, "LO", "application/pdf"),
    ]
    return Instance(ENCAPSULATED_PDF, sop_instance, elements)


BASES: dict[str, Callable[[Mint, Syntax], Instance]] = {
    "image": image,
    "structured report": structured_report,
    "ECG": ecg,
    "presentation state": presentation_state,
    "document": document,
}


def code(value: str, scheme: str, meaning: str) -> tuple[Element, ...]:
    """A code sequence's item."""
    return text(0x00080100, "SH", value), text(0x00080102, "SH", scheme), text(0x00080104, "LO", meaning)


# Sequences absent from Table E.1-1, from the outermost in; each of a chain holds the next.
CHAINS = (
    (0x00082218, 0x00082220, 0x00080121),  # Anatomic Region, its Modifier, Equivalent Code
    (0x52009229, 0x00189346, 0x00080121),  # Shared Functional Groups, CTDI Phantom Type Code, Equivalent Code
    (0x00540220, 0x00540222, 0x00080121),  # View Code, View Modifier Code, Equivalent Code
)


def nested(elements: Sequence[Written], depth: int, mint: Mint) -> Sequence[Written]:
    """The elements in `depth` items within each other, with lengths defined or not as chance has it."""
    if depth == 0:
        return elements
    chain = mint.chance.choice(CHAINS)[:depth]
    taken = {element.tag for element in elements}
    content: list[Written] = [*elements, *([] if NESTED_MARKER.tag in taken else [NESTED_MARKER])]
    for tag in reversed(chain):
        anatomy = [
            element for element in code("39607008", "SCT", "Lung") if element.tag not in {e.tag for e in content}
        ]
        content = [sequence(tag, [*anatomy, *content], undefined=mint.chance.random() < 0.5)]
    return content
