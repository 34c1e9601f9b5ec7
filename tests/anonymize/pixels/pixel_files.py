"""The files that pydicom ships, as the raw elements this package is given; images and codestreams to draw text in."""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.filereader import _read_file_meta_info

from anonymize import AnonymizeError
from anonymize.elements import walk
from anonymize.pixels import DESCRIBING_TAGS, ImageDescription, PixelElement, PixelError, PixelOutcome
from anonymize.transfer_syntaxes import encoded_data_set

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
EXPLICIT = "1.2.840.10008.1.2.1"


class Shipped(NamedTuple):
    path: Path
    pixels: PixelElement
    image: ImageDescription


def raw_elements(path: Path) -> tuple[dict[int, bytes], PixelElement | None, str, bool]:
    buffer = io.BytesIO(path.read_bytes())
    buffer.seek(132)
    uid = str(_read_file_meta_info(buffer).TransferSyntaxUID)
    encoded = encoded_data_set(buffer.read(), uid)
    values, pixels = {}, None
    for element in walk(encoded.data, encoded.encoding):
        span = slice(element.value, element.value + element.length)
        if element.depth == 0 and element.tag in DESCRIBING_TAGS:
            values[element.tag] = encoded.data[span]
        elif element.depth == 0 and element.tag == 0x7FE00010:
            pixels = PixelElement(memoryview(encoded.data)[span], element.vr)
    return values, pixels, uid, encoded.encoding.order == ">"


@cache
def shipped() -> tuple[Shipped, ...]:
    """Every file with pixels whose description makes sense."""
    found = []
    for path in sorted(FOLDER.rglob("*.dcm")):
        try:
            values, pixels, uid, big_endian = raw_elements(path)
            image = ImageDescription.read(values, uid, big_endian=big_endian)
        except (AnonymizeError, PixelError, AttributeError):
            continue  # not Part 10, broken on purpose, or no image
        if pixels is not None:
            found.append(Shipped(path, pixels, image))
    return tuple(found)


def decoded(file: Path, outcome: PixelOutcome | None = None) -> np.ndarray:
    """What pydicom decodes of a file, with the pixel data of `outcome` in place of its own."""
    ds = pydicom.dcmread(file)
    if outcome is not None:
        ds.file_meta.TransferSyntaxUID = outcome.transfer_syntax_uid
        ds.PixelData = b"".join(outcome.pieces)
        ds["PixelData"].VR = outcome.vr
        for tag, vr, value in outcome.changed:
            if value is not None and vr == "US":
                ds.add_new(tag, vr, int.from_bytes(value, "little"))
            elif value is not None and vr == "CS":
                ds.add_new(tag, vr, value.decode().strip())
    return ds.pixel_array


def grey(rows: int = 480, columns: int = 640, frames: int = 1, **changes: object) -> ImageDescription:
    stored = {"bits_allocated": 8, "bits_stored": 8, "high_bit": 7, "modality": "US"} | changes
    return ImageDescription(transfer_syntax_uid=EXPLICIT, rows=rows, columns=columns, frames=frames, **stored)


def write(picture: np.ndarray, text: str, x: int, y: int, height: int = 18, fill: int = 255) -> np.ndarray:
    """The picture with text drawn in it, `height` pixels a letter."""
    drawn = Image.fromarray(picture)
    colour = fill if picture.ndim == 2 else (fill,) * 3
    ImageDraw.Draw(drawn).text((x, y), text, fill=colour, font=ImageFont.load_default(height))
    return np.asarray(drawn)


def sector(rows: int = 480, columns: int = 640, seed: int = 0) -> np.ndarray:
    """A grey ultrasound sector of speckle on black, uint8."""
    y, x = np.mgrid[:rows, :columns]
    distance = np.hypot(x - columns / 2, y - rows * 0.1)
    inside = (distance < rows * 0.8) & (distance > rows * 0.12) & (np.abs(x - columns / 2) < (y - rows * 0.05) * 0.8)
    noise = np.random.default_rng(seed).rayleigh(28, (rows, columns)) * np.exp(-distance / rows)
    smooth = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, 2, 1)) / 2
    return np.where(inside, np.clip(smooth, 0, 255), 0).astype(np.uint8)
