"""Clears what lies in native pixel data beside the pixels: unused bits of words, and bytes after the last frame.

Bits outside Bits Stored (PS3.5 8.1.1) are free to hold anything, overlay planes among them (retired, (60xx,0102) not
below Bits Stored). A value keeps its meaning: of signed pixels, the high bits become copies of the sign bit.
"""

import numpy as np
import numpy.typing as npt

from anonymize.pixels.image import ImageDescription

Bytes = bytes | bytearray | memoryview


def has_unused_bits(image: ImageDescription) -> bool:
    """Whether words of this image have bits that are no part of a pixel."""
    return not image.float_bytes and image.bits_stored < image.bits_allocated


def clean_words(words: Bytes, image: ImageDescription) -> Bytes:
    """Clear the unused bits of `words`, whole words in the byte order of `image`.

    Gives back the very object where there is nothing to clear, else a copy. A look at a 512x512 CT takes about 15 µs.
    """
    if not has_unused_bits(image):
        return words
    order = ">" if image.big_endian else "<"
    size = image.bits_allocated // 8
    values = np.frombuffer(words, dtype=f"{order}{'i' if image.pixel_representation else 'u'}{size}")
    if _are_clean(values, image):
        return words
    return _cleaned(values, image).tobytes()


def _are_clean(values: npt.NDArray[np.integer], image: ImageDescription) -> bool:
    """Whether no unused bit says anything. The extremes tell it of the usual layout, and are quick to find."""
    if not values.size:
        return True
    if image.high_bit != image.bits_stored - 1:
        return bool(np.array_equal(values, _cleaned(values, image)))
    if image.pixel_representation:
        limit = 1 << (image.bits_stored - 1)
        return bool(-limit <= values.min() and values.max() < limit)
    return bool(values.max() < 1 << image.bits_stored)


def _cleaned(values: npt.NDArray[np.integer], image: ImageDescription) -> npt.NDArray[np.integer]:
    """Shift the pixel up to the highest bit and back, which clears or signs the bits above, and those below."""
    above = image.bits_allocated - 1 - image.high_bit
    below = image.high_bit + 1 - image.bits_stored
    cleaned = np.left_shift(values, above)
    np.right_shift(cleaned, above + below, out=cleaned)
    np.left_shift(cleaned, below, out=cleaned)
    clean: npt.NDArray[np.integer] = cleaned.astype(values.dtype, copy=False)
    return clean


def clean_bitmap(bitmap: Bytes, bits: int) -> Bytes:
    """Clear what follows the last of `bits` one-bit pixels in its byte (PS3.5 8.1.1: lowest bit first)."""
    last, used = divmod(bits, 8)
    if not used or not bitmap[last] >> used:
        return bitmap
    return bytes(bitmap[:last]) + bytes([bitmap[last] & ((1 << used) - 1)]) + bytes(bitmap[last + 1 :])
