"""Strips metadata from compressed pixel data without decoding it, each codestream by its own standard (PS3.5 A.4).

Decoded pixels never change by it. What is not known to the byte is refused: video, because user data lies in its
supplemental messages, its containers and its audio, and because no frame of it can be looked at for text; JPEG XL and
frames that are deflated, because nothing here reads them.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.fragments import Encapsulated, ExtendedOffsets, Written, write_fragments
from anonymize.pixels.image import ImageDescription, Shape
from anonymize.pixels.jpeg import strip_jpeg
from anonymize.pixels.jpeg2000 import strip_jpeg2000
from anonymize.pixels.rle import strip_rle
from anonymize.pixels.words import Bytes

Strip = Callable[..., tuple[Bytes, ...] | None]

RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
_JPEG: Final = (50, 51, 57, 70, 80, 81, *range(52, 57), *range(58, 67))  # the retired processes too
_JPEG_2000: Final = (*range(90, 94), *range(201, 204))


_STRIPS: Final[dict[str, Strip]] = {
    **{f"1.2.840.10008.1.2.4.{number}": strip_jpeg for number in _JPEG},
    **{f"1.2.840.10008.1.2.4.{number}": strip_jpeg2000 for number in _JPEG_2000},
}


def strip_codestreams(received: Encapsulated, image: ImageDescription, extended: ExtendedOffsets | None) -> Written:
    """Give encapsulated pixel data without metadata, its offset tables put right.

    Raises `MalformedPixels` for a codestream that is not what the transfer syntax says, or of a kind not known here.
    """
    known = _STRIPS.get(image.transfer_syntax_uid)
    strip = None if known is None else partial(known, shape=Shape(image.rows, image.columns, image.samples_per_pixel))
    if image.transfer_syntax_uid == RLE_LOSSLESS:
        segments = image.samples_per_pixel * image.bits_allocated // 8
        strip = partial(strip_rle, segments=segments, segment_pixels=image.rows * image.columns)
    if strip is None:
        raise MalformedPixels(PixelReason.UNKNOWN_CODESTREAM, "the transfer syntax is not one that is looked into")
    changed = [strip(received.frame(index)) for index in range(len(received.frames))]
    return write_fragments(received, changed, extended)
