"""What this package must know of an image beside its pixels, read from raw elements (PS3.3 C.7.6.3, C.8.5.5, C.11.2).

The caller collects the raw values of `DESCRIBING_TAGS` while it walks over the data set; no pydicom `Dataset` is built.
Nothing here identifies a patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from anonymize.pixels.errors import IncompleteDescription
from anonymize.transfer_syntaxes import NATIVE

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
PIXEL_REPRESENTATION: Final = 0x00280103
BURNED_IN_ANNOTATION: Final = 0x00280301
_SOP_CLASS_UID: Final = 0x00080016
_IMAGE_TYPE: Final = 0x00080008
_MODALITY: Final = 0x00080060
_CONVERSION_TYPE: Final = 0x00080064
_WINDOW_CENTER: Final = 0x00281050
_WINDOW_WIDTH: Final = 0x00281051
_RESCALE_INTERCEPT: Final = 0x00281052
_RESCALE_SLOPE: Final = 0x00281053

PALETTE_TAGS: Final = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203})
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009

DESCRIBING_TAGS: Final = PALETTE_TAGS | {
    *(SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES, ROWS, COLUMNS),
    *(BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION, BURNED_IN_ANNOTATION),
    *(_SOP_CLASS_UID, _IMAGE_TYPE, _MODALITY, _CONVERSION_TYPE),
    *(_WINDOW_CENTER, _WINDOW_WIDTH, _RESCALE_INTERCEPT, _RESCALE_SLOPE),
}
"""The top-level attributes whose raw values `ImageDescription.read` takes."""


class Shape(NamedTuple):
    """How many pixels a frame has, and samples a pixel."""

    rows: int
    columns: int
    samples: int


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A rectangle of whole pixels: `x` and `y` of its upper left one, from 0."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column that is not in it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row that is not in it."""
        return self.y + self.height

    @classmethod
    def between(cls, left: int, top: int, right: int, bottom: int) -> Self:
        """Make one of its edges."""
        return cls(left, top, right - left, bottom - top)

    def clipped(self, columns: int, rows: int) -> "Region | None":
        """The part within an image, None if there is none."""
        left, top, right, bottom = max(self.x, 0), max(self.y, 0), min(self.right, columns), min(self.bottom, rows)
        return Region.between(left, top, right, bottom) if left < right and top < bottom else None

    def grown(self, pixels: int) -> "Region":
        """With a margin on all sides."""
        return Region(self.x - pixels, self.y - pixels, self.width + 2 * pixels, self.height + 2 * pixels)

    def moved(self, x: int, y: int) -> "Region":
        """The same, elsewhere."""
        return Region(self.x + x, self.y + y, self.width, self.height)

    def meets(self, other: "Region") -> bool:
        """Whether they have a pixel in common."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDescription:
    """How the pixels of one instance lie and what kind of image they are.

    `palette` holds raw little endian values by tag, of PALETTE COLOR images; `window` is (center, width) in
    rescaled units, the first one given. `ultrasound_regions` are the caller's to add, since they lie in a sequence
    (0018,6011). `float_bytes` is 4 or 8 for (7FE0,0008) and (7FE0,0009), else 0.
    """

    transfer_syntax_uid: str
    rows: int
    columns: int
    frames: int = 1
    samples_per_pixel: int = 1
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    pixel_representation: int = 0
    float_bytes: int = 0
    big_endian: bool = False
    window: tuple[float, float] | None = None
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    palette: Mapping[int, bytes] = field(default_factory=dict)
    ultrasound_regions: tuple[Region, ...] = ()
    sop_class_uid: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    conversion_type: str = ""
    burned_in_annotation: str = ""

    def __post_init__(self) -> None:
        checks = {
            ROWS: 0 < self.rows < 1 << 16,
            NUMBER_OF_FRAMES: self.frames > 0,
            SAMPLES_PER_PIXEL: self.samples_per_pixel == 1 or (self.samples_per_pixel == 3 and not self.float_bytes),
            PHOTOMETRIC_INTERPRETATION: bool(self.photometric_interpretation)
            and (self.samples_per_pixel == 3 or not self.photometric_interpretation.startswith(("RGB", "YBR"))),
            PLANAR_CONFIGURATION: self.planar_configuration in (0, 1)
            and (not self.subsampled or self.columns % 2 == 0),
            BITS_ALLOCATED: self.bits_allocated in ((32, 64) if self.float_bytes else (1, 8, 16, 32))
            and not (self.bits_allocated == 1 and self.samples_per_pixel == 3),
            BITS_STORED: 0 < self.bits_stored <= self.bits_allocated,
            HIGH_BIT: self.bits_stored - 1 <= self.high_bit < self.bits_allocated,
            PIXEL_REPRESENTATION: self.pixel_representation in (0, 1)
            and not (self.pixel_representation and self.samples_per_pixel == 3),
        }
        for tag, sound in checks.items():
            if not sound:
                raise IncompleteDescription(tag)

    @property
    def encapsulated(self) -> bool:
        """Whether the transfer syntax compresses the pixels."""
        return self.transfer_syntax_uid not in NATIVE

    @property
    def subsampled(self) -> bool:
        """Whether two pixels share their colour in the native form: four samples for two pixels (PS3.3 C.7.6.3.1.2)."""
        return self.photometric_interpretation in ("YBR_FULL_422", "YBR_PARTIAL_422") and not self.encapsulated

    @property
    def frame_samples(self) -> int:
        """Samples of one native frame."""
        samples = self.rows * self.columns * self.samples_per_pixel
        return samples * 2 // 3 if self.subsampled else samples

    @property
    def region(self) -> Region:
        """The whole image."""
        return Region(0, 0, self.columns, self.rows)

    @classmethod
    def read(
        cls,
        values: Mapping[int, bytes],
        transfer_syntax_uid: str,
        *,
        big_endian: bool = False,
        ultrasound_regions: tuple[Region, ...] = (),
        float_bytes: int = 0,
    ) -> Self:
        """Read the raw values of `DESCRIBING_TAGS`. Raises `IncompleteDescription` where no image can be meant."""
        raw = _Raw(values, big_endian)
        bits_allocated = raw.unsigned(BITS_ALLOCATED, None)
        bits_stored = raw.unsigned(BITS_STORED, bits_allocated)
        center, width = raw.decimal(_WINDOW_CENTER), raw.decimal(_WINDOW_WIDTH)
        return cls(
            transfer_syntax_uid=transfer_syntax_uid,
            rows=raw.unsigned(ROWS, None),
            columns=raw.unsigned(COLUMNS, None),
            frames=raw.integer(NUMBER_OF_FRAMES, 1),
            samples_per_pixel=raw.unsigned(SAMPLES_PER_PIXEL, 1),
            photometric_interpretation=raw.first(PHOTOMETRIC_INTERPRETATION),
            planar_configuration=raw.unsigned(PLANAR_CONFIGURATION, 0),
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            high_bit=raw.unsigned(HIGH_BIT, bits_stored - 1),
            pixel_representation=raw.unsigned(PIXEL_REPRESENTATION, 0),
            float_bytes=float_bytes,
            big_endian=big_endian,
            window=(center, width) if center is not None and width is not None and width > 0 else None,
            rescale_slope=raw.decimal(_RESCALE_SLOPE) or 1.0,
            rescale_intercept=raw.decimal(_RESCALE_INTERCEPT) or 0.0,
            palette={tag: values[tag] for tag in PALETTE_TAGS if tag in values},
            ultrasound_regions=ultrasound_regions,
            sop_class_uid=raw.first(_SOP_CLASS_UID),
            modality=raw.first(_MODALITY).upper(),
            image_type=raw.texts(_IMAGE_TYPE),
            conversion_type=raw.first(_CONVERSION_TYPE),
            burned_in_annotation=raw.first(BURNED_IN_ANNOTATION).upper(),
        )


class _Raw:
    """Reads raw values; what is absent or empty takes the default, what is neither is refused."""

    def __init__(self, values: Mapping[int, bytes], big_endian: bool) -> None:
        self._values = values
        self._big_endian = big_endian

    def texts(self, tag: int) -> tuple[str, ...]:
        raw = self._values.get(tag)
        text = bytes(raw).decode("ascii", "replace").strip(" \0") if raw else ""
        return tuple(value.strip(" \0") for value in text.split("\\")) if text else ()

    def first(self, tag: int) -> str:
        texts = self.texts(tag)
        return texts[0] if texts else ""

    def unsigned(self, tag: int, default: int | None) -> int:
        raw = self._values.get(tag, b"")
        if len(raw) == 2:
            return int.from_bytes(raw, "big" if self._big_endian else "little")
        if raw or default is None:
            raise IncompleteDescription(tag)
        return default

    def integer(self, tag: int, default: int) -> int:
        text = self.first(tag)
        try:
            return int(text) if text else default
        except ValueError:
            raise IncompleteDescription(tag) from None

    def decimal(self, tag: int) -> float | None:
        text = self.first(tag)
        try:
            return float(text) if text else None
        except ValueError:
            return None
