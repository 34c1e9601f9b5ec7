"""Frames of native pixel data as arrays over their bytes: to look at, and to blank in (PS3.3 C.7.6.3.1, PS3.5 8.2).

A frame that is not blanked is passed on as a view of the received bytes; one that is, as a copy of that frame alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.image import ImageDescription, Region
from anonymize.pixels.words import Bytes, clean_bitmap, clean_words, has_unused_bits

Pixels = npt.NDArray[Any]
"""Stored values of one frame, (rows, columns) or (rows, columns, 3)."""


class NativeFrames:
    """The frames of one native image. Unused bits and bytes after the last frame are cleared (see `words`)."""

    def __init__(self, value: memoryview, image: ImageDescription) -> None:
        self._image = image
        self._bits = image.frame_samples * image.frames * image.bits_allocated
        self._length = (self._bits + 7) // 8
        if len(value) < self._length:
            raise MalformedPixels(PixelReason.WRONG_LENGTH, "it is shorter than its frames")
        self._size = self._length // image.frames
        self._value = value
        self._blanked: dict[int, bytearray] = {}  # by frame; of one-bit pixels, all of the value as frame -1

    def pixels(self, index: int) -> Pixels:
        """One frame's stored values, (rows, columns) or (rows, columns, 3), blanked where it was.

        Subsampled colour: the luminance alone.
        """
        image = self._image
        if image.bits_allocated == 1:
            return self._bit_frame(index)
        laid_out = _laid_out(np.frombuffer(self._frame(index), dtype=_dtype(image)), image)
        return laid_out[:, :, :2].reshape(image.rows, image.columns) if image.subsampled else laid_out

    def blank(self, index: int, regions: Sequence[Region], background: Sequence[int]) -> None:
        """Set every pixel of `regions` to `background`, a value a sample."""
        image = self._image
        if image.bits_allocated == 1:
            self._blank_bits(index, regions, background[0])
            return
        frame = self._blanked.setdefault(index, bytearray(self._frame(index)))
        laid_out = _laid_out(np.frombuffer(frame, dtype=_dtype(image)), image)
        for region in regions:
            rows = slice(region.y, region.bottom)
            if image.subsampled:  # both pixels of a pair: they share their colour
                luminance, *colours = background
                laid_out[rows, region.x // 2 : (region.right + 1) // 2] = (luminance, luminance, *colours)
            else:
                laid_out[rows, region.x : region.right] = background if image.samples_per_pixel == 3 else background[0]

    def pieces(self) -> tuple[Bytes, ...]:
        """The value as it may be passed on, of even length; the very object that came in if nothing was to be done."""
        pieces: list[Bytes] = []
        since = 0
        for start, end, changed in self._changes():
            pieces += [piece for piece in (self._value[since:start], changed) if len(piece)]
            since = end
        padding = bytes(self._length & 1)
        if not pieces and self._value[self._length :] == padding:
            return (self._value,)
        return tuple(piece for piece in (*pieces, self._value[since : self._length], padding) if len(piece))

    def _changes(self) -> Iterator[tuple[int, int, Bytes]]:
        """Yield (start, end, what to write there instead) in the order of the bytes."""
        image = self._image
        if image.bits_allocated == 1:
            received = self._bit_value()
            cleaned = clean_bitmap(received, self._bits)
            if cleaned is not received or self._blanked:
                yield 0, self._length, cleaned
            return
        for index in range(image.frames) if has_unused_bits(image) else sorted(self._blanked):
            start, end = index * self._size, (index + 1) * self._size
            received = self._value[start:end]
            changed = self._blanked.get(index) or clean_words(received, image)
            if changed is not received:
                yield start, end, changed

    def _frame(self, index: int) -> Bytes:
        received = self._value[index * self._size : (index + 1) * self._size]
        return self._blanked.get(index) or clean_words(received, self._image)

    def _bit_value(self) -> memoryview:
        return memoryview(self._blanked.get(-1) or self._value)[: self._length]

    def _bit_frame(self, index: int) -> Pixels:
        first = index * self._image.frame_samples
        last = first + self._image.frame_samples
        packed = np.frombuffer(self._bit_value()[first // 8 : (last + 7) // 8], dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[first % 8 :][: last - first]
        return bits.reshape(self._image.rows, self._image.columns)

    def _blank_bits(self, index: int, regions: Sequence[Region], value: int) -> None:
        packed = self._blanked.setdefault(-1, bytearray(self._value[: self._length]))
        for region in regions:
            for row in range(region.y, region.bottom):
                first = index * self._image.frame_samples + row * self._image.columns + region.x
                for bit in range(first, first + region.width):
                    mask = 1 << (bit & 7)
                    packed[bit >> 3] = packed[bit >> 3] | mask if value else packed[bit >> 3] & ~mask


def _dtype(image: ImageDescription) -> np.dtype[Any]:
    kind = "f" if image.float_bytes else "i" if image.pixel_representation else "u"
    return np.dtype(f"{'>' if image.big_endian else '<'}{kind}{image.bits_allocated // 8}")


def _laid_out(samples: Pixels, image: ImageDescription) -> Pixels:
    """A frame's samples by row and column, as a view whatever the Planar Configuration (C.7.6.3.1.3)."""
    if image.subsampled:
        return samples.reshape(image.rows, image.columns // 2, 4)  # Y Y Cb Cr
    if image.samples_per_pixel == 1:
        return samples.reshape(image.rows, image.columns)
    if image.planar_configuration:
        return np.moveaxis(samples.reshape(3, image.rows, image.columns), 0, 2)
    return samples.reshape(image.rows, image.columns, 3)
