"""Places in and about the pixels: icons, overlays, curves, unused bits, padding, codestreams and colour profiles."""

import struct
from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.leak_places.base import (
    COLUMNS,
    PIXEL_DATA,
    ROWS,
    SIDE,
    bits,
    jpeg,
    jpeg_2000,
    literal_runs,
    picture,
    pixel_elements,
    rle,
    rle_frame,
)  # fmt: skip
from benchmarks.leak_places.encoding import (
    Element,
    Fragments,
    Numbers,
    Syntax,
    Written,
    numbers,
    packed,
    sequence,
    text,
)
from benchmarks.leak_places.place import NATIVE, Catalogue, Instance
from benchmarks.leak_places.tokens import CharacterSet, Mint

catalogue = Catalogue("Pixels, overlays, curves and codestreams")
# Where the character set plays no part, one of a kind of each is enough.
_PLAIN = (CharacterSet.ASCII, CharacterSet.UTF_8)
_native = partial(catalogue.whole, syntaxes=NATIVE, character_sets=_PLAIN)
_jpeg = partial(catalogue.whole, syntaxes=(Syntax.JPEG,), character_sets=_PLAIN)
_jpeg_2000 = partial(catalogue.whole, syntaxes=(Syntax.JPEG_2000,), character_sets=_PLAIN)
_rle = partial(catalogue.whole, syntaxes=(Syntax.RLE,), character_sets=_PLAIN)
_ENCAPSULATED = (Syntax.JPEG, Syntax.RLE, Syntax.JPEG_2000)
_encapsulated = partial(catalogue.whole, syntaxes=_ENCAPSULATED, character_sets=_PLAIN)


def _words() -> np.ndarray:
    return picture().astype(np.uint16) * 16


def _in_plane(token: bytes, plane: int) -> np.ndarray:
    """The picture's words, 12 bits used, with the token's bits in one of the planes above."""
    words = _words().ravel()
    spread = np.unpackbits(np.frombuffer(token, np.uint8), bitorder="little").astype(np.uint16)
    words[: spread.size] |= spread << np.uint16(plane)
    return words


@_native("pixels: unused high bits", "a token's bits above High Bit of each word")
def _high_bits(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    plane = mint.chance.choice((12, 13, 14, 15))
    instance.replace(*pixel_elements(syntax, _in_plane(mint.ascii("plane", 16), plane)))


@_native("pixels: unused high nibbles", "a token's nibbles above High Bit of each word")
def _high_nibbles(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    token = mint.ascii("nibbles", 16)
    nibbles = np.frombuffer(bytes(half for byte in token for half in (byte >> 4, byte & 15)), np.uint8)
    words = _words().ravel()
    words[: nibbles.size] |= nibbles.astype(np.uint16) << np.uint16(12)
    instance.replace(*pixel_elements(syntax, words))


@_native("pixels: unused low bits", "a token's bits below the stored bits, where High Bit is 15", provable=False)
def _low_bits(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    words = _in_plane(mint.ascii("plane", 16), 0)
    instance.replace(*pixel_elements(syntax, words), numbers(0x00280102, "US", 15))


@_native("pixels: overlay bits", "an overlay in an unused bit of the words, as retired group 6000 elements describe it")
def _overlay_bits(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    instance.replace(
        *pixel_elements(syntax, _in_plane(mint.ascii("overlay", 16), 12)),
        numbers(0x60000010, "US", SIDE),
        numbers(0x60000011, "US", SIDE),
        text(0x60000040, "CS", "G"),
        numbers(0x60000050, "SS", 1, 1),
        numbers(0x60000100, "US", 16),
        numbers(0x60000102, "US", 12),
    )


@_native("pixels: padding of an odd length", "letters behind 8-bit pixels of odd length", provable=False)
def _odd_pixels(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    # The padding is one byte; more of them, as some writers add, hold a name.
    frame = picture()[:31, :31].tobytes()
    pixels = Element(PIXEL_DATA, "OB", frame + mint.ascii("padding", 11))
    instance.replace(*bits(8, 8), numbers(ROWS, "US", 31), numbers(COLUMNS, "US", 31), pixels)


@_native("pixels: beyond the frames", "bytes behind the last frame of native pixels", provable=False)
def _beyond(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    frame = packed("OW", Numbers(tuple(_words().ravel().tolist())), syntax.encoding)
    instance.replace(Element(PIXEL_DATA, "OW", frame + mint.ascii("beyond", 64)))


@_encapsulated("pixels: basic offset table", "letters instead of offsets", provable=False)
def _offset_table(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    instance.replace(_fragments(_codestream(syntax), offsets=mint.ascii("offsets", 12)))


@_encapsulated("pixels: extended offset table", "letters instead of offsets and lengths", provable=False)
def _extended_offsets(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    offsets = Element(0x7FE00001, "OV", mint.ascii("(7FE0,0001)", 8))
    instance.replace(offsets, Element(0x7FE00002, "OV", mint.ascii("(7FE0,0002)", 8)))


@_encapsulated("pixels: extra fragment", "a fragment that belongs to no frame", provable=False)
def _extra_fragment(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    instance.replace(_fragments(_codestream(syntax), mint.ascii("fragment", 40)))


@_encapsulated("pixels: sequence delimiter", "bytes in the delimiter behind the fragments", provable=False)
def _delimiter(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    value = Fragments(b"", (_codestream(syntax),), after_end=mint.ascii("delimiter"))
    instance.replace(Element(PIXEL_DATA, "OB", value))


@_encapsulated(
    "pixels: behind the codestream", "bytes behind EOI, EOC or the RLE segment, within the fragment", provable=False
)
def _behind(mint: Mint, instance: Instance, syntax: Syntax) -> None:
    instance.replace(_fragments(_codestream(syntax) + mint.ascii("behind", 40)))


def _codestream(syntax: Syntax) -> bytes:
    return {Syntax.JPEG: jpeg, Syntax.JPEG_2000: jpeg_2000, Syntax.RLE: rle}[syntax]()


def _fragments(*fragments: bytes, offsets: bytes = b"") -> Element:
    return Element(PIXEL_DATA, "OB", Fragments(offsets, tuple(part + b"\0" * (len(part) % 2) for part in fragments)))


def _marker_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def _plant_jpeg_marker(name: str, what: str, marker: int, prefix: bytes, provable: bool = True) -> None:
    @_jpeg(name, what, provable=provable)
    def _(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
        segment = _marker_segment(marker, prefix + mint.ascii(name, 24))
        stream = jpeg()
        instance.replace(_fragments(stream[:2] + segment + stream[2:]))


_plant_jpeg_marker("JPEG: COM", "a comment segment", 0xFFFE, b"")
_plant_jpeg_marker("JPEG: APP1 EXIF", "an EXIF segment", 0xFFE1, b"Exif\0\0")
_plant_jpeg_marker("JPEG: APP1 XMP", "an XMP segment", 0xFFE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>")
_plant_jpeg_marker("JPEG: APP2 ICC", "an ICC profile's segment", 0xFFE2, b"ICC_PROFILE\0\x01\x01")
_plant_jpeg_marker("JPEG: APP13", "a Photoshop (IPTC) segment", 0xFFED, b"Photoshop 3.0\x008BIM")
_plant_jpeg_marker("JPEG: APP15", "an application segment that nobody knows", 0xFFEF, b"")
_plant_jpeg_marker("JPEG: JPG13", "a reserved extension segment", 0xFFFD, b"", provable=False)


@_jpeg("JPEG: APP0 thumbnail", "text in a JFIF segment's thumbnail and behind it")
def _jfif(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    segment = _marker_segment(0xFFE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\x02\x02" + mint.ascii("JFIF thumbnail", 24))
    stream = jpeg()
    instance.replace(_fragments(stream[:2] + segment + stream[2:]))


@_jpeg("JPEG: before SOI", "bytes before the start of image", provable=False)
def _before_soi(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    instance.replace(_fragments(mint.ascii("before SOI", 16) + jpeg()))


@_jpeg("JPEG: between segments", "bytes between two segments, which decoders skip", provable=False)
def _between_segments(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    stream = jpeg()
    second = 4 + int.from_bytes(stream[4:6], "big")
    instance.replace(_fragments(stream[:second] + mint.ascii("between", 16) + stream[second:]))


@_jpeg("JPEG: second image", "a whole second image behind the first, with a comment", provable=False)
def _second_image(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    comment = _marker_segment(0xFFFE, mint.ascii("second image's comment", 24))
    instance.replace(_fragments(jpeg() + jpeg()[:2] + comment + jpeg()[2:]))


@_jpeg("JPEG: comment in a later fragment", "one frame in two fragments, the comment in the second", provable=False)
def _later_fragment(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    stream = jpeg()
    end = stream.rindex(b"\xff\xd9")
    later = stream[end - end % 2 : end] + _marker_segment(0xFFFE, mint.ascii("comment", 24)) + stream[end:]
    instance.replace(_fragments(stream[: end - end % 2], later))


def _plant_codestream_segment(name: str, what: str, marker: int, prefix: bytes, provable: bool = True) -> None:
    @_jpeg_2000(name, what, provable=provable)
    def _(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
        stream = jpeg_2000()
        first_tile = stream.index(b"\xff\x90")
        segment = _marker_segment(marker, prefix + mint.ascii(name, 24))
        instance.replace(_fragments(stream[:first_tile] + segment + stream[first_tile:]))


_plant_codestream_segment("JPEG 2000: COM text", "a comment segment in Latin", 0xFF64, b"\0\x01")
_plant_codestream_segment("JPEG 2000: COM binary", "a comment segment of bytes", 0xFF64, b"\0\0")
_plant_codestream_segment(
    "JPEG 2000: unknown segment", "a segment that the standard reserves", 0xFF6F, b"", provable=False
)


@_jpeg_2000("JPEG 2000: COM in the tile", "a comment segment in the tile-part's header", provable=False)
def _tile_comment(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    stream = jpeg_2000()
    start_of_data = stream.index(b"\xff\x93")
    segment = _marker_segment(0xFF64, b"\0\x01" + mint.ascii("tile's comment", 24))
    tile = stream.index(b"\xff\x90")
    length = int.from_bytes(stream[tile + 6 : tile + 10], "big")
    patched = stream[: tile + 6] + struct.pack(">I", length + len(segment) if length else 0) + stream[tile + 10 :]
    instance.replace(_fragments(patched[:start_of_data] + segment + patched[start_of_data:]))


@_jpeg_2000("JPEG 2000: boxes", "a JP2 file with XML and UUID boxes instead of a codestream", provable=False)
def _boxes(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content) + 8) + kind + content

    header = box(b"ihdr", struct.pack(">IIHBBBB", SIDE, SIDE, 1, 7, 7, 0, 0))
    header += box(b"colr", b"\x01\0\0" + struct.pack(">I", 17))
    file = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
    file += box(b"xml ", b"<patient>" + mint.ascii("XML box", 20) + b"</patient>")
    file += box(b"uuid", bytes(16) + mint.ascii("UUID box", 20)) + box(b"jp2c", jpeg_2000())
    instance.replace(_fragments(file))


@_rle("RLE: unused offsets", "letters in the header's offsets of segments that do not exist", provable=False)
def _rle_header(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    frame = rle_frame(literal_runs(picture().tobytes()), mint.ascii("offsets", 56))
    instance.replace(_fragments(frame))


@_rle("RLE: runs beyond the image", "literal runs behind the last pixel", provable=False)
def _rle_runs(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    frame = rle_frame(literal_runs(picture().tobytes() + mint.ascii("runs", 64)))
    instance.replace(_fragments(frame))


@_rle("RLE: between header and segment", "bytes between the header and where its offset points", provable=False)
def _rle_gap(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    gap = mint.ascii("gap", 32)
    header = struct.pack("<16I", 1, 64 + len(gap), *[0] * 14)
    instance.replace(_fragments(header + gap + literal_runs(picture().tobytes())))


@_rle("RLE: extra segment", "a second segment, which the image has no use for", provable=False)
def _rle_second_segment(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    first = literal_runs(picture().tobytes())
    first += b"\0" * (len(first) % 2)
    second = literal_runs(mint.ascii("second segment", 64))
    header = struct.pack("<16I", 2, 64, 64 + len(first), *[0] * 13)
    instance.replace(_fragments(header + first + second))


def _icon(mint: Mint, *elements: Written) -> Element:
    token = mint.ascii("icon's pixels", 64)
    described = [
        numbers(0x00280002, "US", 1),
        text(0x00280004, "CS", "MONOCHROME2"),
        numbers(ROWS, "US", 8),
        numbers(COLUMNS, "US", 8),
        *bits(8, 8),
        Element(PIXEL_DATA, "OB", token),
    ]
    return sequence(0x00880200, [*described, *elements])


@catalogue.elements("icon image", "an icon whose pixels are letters, with text beside them")
def _icon_image(mint: Mint) -> Sequence[Written]:
    return [_icon(mint, text(0x00204000, "LT", mint.text("icon's comments")))]


@catalogue.elements("icon image in a reference", "an icon within a referenced image's item")
def _icon_in_reference(mint: Mint) -> Sequence[Written]:
    reference = [text(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2"), text(0x00081155, "UI", mint.uid("reference"))]
    return [sequence(0x00081140, [*reference, _icon(mint)])]


@_jpeg("icon image: compressed", "an icon that is itself a JPEG with a comment")
def _icon_jpeg(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    stream = jpeg()
    segment = _marker_segment(0xFFFE, mint.ascii("icon's comment", 24))
    value = Fragments(b"", (stream[:2] + segment + stream[2:],))
    described = [numbers(ROWS, "US", SIDE), numbers(COLUMNS, "US", SIDE), *bits(8, 8)]
    instance.replace(sequence(0x00880200, [*described, Element(PIXEL_DATA, "OB", value)]))


def _overlay(group: int, mint: Mint) -> list[Written]:
    base = group << 16
    return [
        numbers(base | 0x0010, "US", 8),
        numbers(base | 0x0011, "US", 24),
        text(base | 0x0022, "LO", mint.text(f"({group:04X},0022)")),
        text(base | 0x0040, "CS", "G"),
        text(base | 0x0045, "LO", mint.text(f"({group:04X},0045)")),
        numbers(base | 0x0050, "SS", 1, 1),
        numbers(base | 0x0100, "US", 1),
        numbers(base | 0x0102, "US", 0),
        text(base | 0x1500, "LO", mint.text(f"({group:04X},1500)")),
        Element(base | 0x3000, "OB", mint.ascii(f"({group:04X},3000)", 24)),
        text(base | 0x4000, "LT", mint.text(f"({group:04X},4000)")),
    ]


@catalogue.elements("overlay", "data, label, description, subtype and comments of an overlay")
def _overlay_group(mint: Mint) -> Sequence[Written]:
    return _overlay(mint.chance.choice((0x6000, 0x6002, 0x600E, 0x601E)), mint)


@catalogue.elements("overlay: beyond the sixteenth", "overlay elements of groups 6020 to 60FE")
def _overlay_beyond(mint: Mint) -> Sequence[Written]:
    return _overlay(mint.chance.choice((0x6020, 0x6080, 0x60FE)), mint)


@catalogue.elements("overlay: odd group", "overlay elements of an odd group, which is private")
def _overlay_odd(mint: Mint) -> Sequence[Written]:
    return [text(0x60010022, "LO", mint.text("(6001,0022)")), Element(0x60013000, "OB", mint.ascii("(6001,3000)", 24))]


def _plane(data: bytes, side: int = 32) -> list[Written]:
    return [
        numbers(0x60000010, "US", side),
        numbers(0x60000011, "US", side),
        text(0x60000040, "CS", "G"),
        numbers(0x60000050, "SS", 1, 1),
        numbers(0x60000100, "US", 1),
        numbers(0x60000102, "US", 0),
        Element(0x60003000, "OB", data),
    ]


@catalogue.elements("overlay: letters among its bits", "a sound overlay, a drawing with letters for some of its bytes")
def _overlay_letters(mint: Mint) -> Sequence[Written]:
    return _plane(bytes(52) + mint.ascii("(6000,3000)", 24) + b"\xff\xff" * 10 + bytes(32))


@catalogue.elements("overlay: beyond its bits", "letters behind the last row of a sound overlay")
def _overlay_behind(mint: Mint) -> Sequence[Written]:
    return _plane(bytes(60) + b"\xff" * 8 + bytes(60) + mint.ascii("(6000,3000)", 24))


@catalogue.elements("curve", "data, label, description and audio comments of a retired curve")
def _curve(mint: Mint) -> Sequence[Written]:
    base = mint.chance.choice((0x5000, 0x5002, 0x501E, 0x5080)) << 16
    return [
        numbers(base | 0x0005, "US", 1),
        numbers(base | 0x0010, "US", 12),
        text(base | 0x0022, "LO", mint.text("(50xx,0022)")),
        text(base | 0x2500, "LO", mint.text("(50xx,2500)")),
        Element(base | 0x200C, "OB", mint.ascii("(50xx,200C)", 24)),
        text(base | 0x200E, "LT", mint.text("(50xx,200E)")),
        Element(base | 0x3000, "OB", mint.ascii("(50xx,3000)", 24)),
    ]


@catalogue.elements("variable pixel data", "retired pixel data of groups 7F02 and above", depths=(0,), provable=False)
def _variable_pixels(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x7F020010, "OB", mint.ascii("(7F02,0010)", 24)),
        Element(0x7F040040, "OB", mint.ascii("(7F04,0040)", 24)),
    ]


@catalogue.elements(
    "other pixel elements", "retired coefficients and pixel data of other formats", depths=(0,), provable=False
)
def _other_pixels(mint: Mint) -> Sequence[Written]:
    return [
        Element(0x7FE00020, "OB", mint.ascii("(7FE0,0020)", 24)),
        Element(0x7FE00030, "OB", mint.ascii("(7FE0,0030)", 24)),
        Element(0x7FE00008, "OF", mint.ascii("(7FE0,0008)", 24)),
    ]


def icc_profile(mint: Mint) -> bytes:
    """A profile of two tags, description and copyright (ICC.1:2010), each a token."""
    description = mint.ascii("ICC description", 20)
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(description) + 1) + description + b"\0" * 79
    copyright_text = b"text\0\0\0\0" + mint.ascii("ICC copyright", 20) + b"\0"
    table_end = 128 + 4 + 2 * 12
    table = struct.pack(">I", 2) + b"desc" + struct.pack(">II", table_end, len(desc))
    table += b"cprt" + struct.pack(">II", table_end + len(desc), len(copyright_text))
    body = table + desc + copyright_text
    size = 128 + len(body)
    maker = mint.pieces("ICC manufacturer, model and creator", 3)
    head = struct.pack(">I", size) + b"lcms" + b"\x04\x20\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(8)
    head += maker[0] + maker[1] + bytes(24) + maker[2]
    return (head + bytes(128 - len(head)) + body).ljust(size + size % 2, b"\0")


@catalogue.elements("ICC profile", "description, copyright and makers in a colour profile")
def _icc(mint: Mint) -> Sequence[Written]:
    return [Element(0x00282000, "OB", icc_profile(mint))]


@catalogue.elements("ICC profile: behind its end", "bytes behind the size that the profile states")
def _icc_tail(mint: Mint) -> Sequence[Written]:
    return [Element(0x00282000, "OB", icc_profile(mint) + mint.ascii("behind the profile", 24))]


@catalogue.elements("look-up tables", "explanations of modality, VOI and palette tables, their UIDs")
def _tables(mint: Mint) -> Sequence[Written]:
    def table(where: str) -> list[Written]:
        return [
            numbers(0x00283002, "US", 4, 0, 8),
            text(0x00283003, "LO", mint.text(where)),
            text(0x00283004, "LO", mint.text(f"{where} type")),
            numbers(0x00283006, "US", 1, 2, 3, 4),
        ]

    return [
        sequence(0x00283000, table("(0028,3000)")),
        sequence(0x00283010, table("(0028,3010)")),
        text(0x00281199, "UI", mint.uid("(0028,1199)")),
    ]


@catalogue.elements("derivation", "free text on derivation, compression, lossy method and quality, real world labels")
def _derivation(mint: Mint) -> Sequence[Written]:
    mapping = [text(0x00283003, "LO", mint.text("(0028,3003)")), text(0x00409210, "SH", mint.text("(0040,9210)"))]
    return [
        text(0x00082111, "ST", mint.text("(0008,2111)")),
        text(0x00284000, "LT", mint.text("(0028,4000)")),
        text(0x00280303, "CS", mint.code("(0028,0303)")),
        text(0x00282114, "CS", mint.code("(0028,2114)")),
        sequence(0x00409096, mapping),
    ]
