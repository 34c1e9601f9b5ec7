"""Checks the marker segments of JPEG 2000 and HTJ2K headers (ISO/IEC 15444-1 A, 15444-15 A): each is as long as what it
says that it holds, of a component that there is, and no oftener there than the standard lets it be. Room left would
hold anything.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from anonymize.pixels.image import Shape

CAPABILITIES, SIZE, CODING, CODING_OF_COMPONENT = 0x50, 0x51, 0x52, 0x53
TILE_LENGTHS, PROFILE, CORRESPONDING_PROFILE = 0x55, 0x56, 0x59
QUANTIZATION, QUANTIZATION_OF_COMPONENT, REGION, PROGRESSION = 0x5C, 0x5D, 0x5E, 0x5F
_OF_COMPONENT: Final = frozenset({CODING_OF_COMPONENT, QUANTIZATION_OF_COMPONENT, REGION})
_OFTEN: Final = _OF_COMPONENT | {TILE_LENGTHS}
_MOST_LEVELS: Final = 32


class Header(NamedTuple):
    """Segments of one header, of the main one those before: marker, and content behind its length."""

    segments: Sequence[tuple[int, bytes]]
    components: int


class TilePart(NamedTuple):
    """What SOT says of a tile-part, and how long it is."""

    tile: int
    length: int


def tiles_of(size: bytes) -> int:
    """How many tiles the content of a SIZ segment describes."""
    width, height, left, top, tile_width, tile_height, tiles_left, tiles_top = (
        int.from_bytes(size[at : at + 4], "big") for at in (2, 6, 10, 14, 18, 22, 26, 30)
    )
    if not tile_width or not tile_height or left >= width or top >= height:
        return 0
    return -((tiles_left - width) // tile_width) * -((tiles_top - height) // tile_height)


def shape_of(size: bytes) -> Shape:
    """The shape of the image that the content of a SIZ segment describes."""
    columns, rows, left, top = (int.from_bytes(size[at : at + 4], "big") for at in (2, 6, 10, 14))
    return Shape(rows - top, columns - left, components_of(size))


def components_of(size: bytes) -> int:
    """How many components the content of a SIZ segment describes; 0 where it does not describe as many as it says."""
    count = int.from_bytes(size[34:36], "big")
    return count if count and len(size) == 36 + 3 * count else 0


def is_sound(header: Header, levels: int) -> bool:
    """Whether all segments of a header are; `levels` is the most decomposition levels that a header has said."""
    seen: set[tuple[int, int]] = set()
    width = 1 if header.components < 257 else 2  # of a component's number
    for marker, content in header.segments:
        component = int.from_bytes(content[:width], "big") if marker in _OF_COMPONENT else 0
        if component >= header.components or ((marker, component) in seen and marker != TILE_LENGTHS):
            return False
        seen.add((marker, component))
        if not _is_as_long_as_it_says(marker, content, width, levels):
            return False
    return True


def most_levels(segments: Sequence[tuple[int, bytes]], components: int) -> int:
    """The most decomposition levels that segments of coding style say."""
    width = 1 if components < 257 else 2
    styles = [content[5:6] for marker, content in segments if marker == CODING]
    styles += [content[width + 1 : width + 2] for marker, content in segments if marker == CODING_OF_COMPONENT]
    return min(max((style[0] for style in styles if style), default=0), _MOST_LEVELS)


def _is_as_long_as_it_says(marker: int, content: bytes, width: int, levels: int) -> bool:
    size = len(content)
    if marker in (CODING, CODING_OF_COMPONENT):
        at = 0 if marker == CODING else width
        style = 5 if marker == CODING else width + 1
        if size <= style:
            return False
        return size == style + 5 + (content[style] + 1 if content[at] & 1 else 0)
    if marker in (QUANTIZATION, QUANTIZATION_OF_COMPONENT):
        steps = size - 1 - (0 if marker == QUANTIZATION else width)
        if steps < 1:
            return False
        style = content[size - 1 - steps] & 31
        most = {0: 3 * levels + 1, 1: 2, 2: 6 * levels + 2}.get(style, 0)
        return steps <= most and (style == 0 or steps % 2 == 0)
    if marker == CAPABILITIES:
        return size == 4 + 2 * int.from_bytes(content[:4], "big").bit_count()
    if marker == PROGRESSION:
        return size % (5 + 2 * width) == 0 and size <= 32 * (5 + 2 * width)
    if marker in (PROFILE, CORRESPONDING_PROFILE):
        return size in (2, 4)
    return {REGION: width + 2}.get(marker, size) == size


def tells_tile_parts(segments: Sequence[bytes], parts: Sequence[TilePart]) -> bool:
    """Whether the contents of TLM segments say the numbers of the tiles, and the lengths, of the tile-parts."""
    told: list[tuple[int | None, int]] = []
    for content in segments:
        form = content[1] if len(content) > 1 else 0
        number, length = form >> 4 & 3, 2 + 2 * (form >> 6 & 1)
        entries, rest = divmod(len(content) - 2, number + length)
        if rest or number == 3 or form & 0x8F:
            return False
        for at in (2 + entry * (number + length) for entry in range(entries)):
            tile = int.from_bytes(content[at : at + number], "big") if number else None
            told.append((tile, int.from_bytes(content[at + number : at + number + length], "big")))
    return len(told) == len(parts) and all(
        length == part.length and tile in (None, part.tile) for (tile, length), part in zip(told, parts, strict=True)
    )
