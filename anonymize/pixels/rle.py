"""Takes out of an RLE frame what is no run of its pixels (PS3.5 Annex G): there is no metadata, but there are places.

Bytes can lie between the header and the segments, between and behind them, in segments that no sample needs and in runs
beyond the last pixel. Each segment is measured by its runs, without writing a pixel.
"""

from struct import Struct

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.words import Bytes

_HEADER = Struct("<16I")


def strip_rle(stream: memoryview, segments: int, segment_pixels: int) -> tuple[Bytes, ...] | None:
    """Give a frame of so many segments, each of `segment_pixels` bytes decoded, with its runs only.

    None if there is nothing to take out. Raises `MalformedPixels` for another number of segments or too few bytes.
    """
    if len(stream) < _HEADER.size:
        raise _malformed("the header is cut off")
    count, *offsets = _HEADER.unpack_from(stream)
    if count != segments or any(offsets[count:]):
        raise _malformed("the header does not have one segment for each byte of a pixel, and nothing else")
    starts = offsets[:count]
    if starts != sorted(set(starts)) or starts[0] < _HEADER.size:
        raise _malformed("the segments overlap")
    ends = [
        _end(stream, start, limit, segment_pixels)
        for start, limit in zip(starts, [*starts[1:], len(stream)], strict=True)
    ]
    if _is_tight(stream, starts, ends):
        return None
    pieces: list[Bytes] = []
    position, moved = _HEADER.size, []
    for start, end in zip(starts, ends, strict=True):
        moved.append(position)
        padding = (end - start) & 1
        pieces += [stream[start:end], bytes(padding)]
        position += end - start + padding
    return (_HEADER.pack(count, *moved, *[0] * (15 - count)), *pieces)


def _end(stream: memoryview, start: int, limit: int, pixels: int) -> int:
    """Where the runs of a segment end: with its last pixel."""
    position, produced = start, 0
    while produced < pixels:
        if position >= limit:
            raise _malformed("a segment has fewer bytes than the image")
        run = stream[position]
        if run < 128:
            produced += run + 1
            position += run + 2
        else:
            produced += 257 - run if run > 128 else 0
            position += 2 if run > 128 else 1
    if produced > pixels or position > limit:
        raise _malformed("a run goes beyond the image")
    return position


def _is_tight(stream: memoryview, starts: list[int], ends: list[int]) -> bool:
    """Whether one segment begins where another ends, but for a byte of padding."""
    follows = [*starts[1:], len(stream)]
    gaps = (bytes(stream[end:following]) for end, following in zip(ends, follows, strict=True))
    return starts[0] == _HEADER.size and all(gap in (b"", b"\0") for gap in gaps)


def _malformed(what: str) -> MalformedPixels:
    return MalformedPixels(PixelReason.MALFORMED_CODESTREAM, f"RLE: {what}")
