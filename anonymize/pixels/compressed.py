"""Frames of compressed pixel data: decoded one at a time, and native once one of them is blanked.

Blanked images are left native, in Explicit VR Little Endian, rather than encoded again: every reader reads it, no
encoder has to be trusted, and what follows here is a model that decodes them anyway. It costs space: an ultrasound
clip becomes some 10 times as large. Colour is left as RGB, which is how all decoders here give it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.fragments import Encapsulated
from anonymize.pixels.image import ImageDescription, Region
from anonymize.pixels.native import Pixels
from anonymize.pixels.words import Bytes
from anonymize.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN

_LONGEST: Final = 0xFFFFFFFE
_LARGEST_FRAME: Final = 0x7FFFFFFF  # bytes; of a larger one, decoders end the process
_DECODED_BY: Final = (  # pydicom's options, which are named as what they describe
    *("rows", "columns", "samples_per_pixel", "photometric_interpretation", "planar_configuration"),
    *("bits_allocated", "bits_stored", "pixel_representation"),
)


class CompressedFrames:
    """The frames of one compressed image. Raises `MalformedPixels` where a frame cannot be decoded."""

    def __init__(self, received: Encapsulated, image: ImageDescription) -> None:
        self._received = received
        self._image = image
        self._blanked: dict[int, Pixels] = {}
        if image.frames * image.rows * image.columns * image.samples_per_pixel * image.bits_allocated // 8 > _LONGEST:
            raise MalformedPixels(PixelReason.TOO_LONG, "decoded it would not fit an element")

    @property
    def native_image(self) -> ImageDescription:
        """What describes the frames once they are decoded."""
        image = self._image
        colour = image.samples_per_pixel == 3
        return replace(
            image,
            transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
            photometric_interpretation="RGB" if colour else image.photometric_interpretation,
            planar_configuration=0,
            high_bit=image.bits_stored - 1,
        )

    def pixels(self, index: int) -> Pixels:
        """One frame's values, (rows, columns) or (rows, columns, 3) RGB, blanked where it was."""
        if (blanked := self._blanked.get(index)) is not None:
            return blanked
        return self._decoded(index)

    def blank(self, index: int, regions: Sequence[Region], background: Sequence[int]) -> None:
        """Set every pixel of `regions` to `background`, a value a sample."""
        frame = self._blanked.setdefault(index, self.pixels(index).copy())
        for region in regions:
            colour = background if self._image.samples_per_pixel == 3 else background[0]
            frame[region.y : region.bottom, region.x : region.right] = colour

    def pieces(self) -> tuple[Bytes, ...]:
        """The native value, of even length, little endian; a frame is decoded again rather than kept."""
        frames = [self.pixels(index).astype(self._dtype, copy=False).tobytes() for index in range(self._image.frames)]
        return (*frames, b"\0") if sum(map(len, frames)) & 1 else tuple(frames)

    @property
    def _dtype(self) -> np.dtype[np.generic]:
        kind = "i" if self._image.pixel_representation else "u"
        return np.dtype(f"<{kind}{self._image.bits_allocated // 8}")

    def _decoded(self, index: int) -> Pixels:
        image = self._image
        if image.rows * image.columns * image.samples_per_pixel * image.bits_allocated // 8 > _LARGEST_FRAME:
            raise MalformedPixels(PixelReason.UNDECODABLE, "a frame is larger than decoders can count")
        shape = (image.rows, image.columns, 3) if image.samples_per_pixel == 3 else (image.rows, image.columns)
        source = encapsulate([bytes(self._received.frame(index))], has_bot=False)
        options: Any = {name: getattr(image, name) for name in _DECODED_BY} | {"number_of_frames": 1}
        try:
            array, properties = get_decoder(UID(image.transfer_syntax_uid)).as_array(source, index=0, **options)
        except Exception as error:  # noqa: BLE001 decoders raise anything; here it only means that nobody can look
            raise MalformedPixels(PixelReason.UNDECODABLE, f"the decoder raised {type(error).__name__}") from None
        wrong_colour = image.samples_per_pixel == 3 and properties["photometric_interpretation"] != "RGB"
        if array.shape != shape or wrong_colour:
            raise MalformedPixels(PixelReason.UNDECODABLE, "decoded it is not the image that was described")
        return array
