"""Hands the image of a data set to `anonymize.pixels`: gathers what that must know of it, and asks as the policy says.

Without the Clean Pixel Data Option nobody looks for text, but codestreams and words still lose what is no pixel.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from anonymize.elements import Element, Kind
from anonymize.errors import Quarantine, QuarantineReason
from anonymize.identifiers import Identifiers
from anonymize.options import Option, Policy
from anonymize.pixels import (
    DESCRIBING_TAGS,
    ExtendedOffsets,
    ImageDescription,
    IncompleteDescription,
    Look,
    OverlayPlane,
    PixelElement,
    PixelOutcome,
    PixelReason,
    PixelScript,
    Region,
    TextDetector,
    TextPolicy,
    clean_pixels,
    text_of,
)
from anonymize.rules import dictionary_vr

ULTRASOUND_REGIONS: Final = 0x00186011
_CORNERS: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)  # min x, min y, max x, max y: UL
_EXTENDED: Final = (0x7FE00001, 0x7FE00002)
OFFSET_TABLES: Final = frozenset(_EXTENDED)
"""Extended Offset Table and its lengths: of encapsulated images alone."""

_FLOATS: Final = {0x7FE00008: 4, 0x7FE00009: 8}
IMAGE_TAGS: Final = DESCRIBING_TAGS | frozenset(_EXTENDED)
"""Attributes of the top level to note."""

REGION_TAGS: Final = frozenset(_CORNERS)
"""Attributes to note in the items of `ULTRASOUND_REGIONS`."""

_BITS_WITHOUT_TEXT: Final = 13
_DOUBTS: Final = {QuarantineReason(reason.value): reason for reason in PixelReason}
_UNSEEN: Final = TextPolicy(Look.NEVER)


@dataclass(frozen=True, slots=True)
class PixelCleaning:
    """What the Clean Pixel Data Option works with: when to look for text and with what, and a site's device rules."""

    text: TextPolicy = field(default_factory=TextPolicy)
    detector: TextDetector | None = None
    script: PixelScript | None = None


class CleanedImage(NamedTuple):
    """What became of the image, and whether its bytes are to be searched for text."""

    outcome: PixelOutcome
    may_hold_text: bool


class ImageNotes:
    """Raw values that describe the image of one data set."""

    def __init__(self) -> None:
        self._values: dict[int, bytes] = {}
        self._corners: dict[int, dict[int, bytes]] = {}

    def note(self, tag: int, value: bytes) -> None:
        """Note a value; those that are not of `IMAGE_TAGS` do not matter."""
        self._values[tag] = value

    def note_region(self, item: int, tag: int, value: bytes) -> None:
        """Note a value in an item of `ULTRASOUND_REGIONS`."""
        self._corners.setdefault(item, {})[tag] = value

    def description(self, transfer_syntax_uid: str, pixels: Element) -> ImageDescription:
        """What is known of the image. Raises `IncompleteDescription`."""
        big = pixels.encoding.order == ">"
        return ImageDescription.read(
            self._values,
            transfer_syntax_uid,
            big_endian=big,
            ultrasound_regions=tuple(self._regions("big" if big else "little")),
            float_bytes=_FLOATS.get(pixels.tag, 0),
        )

    @property
    def extended_offsets(self) -> ExtendedOffsets | None:
        """The Extended Offset Table, if there is one."""
        offsets, lengths = (self._values.get(tag) for tag in _EXTENDED)
        return ExtendedOffsets(offsets, lengths) if offsets is not None and lengths is not None else None

    def _regions(self, order: Literal["big", "little"]) -> Iterator[Region]:
        for values in self._corners.values():
            raw = [values.get(tag, b"") for tag in _CORNERS]
            if all(len(value) == 4 for value in raw):
                left, top, right, bottom = (int.from_bytes(value, order) for value in raw)
                if left <= right and top <= bottom:
                    yield Region.between(left, top, right + 1, bottom + 1)


def clean_image(
    data: memoryview,
    pixels: Element,
    notes: ImageNotes,
    transfer_syntax_uid: str,
    policy: Policy,
    cleaning: PixelCleaning,
    script_values: dict[tuple[int, ...], str],
    accepted: Collection[QuarantineReason],
) -> CleanedImage:
    """Clean the image of a data set. Raises `Quarantine` where it cannot be proven clean and nobody vouches for it."""
    looks = Option.CLEAN_PIXEL_DATA in policy.options
    element = PixelElement(data[pixels.value : pixels.value + pixels.length], pixels.vr, notes.extended_offsets)
    try:
        description = notes.description(transfer_syntax_uid, pixels)
        outcome = clean_pixels(
            element,
            description,
            cleaning.text if looks else _UNSEEN,
            script=cleaning.script if looks else None,
            script_values=script_values,
            detector=cleaning.detector if looks else None,
            accepted=[_DOUBTS[reason] for reason in accepted if reason in _DOUBTS],
        )
    except IncompleteDescription as error:
        raise Quarantine(QuarantineReason.UNDESCRIBED_PIXELS) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a shape that no decoder foresaw
        raise Quarantine(QuarantineReason.UNDECODABLE_PIXELS) from error
    if outcome.reason is not None:
        raise Quarantine(QuarantineReason(outcome.reason.value))
    return CleanedImage(outcome, _may_hold_text(description))


def clean_overlay(
    values: Mapping[int, bytes], vr: str | None, order: str, cleaning: PixelCleaning, identifiers: Identifiers
) -> bytes | None:
    """Clean the data of one overlay plane, of raw values by element number (see `OverlayPlane.read`).

    None where it cannot be proven clean: nobody can look, it is no plane, text is left, or its bytes name the patient.
    """
    plane = OverlayPlane.read(values, vr, order) if vr in ("OB", "OW", None) else None
    if plane is None or cleaning.detector is None:
        return None
    cleaned = plane.cleaned(cleaning.text, cleaning.detector)
    bitmap = cleaned.encoded(vr, order) if cleaned else None
    return None if bitmap is None or identifiers.in_bulk().finds((bitmap,)) else bitmap


def _may_hold_text(image: ImageDescription) -> bool:
    """Whether the bytes of the pixels can be those of a text: not where each other byte is below 0x20."""
    return image.encapsulated or image.bits_allocated != 16 or image.bits_stored > _BITS_WITHOUT_TEXT


def script_values(
    data: bytes, elements: Iterator[Element], script: PixelScript, character_sets: tuple[str, ...]
) -> dict[tuple[int, ...], str]:
    """The texts that a script's signatures compare: of sequences, those of the first items."""
    found: dict[tuple[int, ...], str] = {}
    path: list[int] = []
    items: list[int] = []
    for element in elements:
        if element.kind is Kind.SEQUENCE:
            path.append(element.tag)
            items.append(0)
        elif element.kind is Kind.SEQUENCE_END:
            path.pop()
            items.pop()
        elif element.kind is Kind.ITEM:
            items[-1] += 1
        elif element.kind is Kind.VALUE and all(item == 1 for item in items):
            where = (*path, element.tag)
            if where in script.paths:
                raw = data[element.value : element.value + element.length]
                big = element.encoding.order == ">"
                vr = element.vr or dictionary_vr(element.tag)
                found[where] = text_of(vr, raw, big_endian=big, character_sets=character_sets)
    return found
