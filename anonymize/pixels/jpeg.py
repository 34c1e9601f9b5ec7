"""Takes metadata out of JPEG and JPEG-LS codestreams without decoding (ISO/IEC 10918-1 B, 14495-1 C).

Comments and application segments go, and whatever stands after the end of the image; entropy-coded bytes are passed on
as views. Three application segments say how to decode and are written anew, with that and nothing else in them:

- APP0 JFIF: the components are YCbCr. Its thumbnail and density go.
- APP14 Adobe: which colour transform was used.
- APP8 mrfx (JPEG-LS): which reversible colour transform was used; without it CharLS decodes other pixels.
"""

import re
from collections.abc import Iterator
from typing import Final

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.words import Bytes

_START, _END, _SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOFn, and SOF55 of JPEG-LS
_LENGTHS: Final = {0xDC: 4, 0xDD: 4, 0xDF: 3}  # DNL, DRI, EXP
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB, 0xDE, 0xF8})  # DHT, DAC, DQT, DHP, LSE
_APPLICATION: Final = range(0xE0, 0xF0)

_JFIF: Final = b"\xff\xe0\0\x10JFIF\0\1\2\0\0\1\0\1\0\0"
_ADOBE: Final = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_MRFX: Final = b"\xff\xe8\0\7mrfx"

_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # after a scan; restarts are part of it
_NEXT_MARKER_LS: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # there, a stuffed byte is any below 0x80


def strip_jpeg(stream: memoryview) -> tuple[Bytes, ...] | None:
    """Give the pieces of `stream` without metadata, None where it has none and can stay as it is.

    Raises `MalformedPixels` for a stream that does not end, and for segments whose length does not fit their kind: the
    room left in them could hold anything.
    """
    pieces: list[Bytes] = []
    kept_from = 0
    end = 0
    for marker, start, end in _segments(stream):
        kept = _kept(marker, stream[start:end])
        if kept is None:
            continue
        pieces += [piece for piece in (stream[kept_from:start], kept) if len(piece)]
        kept_from = end
    rest = stream[end:]
    if not pieces and (not len(rest) or (bytes(rest) == b"\0" and not len(stream) & 1)):
        return None
    return (*pieces, stream[kept_from:end])


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


def _segments(stream: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment up to the end of the image; a scan takes its coded bytes with it."""
    if bytes(stream[:2]) != b"\xff\xd8":
        raise _malformed("it does not begin as JPEG does")
    position, lossless_ls = 2, False
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
            yield marker, start, position
            return
        length = int.from_bytes(stream[position : position + 2], "big")
        end = position + length
        if end > len(stream):
            break
        lossless_ls = lossless_ls or marker == 0xF7
        _check(marker, length, stream[position + 2 : end])
        if marker == _SCAN:
            found = (_NEXT_MARKER_LS if lossless_ls else _NEXT_MARKER).search(stream, end)
            if found is None:
                break
            end = found.start()
            while stream[end - 1] == 0xFF and end - 1 > position:  # fill bytes belong to the marker
                end -= 1
        yield marker, start, end
        position = end
    raise _malformed("it has no end")


def _check(marker: int, length: int, content: memoryview) -> None:
    """Refuse markers that no codestream has, and segments longer than what they say that they hold."""
    if marker in _FRAMES:
        sound = length >= 11 and length == 8 + 3 * content[5]
    elif marker == _SCAN:
        sound = length >= 8 and length == 6 + 2 * content[0]
    elif marker in _LENGTHS:
        sound = length == _LENGTHS[marker]
    else:
        sound = length >= 2 and (marker in _TABLES or marker in _APPLICATION or marker == _COMMENT)
    if not sound:
        raise _malformed("a segment is not of the length, or not of a kind, that the standard knows")


def _malformed(what: str) -> MalformedPixels:
    return MalformedPixels(PixelReason.MALFORMED_CODESTREAM, f"JPEG: {what}")
