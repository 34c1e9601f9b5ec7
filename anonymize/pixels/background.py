"""The value that a blanked pixel gets: what the photometric interpretation shows as black (PS3.3 C.7.6.3.1.2)."""

import numpy as np

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.image import ImageDescription
from anonymize.pixels.native import Pixels
from anonymize.pixels.rendering import renderings


def background_of(image: ImageDescription, pixels: Pixels) -> tuple[int, ...]:
    """Give the background, a value a sample (of subsampled colour: Y, Cb, Cr); `pixels` are those of a frame.

    Signed and floating-point pixels get the darkest value of the frame: the darkest possible one would stretch every
    display window. Raises `MalformedPixels` for a photometric interpretation that is not known.
    """
    photometric = image.photometric_interpretation
    white = (1 << image.bits_stored) - 1
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        dark_is_high = photometric == "MONOCHROME1"
        if image.float_bytes or image.pixel_representation:
            return (np.nanmax(pixels) if dark_is_high else np.nanmin(pixels),)
        return (white if dark_is_high else 0,)
    if photometric == "RGB":
        return (0, 0, 0)
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        neutral = 1 << (image.bits_stored - 1)
        return (0, neutral, neutral)
    if photometric == "PALETTE COLOR":
        shown = renderings(pixels, image)[0].sum(axis=-1, dtype=np.int64)
        return (int(pixels.reshape(-1)[int(shown.argmin())]),)  # an entry of the palette that is used
    raise MalformedPixels(PixelReason.UNRENDERABLE, "the photometric interpretation is none that is known")
