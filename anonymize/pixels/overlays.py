"""Cleans an overlay plane, a bitmap of its own over an image (PS3.3 C.9.2): the Clean Graphics Option of PS3.15 E.3.

Drawing stays, text goes, by the same detector and markers as in an image. A plane that cannot be proven clean is for
the caller to remove: it is a note on the image, which means the same without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from anonymize.pixels.detection import Detection, TextDetector
from anonymize.pixels.image import Region
from anonymize.pixels.looking import Looker, Pictures, to_blank
from anonymize.pixels.text_policy import TextPolicy
from anonymize.spelled import LEAST_BYTES, spells_text

OVERLAY_DATA: Final = 0x3000  # of group 60xx, as all here
_ROWS, _COLUMNS, _FRAMES, _TYPE = 0x0010, 0x0011, 0x0015, 0x0040
_BITS_ALLOCATED, _BIT_POSITION = 0x0100, 0x0102

_LOOKS: Final = 3
_Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class OverlayPlane:
    """Bits by frame, row and column, shape (frames, rows, columns), 0 or 1."""

    bits: _Bits = field(repr=False)

    @classmethod
    def read(cls, values: Mapping[int, bytes], vr: str | None, order: str) -> Self | None:
        """Read one plane: raw values by element number, the VR and the byte order ("<" or ">") of its data.

        None for what is no plane of one bit in data of its own: retired ones in the unused bits of pixels, data that is
        too short, types that there are not.
        """
        byte_order: Literal["little", "big"] = "little" if order == "<" else "big"

        def number(element: int) -> int:
            value = values.get(element, b"")
            return int.from_bytes(value, byte_order) if len(value) == 2 else -1

        frames = bytes(values.get(_FRAMES, b"")).strip(b" \0") or b"1"
        rows, columns, data = number(_ROWS), number(_COLUMNS), values.get(OVERLAY_DATA, b"")
        is_plane = number(_BITS_ALLOCATED) == 1 and number(_BIT_POSITION) == 0
        if not is_plane or bytes(values.get(_TYPE, b"")).strip(b" \0") not in (b"G", b"R"):
            return None
        if rows < 1 or columns < 1 or not frames.isdigit() or not 0 < int(frames) <= 1 << 16:
            return None
        wanted = int(frames) * rows * columns
        if len(data) & 1 or len(data) * 8 < wanted:
            return None
        swapped = order == ">" and vr != "OB"  # words of bits, lowest first (PS3.5 8.1.2)
        raw = np.frombuffer(data, ">u2").astype("<u2").view(np.uint8) if swapped else np.frombuffer(data, np.uint8)
        bits = np.unpackbits(raw[: (wanted + 7) // 8], bitorder="little")[:wanted]
        return cls(bits.reshape(int(frames), rows, columns))

    def encoded(self, vr: str | None, order: str) -> bytes:
        """The value of Overlay Data, with nothing behind the last bit."""
        packed = np.packbits(self.bits.reshape(-1), bitorder="little").tobytes()
        packed += bytes(len(packed) & 1)
        return np.frombuffer(packed, "<u2").astype(">u2").tobytes() if order == ">" and vr != "OB" else packed

    def cleaned(self, policy: TextPolicy, detector: TextDetector) -> "OverlayPlane | None":
        """The plane without its texts but markers; None if a text is left, or its bytes spell one."""
        plane, looker = OverlayPlane(self.bits.copy()), Looker(detector)
        found: dict[int, list[Region]] = {}
        for frame in range(len(plane.bits)):
            if texts := to_blank(looker.look(plane._pictures(frame)), policy.markers):
                found[frame] = plane._clear(frame, texts, policy.margin)
        for look in range(2, _LOOKS + 1):
            last, found = found, {}
            for frame, regions in last.items():
                if texts := to_blank(looker.look_around(plane._pictures(frame), regions), policy.markers):
                    found[frame] = plane._clear(frame, texts, policy.margin)
            if found and look == _LOOKS:
                return None
        return None if plane._spells() else plane

    def _pictures(self, frame: int) -> Pictures:
        """The drawing in white on black."""
        return (self.bits[frame] * np.uint8(255),)

    def _clear(self, frame: int, texts: Sequence[Detection], margin: int) -> list[Region]:
        rows, columns = self.bits.shape[1:]
        grown = [text.region.grown(margin).clipped(columns, rows) for text in texts]
        regions = [region for region in grown if region is not None]
        for region in regions:
            self.bits[frame, region.y : region.bottom, region.x : region.right] = 0
        return regions

    def _spells(self) -> bool:
        """Whether the bits, in bytes from any bit on and in either order, are those of letters."""
        flat: npt.NDArray[Any] = self.bits.reshape(-1)
        if flat.size < LEAST_BYTES * 8:
            return True  # too small a bitmap to tell a drawing from a word
        packed = (
            np.packbits(flat[start:], bitorder=order).tobytes() for start in range(8) for order in ("little", "big")
        )
        return any(spells_text(value, 1, "<") for value in packed)
