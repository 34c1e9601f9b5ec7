"""Writes elements, and the Part 10 file around a data set (PS3.5 7.1, PS3.10 7.1).

The preamble and the File Meta Information are made from nothing: what a sender put there never passes through here.
"""

from collections.abc import Iterable
from typing import Final

from anonymize.elements import ITEM, SHORT_VRS, Encoding
from anonymize.pixels.words import Bytes

IMPLEMENTATION_CLASS_UID: Final = "2.25.218716263178094420837741950921534290513"
IMPLEMENTATION_VERSION_NAME: Final = "KOPRU_0"

LONGEST_SHORT_VALUE: Final = 0xFFFE  # bytes, in a VR with a 16-bit length

_WORTH_ITS_OWN: Final = 1 << 14  # bytes of a piece that takes longer to copy than to write by itself

_ZERO_PADDED: Final = frozenset({"OB", "UI", "UN"})  # the other VRs of bytes end on a blank (PS3.5 6.2)


def encode(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """Encode one element, padded to even length. `value` is already in the byte order of `encoding`."""
    if len(value) & 1:
        value += b"\0" if vr in _ZERO_PADDED else b" "
    return encode_head(tag, vr, len(value), encoding) + value


def encode_head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Encode the tag, VR and length of an element (PS3.5 7.1.2, 7.1.3)."""
    group, number = tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        return encoding.head.pack(group, number, length)
    if vr in SHORT_VRS:
        return encoding.head.pack(group, number, vr.encode(), length)
    return encoding.head.pack(group, number, vr.encode(), 0) + encoding.uint32.pack(length)


def encode_item(content: bytes, encoding: Encoding) -> bytes:
    """Encode one item of a sequence, its length defined (PS3.5 7.5.1)."""
    return encoding.item_head.pack(ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and File Meta Information of a file that holds one instance (PS3.10 Table 7.1-1)."""
    elements = (
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", sop_class_uid.encode("ascii")),
        (0x00020003, "UI", sop_instance_uid.encode("ascii")),
        (0x00020010, "UI", transfer_syntax_uid.encode("ascii")),
        (0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        (0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    )
    meta = b"".join(encode(tag, vr, value, Encoding.EXPLICIT_LITTLE) for tag, vr, value in elements)
    length = encode(0x00020000, "UL", len(meta).to_bytes(4, "little"), Encoding.EXPLICIT_LITTLE)
    return bytes(128) + b"DICM" + length + meta


def few_pieces(pieces: Iterable[Bytes]) -> tuple[Bytes, ...]:
    """The same bytes in pieces that are worth writing one by one: small ones joined, large ones as they are."""
    fewer: list[Bytes] = []
    small: list[Bytes] = []
    for piece in pieces:
        if len(piece) < _WORTH_ITS_OWN:
            small.append(piece)
            continue
        fewer += [b"".join(small), piece] if small else [piece]
        small = []
    return (*fewer, b"".join(small)) if small else tuple(fewer)
