"""Takes metadata out of JPEG and JPEG-LS codestreams without decoding (ISO/IEC 10918-1 B, 14495-1 C).

Comments and application segments go, tables that no scan uses, and whatever stands after the end of the image;
entropy-coded bytes are passed on as views. Three application segments say how to decode and are written anew, with that
and nothing else in them:

- APP0 JFIF: the components are YCbCr. Its thumbnail and density go.
- APP14 Adobe: which colour transform was used.
- APP8 mrfx (JPEG-LS): which reversible colour transform was used; without it CharLS decodes other pixels.
"""

import re
from collections.abc import Iterator
from typing import Final

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.image import Shape
from anonymize.pixels.jpeg_tables import FRAMES, SCAN, TABLES, Segment, without_unused
from anonymize.pixels.words import Bytes

_END, _COMMENT, _PRESETS, _RESTARTS = 0xD9, 0xFE, 0xF8, 0xDD
_HIERARCHICAL: Final = 0xDE  # DHP, of the form of a frame
_LENGTHS: Final = {0xDC: 4, _RESTARTS: 4, 0xDF: 3}  # DNL, DRI, EXP
_CODING: Final = 1  # of the presets of JPEG-LS: parameters; the others are palettes, which DICOM keeps elsewhere
_APPLICATION: Final = range(0xE0, 0xF0)

_JFIF: Final = b"\xff\xe0\0\x10JFIF\0\1\2\0\0\1\0\1\0\0"
_ADOBE: Final = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_MRFX: Final = b"\xff\xe8\0\7mrfx"

_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")  # after a scan
_NEXT_BUT_RESTARTS: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # which are part of it, where they are announced
_NEXT_MARKER_LS: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # there, a stuffed byte is any below 0x80


def strip_jpeg(stream: memoryview, shape: Shape | None = None) -> tuple[Bytes, ...] | None:
    """Give the pieces of `stream` without metadata, None where it has none and can stay as it is.

    Raises `MalformedPixels` for a stream that does not end or has another `shape`, where one is given, and for segments
    whose length does not fit their kind: the room left in them could hold anything.
    """
    pieces: list[Bytes] = []
    kept_from = 0
    end = 0
    segments = list(_segments(stream))
    shapes = {_shape_of(segment.content) for segment in segments if segment.marker in FRAMES}
    if shape is not None and not shapes <= {shape}:
        raise _malformed("its image is not as large as the one described")
    tables = without_unused(segments)
    if tables is None:
        raise _malformed("a segment of tables that holds something else, or a scan of no component of the image")
    for marker, start, end, _ in segments:
        kept = tables[start] if start in tables else _kept(marker, stream[start:end])
        if kept is None:
            continue
        pieces += [piece for piece in (stream[kept_from:start], kept) if len(piece)]
        kept_from = end
    rest = stream[end:]
    if not pieces and (not len(rest) or (bytes(rest) == b"\0" and not len(stream) & 1)):
        return None
    return (*pieces, stream[kept_from:end])


def _shape_of(frame: bytes) -> Shape:
    return Shape(int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5])


def _kept(marker: int, segment: memoryview) -> bytes | None:
    """What is written in place of a segment, None where it stays."""
    if marker not in _APPLICATION:
        return b"" if marker == _COMMENT else None
    content = bytes(segment[4:20])
    kept = b""
    if marker == 0xE0 and content.startswith(b"JFIF\0"):
        kept = _JFIF
    elif marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
        kept = _ADOBE + content[11:12]
    elif marker == 0xE8 and content.startswith(b"mrfx") and len(content) >= 5:
        kept = _MRFX + content[4:5]
    return None if kept == segment else kept


def _segments(stream: memoryview) -> Iterator[Segment]:
    """Yield each segment up to the end of the image; a scan takes its coded bytes with it."""
    if bytes(stream[:2]) != b"\xff\xd8":
        raise _malformed("it does not begin as JPEG does")
    position, lossless_ls, after_scan = 2, False, _NEXT_MARKER
    while position + 2 <= len(stream):
        start = position
        if stream[position] != 0xFF:
            raise _malformed("bytes between two segments")
        while position < len(stream) and stream[position] == 0xFF:  # fill bytes (B.1.1.2)
            position += 1
        if position >= len(stream):
            break
        marker = stream[position]
        position += 1
        if marker == _END:
            yield Segment(marker, start, position, b"")
            return
        length = int.from_bytes(stream[position : position + 2], "big")
        end = position + length
        if end > len(stream):
            break
        content = bytes(stream[position + 2 : end])
        _check(marker, length, content)
        lossless_ls = lossless_ls or marker == 0xF7
        if marker == _RESTARTS and any(content):
            after_scan = _NEXT_BUT_RESTARTS
        if marker == SCAN:
            found = (_NEXT_MARKER_LS if lossless_ls else after_scan).search(stream, end)
            if found is None:
                break
            end = found.start()
            while stream[end - 1] == 0xFF and end - 1 > position:  # fill bytes belong to the marker
                end -= 1
        yield Segment(marker, start, end, content)
        position = end
    raise _malformed("it has no end")


def _check(marker: int, length: int, content: bytes) -> None:
    """Refuse markers that no codestream has, and segments longer than what they say that they hold."""
    if marker in FRAMES or marker == _HIERARCHICAL:
        sound = length >= 11 and length == 8 + 3 * content[5]
    elif marker == SCAN:
        sound = length >= 8 and length == 6 + 2 * content[0]
    elif marker in _LENGTHS:
        sound = length == _LENGTHS[marker]
    elif marker == _PRESETS:
        sound = length == 13 and content[0] == _CODING
    else:
        sound = length >= 2 and (marker in TABLES or marker in _APPLICATION or marker == _COMMENT)
    if not sound:
        raise _malformed("a segment is not of the length, or not of a kind, that the standard knows")


def _malformed(what: str) -> MalformedPixels:
    return MalformedPixels(PixelReason.MALFORMED_CODESTREAM, f"JPEG: {what}")
