"""Takes metadata out of JPEG 2000 and HTJ2K codestreams without decoding (ISO/IEC 15444-1 A and I).

Comments of the main header go, and what only says where components and packets are (CRG, PLM, and TLM that is not
true); those of tile-parts are overwritten with zeros, so that the lengths that SOT and TLM hold stay true, and packet
lengths (PLT) become such comments. Packed packet headers, which nobody writes into images, are refused. Of a JP2 file,
which PS3.5 A.4.4 does not foresee but devices write, only the boxes that decoding needs stay, and a colour profile
becomes the enumerated colour space: what is decoded are samples, to which DICOM's own Photometric Interpretation
applies.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.image import Shape
from anonymize.pixels.jpeg2000_segments import (
    TILE_LENGTHS,
    Header,
    TilePart,
    components_of,
    is_sound,
    most_levels,
    shape_of,
    tells_tile_parts,
    tiles_of,
)
from anonymize.pixels.words import Bytes

_COMMENT, _TILE_PART, _DATA = 0x64, 0x90, 0x93
_WHERE: Final = frozenset({0x57, 0x58, 0x63, _COMMENT})  # PLM, PLT, CRG
_MAIN: Final = frozenset({*range(0x50, 0x54), 0x55, 0x56, 0x57, 0x59, *range(0x5C, 0x60), 0x63, _COMMENT})
_TILE: Final = frozenset({0x52, 0x53, 0x58, 0x5C, 0x5D, 0x5E, 0x5F, _COMMENT})
_END: Final = re.compile(rb"\xff\xd9")  # packets hold no byte pair above FF8F

_BOXES: Final = frozenset({b"jP  ", b"ftyp"})
_HEADER_BOXES: Final = frozenset({b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef"})
_ENUMERATED: Final = {1: 17, 3: 16}  # components to the colour space of that name: greyscale, sRGB (I.5.3.3)


def strip_jpeg2000(stream: memoryview, shape: Shape | None = None) -> tuple[Bytes, ...] | None:
    """Give the pieces of `stream` (a codestream or a JP2 file) without metadata, None where it can stay as it is.

    Raises `MalformedPixels` for markers, lengths and boxes that do not fit, and for another `shape` where one is given.
    """
    if bytes(stream[4:8]) == b"jP  ":
        file = _strip_file(stream, shape)
        length = sum(map(len, file))
        return None if b"".join(file) + bytes(length & 1) == stream else file
    pieces, used = _strip_codestream(stream, shape)
    rest = stream[used:]
    if pieces is None and (not len(rest) or (bytes(rest) == b"\0" and not len(stream) & 1)):
        return None
    return pieces if pieces is not None else (stream[:used],)


def _strip_codestream(stream: memoryview, shape: Shape | None) -> tuple[tuple[Bytes, ...] | None, int]:
    """The pieces without metadata (None where nothing was to be taken out), and how many bytes the codestream takes."""
    if bytes(stream[:4]) != b"\xff\x4f\xff\x51":
        raise _malformed("it does not begin as a codestream does")
    cuts: list[tuple[int, int, bytes]] = []
    main = list(_markers(stream, 2, _MAIN))
    position = main[-1][2]
    if bytes(stream[position : position + 2]) != b"\xff\x90":
        raise _malformed("no tile-part follows the header")
    contents = [(marker, bytes(stream[start + 4 : end])) for marker, start, end in main if marker not in _WHERE]
    components = components_of(contents[0][1])
    levels = most_levels(contents, components)
    _check(Header(contents, components), levels)
    if shape not in (None, shape_of(contents[0][1])):
        raise _malformed("its image is not as large as the one described")
    parts: list[TilePart] = []
    while bytes(stream[position : position + 2]) == b"\xff\x90":
        start, position = position, _tile_part_end(stream, position)
        segments = list(_markers(stream, start + 12, _TILE))
        within = [(marker, bytes(stream[first + 4 : last])) for marker, first, last in segments if marker not in _WHERE]
        _check(Header(within, components), max(levels, most_levels(within, components)))
        tile = int.from_bytes(stream[start + 4 : start + 6], "big")
        parts.append(TilePart(tile, position - start))
        cuts += [
            (first, last, _blank(stream[first:last]))
            for marker, first, last in segments
            if marker in _WHERE and (marker != _COMMENT or any(stream[first + 4 : last]))
        ]
    if max(part.tile for part in parts) >= tiles_of(contents[0][1]):
        raise _malformed("a tile-part is of no tile of the image")
    if bytes(stream[position : position + 2]) == b"\xff\xd9":
        position += 2
    elif len(stream) - position > 1 or any(stream[position:]):  # some encoders leave the end out
        raise _malformed("bytes after the last tile-part")
    told = tells_tile_parts([content for marker, content in contents if marker == TILE_LENGTHS], parts)
    cuts += [
        (start, end, b"") for marker, start, end in main if marker in _WHERE or (marker == TILE_LENGTHS and not told)
    ]
    return _without(stream[:position], sorted(cuts)) if cuts else None, position


def _without(stream: memoryview, cuts: Sequence[tuple[int, int, bytes]]) -> tuple[Bytes, ...]:
    """The pieces of `stream` with something else in the place of `cuts`: start, end, and what."""
    pieces: list[Bytes] = []
    kept_from = 0
    for start, end, instead in cuts:
        pieces += [stream[kept_from:start], instead]
        kept_from = end
    return tuple(piece for piece in (*pieces, stream[kept_from:]) if len(piece))


def _check(header: Header, levels: int) -> None:
    if not is_sound(header, levels):
        raise _malformed("a marker segment is not as long as it says, of no component, or there too often")


def _blank(segment: memoryview) -> bytes:
    """A comment of zeros, as long as `segment`."""
    if len(segment) < 6:
        raise _malformed("a marker segment of a tile-part is too short to hold anything")
    return b"\xff\x64" + bytes(segment[2:4]) + bytes(len(segment) - 4)


def _markers(stream: memoryview, position: int, known: frozenset[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments of a header, up to what ends it."""
    while position + 4 <= len(stream):
        marker = stream[position + 1]
        if stream[position] != 0xFF:
            raise _malformed("bytes between two marker segments")
        if marker in (_TILE_PART, _DATA):
            return
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        end = position + 2 + length
        if marker not in known or length < 3 or end > len(stream):
            raise _malformed("a marker segment is too long, or of a kind that the standard does not know there")
        yield marker, position, end
        position = end
    raise _malformed("a header has no end")


def _tile_part_end(stream: memoryview, start: int) -> int:
    """Where a tile-part ends: where SOT says, or at the end of the codestream if it says 0 (A.4.2)."""
    length = int.from_bytes(stream[start + 6 : start + 10], "big")
    if length:
        end = start + length
        if length < 14 or end > len(stream) or bytes(stream[start + 2 : start + 4]) != b"\0\x0a":
            raise _malformed("a tile-part is longer than the codestream")
        return end
    found = _END.search(stream, start + 12)
    if found is None:
        raise _malformed("it has no end")
    return found.start()


def _strip_file(stream: memoryview, shape: Shape | None) -> tuple[Bytes, ...]:
    pieces: list[Bytes] = []
    for kind, box, content in _boxes(stream):
        if kind == b"jp2c":
            codestream, used = _strip_codestream(content, shape)
            kept = codestream if codestream is not None else (content[:used],)
            return (*pieces, _box_head(kind, kept), *kept)
        if kind == b"jp2h":
            header = _header_boxes(content)
            pieces += [_box_head(kind, (header,)), header]
        elif kind in _BOXES:
            pieces.append(box)
    raise _malformed("a JP2 file without codestream")


def _header_boxes(header: memoryview) -> bytes:
    """What stays of the header box: colour is told by one enumerated colour space (I.5.3)."""
    boxes = [(name, bytes(box), content) for name, box, content in _boxes(header)]
    kept = [(box, content) for name, box, content in boxes if name in _HEADER_BOXES]
    enumerated = [box for name, box, content in boxes if name == b"colr" and len(content) == 7 and content[0] == 1]
    if not boxes or boxes[0][0] != b"ihdr" or len(boxes[0][2]) != 14:
        raise _malformed("the header box does not begin with the image's")
    colour_space = _ENUMERATED.get(int.from_bytes(boxes[0][2][8:10], "big"))
    if not enumerated and colour_space is None:
        raise _malformed("the colour space is told by a profile alone")
    colour = enumerated[0] if enumerated else b"\0\0\0\x0fcolr\1\0\0" + int(colour_space or 0).to_bytes(4, "big")
    return b"".join([kept[0][0], colour, *(box for box, _ in kept[1:])])


def _box_head(kind: bytes, content: tuple[Bytes, ...]) -> bytes:
    return (8 + sum(map(len, content))).to_bytes(4, "big") + kind


def _boxes(stream: memoryview) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Yield (kind, box, content) of each box (I.4)."""
    position = 0
    while position + 8 <= len(stream):
        length, head = int.from_bytes(stream[position : position + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(stream[position + 8 : position + 16], "big"), 16
        end = position + length if length else len(stream)
        if length and (length < head or end > len(stream)):
            raise _malformed("a box is longer than what it lies in")
        yield bytes(stream[position + 4 : position + 8]), stream[position:end], stream[position + head : end]
        position = end


def _malformed(what: str) -> MalformedPixels:
    return MalformedPixels(PixelReason.MALFORMED_CODESTREAM, f"JPEG 2000: {what}")
