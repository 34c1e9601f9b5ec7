"""What is done to a grey image before a model sees it. Training and serving must both call `to_input`, nothing else,
and `read_grey` for image files.

It depends on numpy and Pillow only. Any change of a result here is a change of every model: it needs new packages.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from runtime.errors import InvalidInput
from runtime.package import Grayscale, NoPreprocessing, Resize

Array = npt.NDArray[np.float32]
Sample = npt.NDArray[np.float32] | npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def read_grey(path: Path) -> Array:
    """An image file as `to_input` takes it: float32, (rows, columns), in [0, 1], where 1 is white; colours become grey.

    Of 16 bits all count, as of 8. Raises `OSError` for what cannot be decoded, `InvalidInput` for numbers of which the
    file does not say which is white (32 bits, floating point), and for more pixels than an image has.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # which Pillow would not divide, but cut at 255
                return np.asarray(image, dtype=np.float32) / np.float32(65535)
            if image.mode in ("I", "F"):
                raise InvalidInput("the image has numbers that are no greys of 8 or 16 bits; save it with such")
            return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    except Image.DecompressionBombError:
        raise InvalidInput("the image has more than 178 million pixels; no radiograph has") from None


def to_input(image: Array, spec: Grayscale | NoPreprocessing) -> Sample:
    """Make one sample of a model's input: (channels, rows, columns), C-contiguous; float32, or `spec.dtype`.

    `image` is grey: float32, (rows, columns), finite, in [0, 1]; `spec` is the ``[preprocessing]`` of the package.
    In this order:

    1. Resize to `spec.size` = (R, C) with Pillow's bilinear filter on 32-bit floats, which averages over all source
       pixels when it makes smaller (no aliasing); the result is clipped to [0, 1]. An image of rows × columns is

       - ``stretch``: resized to R × C whatever its proportions;
       - ``letterbox``: resized by the one factor s = min(R / rows, C / columns) to max(1, round(rows · s)) ×
         max(1, round(columns · s)), at most R × C, and laid in the middle of black (0.0); an odd pixel of margin goes
         to the bottom or right;
       - ``crop``: first cut to the largest centred part with the proportions of R × C (its cut side rounded, at least
         1; an odd pixel is cut from the bottom or right), then resized to R × C.

       (`round` is Python's: halves go to the even number.)
    2. (value - mean) / std, in float32, so that black margins become -mean / std. With `spec.bits` instead: value times
       `spec.white` in float32, rounded to the nearest whole number; an image of so many greys that is not resized
       keeps them.
    3. Repeat on `spec.channels` channels.

    With ``kind = "none"`` the image itself becomes one channel.

    Raises `InvalidInput` for an image of another type or shape, and for values outside [0, 1] or not finite.
    """
    _check(image)
    if isinstance(spec, NoPreprocessing):
        return np.ascontiguousarray(image)[np.newaxis]
    resized = _RESIZERS[spec.resize](image, spec.size)
    levels: Sample
    if spec.bits:
        levels = np.rint(resized * np.float32(spec.white)).astype(spec.dtype.numpy)
    else:
        levels = (resized - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(np.broadcast_to(levels, (spec.channels, *spec.size)))


def to_grey(sample: Sample, spec: Grayscale | NoPreprocessing) -> Array:
    """The first channel of `sample` as the image that `to_input` made it of: float32, (rows, columns), in [0, 1]."""
    grey = sample[0].astype(np.float32)
    if isinstance(spec, Grayscale):
        grey = grey / np.float32(spec.white) * np.float32(spec.std) + np.float32(spec.mean)
    clipped: Array = np.clip(grey, np.float32(0), np.float32(1))
    return clipped


def _check(image: Array) -> None:
    if image.dtype != np.float32 or image.ndim != 2 or 0 in image.shape:
        raise InvalidInput("the image must be a float32 array (rows, columns) with at least one pixel")
    if not (float(image.min()) >= 0 and float(image.max()) <= 1):  # false for NaN too
        raise InvalidInput("the image has values outside [0, 1], or that are not finite")


def _resample(image: Array, size: tuple[int, int]) -> Array:
    rows, columns = size
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), np.float32(0), np.float32(1))


def _letterbox(image: Array, size: tuple[int, int]) -> Array:
    scale = min(wanted / have for wanted, have in zip(size, image.shape, strict=True))
    rows, columns = (min(wanted, max(1, round(have * scale))) for wanted, have in zip(size, image.shape, strict=True))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    canvas = np.zeros(size, np.float32)
    canvas[top : top + rows, left : left + columns] = _resample(image, (rows, columns))
    return canvas


def _crop(image: Array, size: tuple[int, int]) -> Array:
    rows, columns = image.shape
    if columns * size[0] > rows * size[1]:
        columns = max(1, round(rows * size[1] / size[0]))
    else:
        rows = max(1, round(columns * size[0] / size[1]))
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return _resample(image[top : top + rows, left : left + columns], size)


_RESIZERS = {Resize.STRETCH: _resample, Resize.LETTERBOX: _letterbox, Resize.CROP: _crop}
