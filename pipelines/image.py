"""Turns a stored greyscale image into what a radiologist sees, as numbers: `render`; a CT into what it measures:
`hounsfield`.

For worker processes, since it decodes untrusted pixels: pure, picklable, no state. It never guesses at a contradiction:
such an image is refused with a reason. The order is that of the standard (PS3.3 C.7.6.3, C.11.1, C.11.2, C.8.11.3):
stored value → modality LUT → VOI LUT → inversion, then square pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from anonymize import DeidentifiedInstance
from pipelines.errors import UndecodablePixels, UnsuitableImage

Grey = npt.NDArray[np.float32]
_Values = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

MAX_PIXELS: Final = 64 * 1024 * 1024  # the largest flat panels have a quarter of this
_MAX_PIXEL_ASPECT: Final = 2.0
_SAME_ASPECT: Final = 0.001
_ROBUST_PERCENTILES: Final = (0.1, 99.9)
_LOWEST_HU, _HIGHEST_HU = -1024.0, 3071.0
_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def read_data_set(instance: DeidentifiedInstance) -> Dataset:
    """Parse the Part 10 file. Raises `UndecodablePixels` if it is none."""
    try:
        return dcmread(BytesIO(instance.file))
    except Exception as error:  # noqa: BLE001  # a parser at the boundary may raise anything; its message may hold data
        raise UndecodablePixels(f"the file cannot be parsed ({type(error).__name__})") from None


def render(instance: DeidentifiedInstance, frame: int = 0) -> Grey:
    """Return frame `frame` (from 0) as float32 (rows, columns) in [0, 1]; 1 is white, the highest attenuation.

    The first VOI LUT is used, else the first window, else the range between two percentiles just inside the extremes.
    Pixel padding takes no part in that range and comes out black. Pixels that are not square are resampled to
    the finer of the two spacings, so rows and columns can differ from the file's.

    Raises `UndecodablePixels` for pixels that cannot be read and `UnsuitableImage` for those that must not be used
    (colour, contradicting attributes, too large, no such frame).
    """
    data_set = read_data_set(instance)
    with undecodable():
        return _render(data_set, frame)


def hounsfield(data_set: Dataset) -> Grey:
    """Return the only frame of a CT image as float32 (rows, columns) in Hounsfield units, from -1024 to 3071.

    That is what 12 bits hold with the usual intercept; padding counts as air. Raises as `render` does, and for values
    that are not said to be Hounsfield units (PS3.3 C.8.2.1.1.2, C.11.1.1.2).
    """
    with undecodable():
        if _inverted(data_set):
            raise UnsuitableImage("Photometric Interpretation (0028,0004) of a CT is not MONOCHROME2")
        if data_set.get("ModalityLUTSequence") or None in (
            data_set.get("RescaleSlope"),
            data_set.get("RescaleIntercept"),
        ):
            raise UnsuitableImage("the CT has no Rescale Slope and Intercept (0028,1053), (0028,1052)")
        if (data_set.get("RescaleType") or "HU") != "HU":
            raise UnsuitableImage("Rescale Type (0028,1054) is not HU")
        stored = _stored_values(data_set, 0)
        values = _modality_values(data_set, stored)
        values[_padding(data_set, stored)] = _LOWEST_HU
        if not np.isfinite(values).all():
            raise UndecodablePixels("a rescaled value is not finite")
        return np.clip(values, _LOWEST_HU, _HIGHEST_HU).astype(np.float32)


@contextmanager
def undecodable() -> Iterator[None]:
    """Whatever goes wrong within, other than this package's own errors, becomes `UndecodablePixels`."""
    try:
        yield
    except (UndecodablePixels, UnsuitableImage):
        raise
    except Exception as error:  # noqa: BLE001  # attributes of the wrong type, LUTs too short: pydicom and numpy raise anything
        raise UndecodablePixels(f"an attribute of the image cannot be used ({type(error).__name__})") from None


def _render(data_set: Dataset, frame: int) -> Grey:
    inverted = _inverted(data_set)
    stored = _stored_values(data_set, frame)
    padding = _padding(data_set, stored)
    grey = _window(data_set, _modality_values(data_set, stored), padding)
    if inverted:
        grey = 1 - grey
    grey[padding] = 0
    if not np.isfinite(grey).all():
        raise UndecodablePixels("a window, rescale or LUT value is not finite")
    return _square_pixels(data_set, grey.astype(np.float32))


def _inverted(data_set: Dataset) -> bool:
    """Tell whether low values are white. Refuses colour and a Presentation LUT Shape that says otherwise.

    PS3.3 C.8.11.3.1.2 pairs MONOCHROME1 with INVERSE and MONOCHROME2 with IDENTITY: two names of one inversion, not two
    inversions. Either attribute alone could be the wrong one, and a negative is nothing a model has seen.
    """
    if data_set.get("SamplesPerPixel", 1) != 1:
        raise UnsuitableImage("the image is in colour: Samples per Pixel (0028,0002) is not 1")
    photometric = data_set.get("PhotometricInterpretation", "")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsuitableImage("Photometric Interpretation (0028,0004) is neither MONOCHROME1 nor MONOCHROME2")
    shape = data_set.get("PresentationLUTShape") or ""
    expected = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    if shape not in ("", expected):
        raise UnsuitableImage(
            "Presentation LUT Shape (2050,0020) contradicts Photometric Interpretation (0028,0004): see PS3.3 C.8.11.3"
        )
    return bool(photometric == "MONOCHROME1")


def _stored_values(data_set: Dataset, frame: int) -> npt.NDArray[np.integer[Any]]:
    """Decode one frame to integers, (rows, columns), each as Bits Stored, High Bit and Pixel Representation say."""
    rows, columns = int(data_set.get("Rows") or 0), int(data_set.get("Columns") or 0)
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnsuitableImage(f"the image has no pixels, or more than {MAX_PIXELS}")
    if not 0 <= frame < int(data_set.get("NumberOfFrames") or 1):
        raise UnsuitableImage("the image has no frame of that number")
    if "PixelData" not in data_set:
        raise UndecodablePixels("the image has no Pixel Data (7FE0,0010)")
    try:
        decoded = pixel_array(data_set, index=frame, raw=True)
    except Exception as error:  # noqa: BLE001  # third-party decoders raise anything
        raise UndecodablePixels(f"the pixel data cannot be decoded ({type(error).__name__})") from None
    if decoded.shape != (rows, columns):
        raise UndecodablePixels("the decoded pixels are not as many as Rows and Columns say")
    syntax = data_set.file_meta.TransferSyntaxUID
    return decoded if syntax.is_encapsulated and syntax != RLELossless else _without_unused_bits(data_set, decoded)


def _without_unused_bits(data_set: Dataset, cells: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
    """Cut the stored value out of its cell (PS3.5 8.1.1). The bits above it can hold an old overlay, or anything."""
    allocated, stored, high = int(data_set.BitsAllocated), int(data_set.BitsStored), int(data_set.HighBit)
    if not 0 < stored == high + 1 <= allocated:
        raise UnsuitableImage("High Bit (0028,0102) is not one less than Bits Stored (0028,0101), or not in the cell")
    values = cells.astype(np.int64) & ((1 << stored) - 1)
    if data_set.PixelRepresentation:
        values -= (values >> (stored - 1)) << stored
    return values


def _padding(data_set: Dataset, stored: npt.NDArray[np.integer[Any]]) -> _Mask:
    """Mark the pixels between Pixel Padding Value and its range limit (PS3.3 C.7.5.1.1.2)."""
    value = data_set.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = data_set.get("PixelPaddingRangeLimit")
    ends = sorted(_as_stored(data_set, int(end)) for end in (value, value if limit is None else limit))
    return (stored >= ends[0]) & (stored <= ends[1])


def _as_stored(data_set: Dataset, value: int) -> int:
    """Undo the wrong VR: US where the pixels are signed, a mistake that explicit VR files do make."""
    return value - 0x10000 if data_set.PixelRepresentation and value > 0x7FFF else value


def _modality_values(data_set: Dataset, stored: npt.NDArray[np.integer[Any]]) -> _Values:
    """Apply the Modality LUT Module (PS3.3 C.11.1)."""
    if data_set.get("ModalityLUTSequence"):
        table, _ = _look_up(data_set, data_set.ModalityLUTSequence[0], stored)
        return table
    slope, intercept = data_set.get("RescaleSlope"), data_set.get("RescaleIntercept")
    if slope is None or intercept is None:
        return stored.astype(np.float64)
    if not float(slope):
        raise UnsuitableImage("Rescale Slope (0028,1053) is zero")
    return stored.astype(np.float64) * float(slope) + float(intercept)


def _window(data_set: Dataset, values: _Values, padding: _Mask) -> _Values:
    """Apply the VOI LUT Module (PS3.3 C.11.2) and return greys in [0, 1]."""
    if data_set.get("VOILUTSequence"):
        table, highest = _look_up(data_set, data_set.VOILUTSequence[0], np.rint(values))
        return table / highest
    centre, width = _first(data_set.get("WindowCenter")), _first(data_set.get("WindowWidth"))
    function = data_set.get("VOILUTFunction") or "LINEAR"
    if function not in _VOI_FUNCTIONS:
        raise UnsuitableImage("VOI LUT Function (0028,1056) is none that PS3.3 C.11.2 defines")
    if centre is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return _robust_range(values, padding)  # no window, or one that the standard forbids
    return _VOI_FUNCTIONS[function](values, centre, width)


def _first(value: Any) -> float | None:
    """Return the first of one or several decimal strings."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None


def _linear(values: _Values, centre: float, width: float) -> _Values:
    """C.11.2.1.2.1; a width of 1 is a step."""
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _linear_exact(values: _Values, centre: float, width: float) -> _Values:
    """C.11.2.1.3.2."""
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _sigmoid(values: _Values, centre: float, width: float) -> _Values:
    """C.11.2.1.3.1; the exponent is bounded only so that it cannot overflow."""
    return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))


class _VoiFunction(Protocol):
    def __call__(self, values: _Values, centre: float, width: float, /) -> _Values: ...


_VOI_FUNCTIONS: Final[dict[str, _VoiFunction]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _robust_range(values: _Values, padding: _Mask) -> _Values:
    """Stretch what is not padding to [0, 1], leaving out a thousandth at either end: dead pixels, side markers."""
    inside = values[~padding]
    if not inside.size:
        return np.zeros(values.shape)
    low, high = np.percentile(inside, _ROBUST_PERCENTILES)
    if high <= low:
        return np.full(values.shape, 0.5)  # no contrast, no grey to prefer; what uses the image finds it constant
    return np.clip((values - float(low)) / float(high - low), 0, 1)


def _look_up(data_set: Dataset, item: Dataset, values: npt.NDArray[Any]) -> tuple[_Values, int]:
    """Send `values` through a LUT (PS3.3 C.11.1.1, C.11.2.1.1); return them and the highest value the LUT can give."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 0x10000
    table = _lut_data(data_set, item, entries, bits)
    position = np.clip(values - _as_stored(data_set, first), 0, entries - 1).astype(np.int64)
    return table[position], (1 << bits) - 1


def _lut_data(data_set: Dataset, item: Dataset, entries: int, bits: int) -> _Values:
    if bits not in (8, *range(10, 17)):
        raise UnsuitableImage("a LUT Descriptor (0028,3002) names a depth that PS3.3 C.11 does not allow")
    raw = item.LUTData
    if isinstance(raw, bytes):
        order = ">" if data_set.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
        packed = bits == 8 and len(raw) < 2 * entries  # two 8-bit entries share a word, which some writers do
        raw = np.frombuffer(raw, dtype="u1" if packed else f"{order}u2")
    table = np.atleast_1d(np.asarray(raw, dtype=np.float64))[:entries]
    if len(table) < entries:
        raise UndecodablePixels("LUT Data (0028,3006) has fewer entries than its descriptor says")
    if table.max() > (1 << bits) - 1:
        raise UndecodablePixels("LUT Data (0028,3006) exceeds the depth of its descriptor")
    return table


def _square_pixels(data_set: Dataset, grey: Grey) -> Grey:
    """Stretch the direction with the larger pixels, if they are not square (PS3.3 C.7.6.3.1.7, 10.7.1.3)."""
    aspect = _pixel_aspect(data_set)
    if abs(aspect - 1) <= _SAME_ASPECT:
        return grey
    if not 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT:
        raise UnsuitableImage("the pixels are more than twice as high as wide, or as wide as high")
    rows, columns = grey.shape
    if aspect > 1:
        rows = round(rows * aspect)
    else:
        columns = round(columns / aspect)
    if rows * columns > MAX_PIXELS:
        raise UnsuitableImage(f"the image has more than {MAX_PIXELS} square pixels")
    stretched = Image.fromarray(grey, mode="F").resize((columns, rows), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(stretched, dtype=np.float32), 0, 1)


def _pixel_aspect(data_set: Dataset) -> float:
    """Return height over width of a pixel: row spacing over column spacing, else Pixel Aspect Ratio, else 1."""
    for keyword in (*_SPACINGS, "PixelAspectRatio"):
        value = data_set.get(keyword)
        if value:
            height, width = float(value[0]), float(value[1])
            if height <= 0 or width <= 0:
                raise UnsuitableImage("a pixel spacing or aspect ratio is not positive")
            return height / width
    return 1.0
