"""One ICC profile of sRGB (IEC 61966-2-1) as an input device (ISO 15076-1), for IODs that demand a profile.

A device's own profile holds text, dates and tables that nothing here proves, so it never stays; readers that find
none take colours for sRGB. The same bytes each time: what they say is public.
"""

from struct import pack
from typing import Final

_WHITE: Final = (0.9642, 1.0, 0.8249)  # D50, to which all that follows is adapted
_PRIMARIES: Final = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
_ADAPTATION: Final = (1.04788, 0.02292, -0.05022, 0.02959, 0.99048, -0.01707, -0.00925, 0.01508, 0.75168)
_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_HEADER_BYTES: Final = 128
_VERSION: Final = 0x04200000


def _fixed(*numbers: float) -> bytes:
    return b"".join(pack(">i", round(number * 65536)) for number in numbers)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded), 28) + encoded


def _profile() -> bytes:
    tags = {
        b"desc": _text("sRGB"),
        b"cprt": _text("None"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_WHITE),
        b"chad": b"sf32\0\0\0\0" + _fixed(*_ADAPTATION),
        **{
            name: b"XYZ \0\0\0\0" + _fixed(*xyz)
            for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _PRIMARIES, strict=True)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"para\0\0\0\0\0\3\0\0" + _fixed(*_CURVE)),
    }
    table, content = pack(">I", len(tags)), b""
    start = _HEADER_BYTES + len(table) + 12 * len(tags)
    for name, value in tags.items():
        table += pack(">4sII", name, start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = pack(">I4xI4s4s4s", start + len(content), _VERSION, b"scnr", b"RGB ", b"XYZ ")
    head += pack(">6H4s28x", 2000, 1, 1, 0, 0, 0, b"acsp") + _fixed(*_WHITE)
    return head.ljust(_HEADER_BYTES, b"\0") + table + content


SRGB: Final = _profile()
"""The profile, of even length."""
