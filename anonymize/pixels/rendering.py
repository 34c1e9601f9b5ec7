"""Makes 8-bit images of stored pixels to look for text in: what a person would see on a display, and all there is.

Text can lie outside the window that a device proposes, and faint text vanishes when the whole range is shown, so that
an image of more than 8 bits is rendered up to three times (PS3.3 C.11.2.1.2, C.7.6.3.1.2, C.7.6.3.1.5).
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.image import PALETTE_TAGS, ImageDescription
from anonymize.pixels.native import Pixels

Picture = npt.NDArray[np.uint8]
"""(rows, columns) grey or (rows, columns, 3) RGB, 0 is black."""

_PALETTE_VRS: Final = {tag: "US" if tag < 0x00281200 else "OW" for tag in PALETTE_TAGS}
_FAINT: Final = 0.5  # a rendering is worth making if it spreads values at least twice as far as the one before


def renderings(pixels: Pixels, image: ImageDescription) -> tuple[Picture, ...]:
    """Render one frame, as `NativeFrames.pixels` and `CompressedFrames.pixels` give it.

    Raises `MalformedPixels` for a Photometric Interpretation or a palette that nothing here can show.
    """
    photometric = image.photometric_interpretation
    if photometric in ("MONOCHROME1", "MONOCHROME2") or (image.subsampled and pixels.ndim == 2):
        return tuple(_grey(pixels, image))
    if photometric == "PALETTE COLOR":
        return (_palette(pixels, image),)
    if pixels.ndim == 3 and photometric in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        colour = (pixels >> max(0, image.bits_stored - 8)).astype(np.uint8)
        return (colour if photometric == "RGB" else convert_color_space(colour, "YBR_FULL", "RGB"),)
    raise MalformedPixels(PixelReason.UNRENDERABLE, "the photometric interpretation is none that is known")


def _grey(pixels: Pixels, image: ImageDescription) -> Iterator[Picture]:
    shown: list[float] = []
    for low, high in _windows(pixels, image):
        width = max(high - low, 1e-6)
        if any(width > _FAINT * other and width < other / _FAINT for other in shown):
            continue
        shown.append(width)
        scaled = (pixels.astype(np.float32) - low) * (255 / width)
        picture = np.clip(np.nan_to_num(scaled, posinf=255.0, neginf=0.0), 0, 255).astype(np.uint8)
        yield 255 - picture if image.photometric_interpretation == "MONOCHROME1" else picture


def _windows(pixels: Pixels, image: ImageDescription) -> Iterator[tuple[float, float]]:
    """Yield (lowest, highest) stored values to show: the whole range, the device's window, what most pixels have."""
    if image.bits_allocated == 1:
        yield 0, 1
        return
    finite = pixels[np.isfinite(pixels)] if image.float_bytes else pixels
    if not finite.size:
        raise MalformedPixels(PixelReason.UNRENDERABLE, "no pixel has a value")
    lowest, highest = float(finite.min()), float(finite.max())
    if image.bits_stored <= 8 and not image.float_bytes:
        yield (-128, 127) if image.pixel_representation else (0, (1 << image.bits_stored) - 1)
        return
    yield lowest, highest
    if image.window is not None:
        center, width = image.window
        edges = [(center + side * width / 2 - image.rescale_intercept) / image.rescale_slope for side in (-1, 1)]
        yield min(edges), max(edges)
    low, high = np.percentile(finite[::4, ::4] if finite.ndim == 2 else finite, (1, 99))
    yield float(low), float(high)


def _palette(pixels: Pixels, image: ImageDescription) -> Picture:
    try:
        colour: npt.NDArray[Any] = apply_color_lut(pixels, palette_elements(image))
    except Exception as error:  # noqa: BLE001 a palette of the sender's making; here it only means that nobody can look
        raise MalformedPixels(PixelReason.UNRENDERABLE, f"the palette: {type(error).__name__}") from None
    return (colour >> 8 if colour.dtype.itemsize == 2 else colour).astype(np.uint8)[..., :3]


def palette_elements(image: ImageDescription) -> Dataset:
    """The palette as pydicom takes it, of the raw values in `image`."""
    elements = Dataset()
    for tag, value in image.palette.items():
        vr = _PALETTE_VRS[tag]
        numbers = np.frombuffer(value, dtype=">u2" if image.big_endian else "<u2")
        elements.add_new(tag, vr, numbers.tolist() if vr == "US" else numbers.astype("<u2").tobytes())
    return elements
