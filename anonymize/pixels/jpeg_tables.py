"""Which of the tables of a JPEG codestream its scans use (ISO/IEC 10918-1 B.2.4): no decoder reads the others, so that
they can hold anything, and go. A table that is defined again before a scan used it is one of those.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

QUANTIZATION, HUFFMAN, CONDITIONING = 0xDB, 0xC4, 0xCC
TABLES: Final = frozenset({QUANTIZATION, HUFFMAN, CONDITIONING})
FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - TABLES - {0xC8}  # SOFn, and SOF55 of JPEG-LS
SCAN: Final = 0xDA

_ARITHMETIC: Final = frozenset(range(0xC9, 0xD0)) - {CONDITIONING}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})  # scan a component more than once
_AC: Final = 0x10  # of the class and number of a table of Huffman codes or of conditioning


class Segment(NamedTuple):
    """A marker segment of a codestream; `content` begins after its length."""

    marker: int
    start: int
    end: int
    content: bytes


class _Table(NamedTuple):
    """A table of a segment: its class and number, and its bytes there."""

    name: int
    value: bytes


def without_unused(segments: Iterable[Segment]) -> dict[int, bytes] | None:
    """Give, by their start, what takes the place of segments of which not all tables are used.

    None where a segment holds something else than tables, or a scan has components that the frame lacks or that have
    been scanned.
    """
    frame = b""
    kind = 0
    now: dict[tuple[int, int], tuple[int, int]] = {}
    held: dict[int, tuple[int, list[_Table]]] = {}
    used: set[tuple[int, int] | None] = set()
    scanned: set[int] = set()
    for marker, start, _, content in segments:
        if marker in TABLES:
            tables = list(_tables(marker, content))
            if b"".join(table.value for table in tables) != content:
                return None
            held[start] = (marker, tables)
            now |= {(marker, table.name): (start, number) for number, table in enumerate(tables)}
        elif marker in FRAMES:
            kind, frame = marker, content
        elif marker == SCAN:
            components = content[1 : 1 + 2 * content[0] : 2]
            selectors = content[2 : 2 + 2 * content[0] : 2]
            quantized = {frame[at]: frame[at + 2] for at in range(6, len(frame), 3)}
            if not quantized.keys() >= set(components) or (kind not in _PROGRESSIVE and scanned & set(components)):
                return None
            scanned.update(components)
            entropy = CONDITIONING if kind in _ARITHMETIC else HUFFMAN
            used |= {now.get((QUANTIZATION, quantized[component])) for component in components}
            used |= {now.get((entropy, selector >> 4)) for selector in selectors}
            used |= {now.get((entropy, _AC | selector & 15)) for selector in selectors}
    return {
        start: _written(marker, kept)
        for start, (marker, tables) in held.items()
        if (kept := [table for number, table in enumerate(tables) if (start, number) in used]) != tables
    }


def _tables(marker: int, content: bytes) -> Iterator[_Table]:
    """The tables of a segment, as far as it holds such."""
    at = 0
    while at < len(content):
        name, size = content[at], 2
        if marker == QUANTIZATION:
            name, size = name & 15, 1 + 64 * (1 + (name >> 4))
        elif marker == HUFFMAN:
            size = 17 + sum(content[at + 1 : at + 17])
            symbols = content[at + 17 : at + size]
            if len(set(symbols)) != len(symbols):
                return
        if at + size > len(content) or name & 0xEC:
            return
        yield _Table(name, content[at : at + size])
        at += size


def _written(marker: int, tables: list[_Table]) -> bytes:
    value = b"".join(table.value for table in tables)
    return bytes([0xFF, marker]) + (2 + len(value)).to_bytes(2, "big") + value if tables else b""
