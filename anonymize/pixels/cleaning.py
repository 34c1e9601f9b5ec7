"""Cleans the pixel data of one instance: its codestreams and words of what is no pixel, its pixels of text.

Values in, values out; what cannot be proven clean comes out as a reason and no pixels (PS3.15 E.3.1 Clean Pixel Data).
Nothing of what was read in an image leaves this module.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from anonymize.pixels.background import background_of
from anonymize.pixels.codestreams import strip_codestreams
from anonymize.pixels.compressed import CompressedFrames
from anonymize.pixels.ctp_script import Path, PixelScript
from anonymize.pixels.detection import Detection, TextDetector
from anonymize.pixels.errors import MalformedPixels, PixelReason
from anonymize.pixels.fragments import Encapsulated, ExtendedOffsets, read_fragments
from anonymize.pixels.image import (
    BURNED_IN_ANNOTATION,
    HIGH_BIT,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    ImageDescription,
    Region,
)
from anonymize.pixels.looking import Looker, to_blank
from anonymize.pixels.native import NativeFrames
from anonymize.pixels.rendering import renderings
from anonymize.pixels.text_policy import TextDecision, TextPolicy, decide, declares_text, is_what_was_declared
from anonymize.pixels.words import Bytes

EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002

_LOOKS: Final = 3
"""How often a frame is looked at, at most: what blanking laid bare is blanked too, once."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The value of (7FE0,0010), (7FE0,0008) or (7FE0,0009) as received: native, or items with the delimiter.

    `vr` is None in implicit VR. The extended offset table is (7FE0,0001) and (7FE0,0002), where there is one.
    """

    value: memoryview = field(repr=False)
    vr: str | None = None
    extended_offsets: ExtendedOffsets | None = None


class ChangedAttribute(NamedTuple):
    """An attribute of the top level to be written with another value, encoded; None: it is to be left out."""

    tag: int
    vr: str
    value: bytes | None


class BlankedRegion(NamedTuple):
    """A rectangle that was blanked in a frame, counted from 0."""

    frame: int
    region: Region


class BlankedText(NamedTuple):
    """What may be told of the text in an image: whether it was declared, and how much was blanked."""

    declared: bool
    regions: int
    frames: int
    percent: float
    """Of all frames' pixels; what was blanked twice counts twice."""


@dataclass(frozen=True, slots=True)
class PixelOutcome:
    """Clean pixel data, or the reason why there is none.

    `pieces` make up the value of the element, of even length, those that did not change as views of what came in; for
    encapsulated pixel data, with the delimiter. `vr` and `transfer_syntax_uid` are those to write it with: blanked
    compressed pixels become native. `changed` has the attributes that go with it.
    """

    transfer_syntax_uid: str
    decision: TextDecision
    pieces: tuple[Bytes, ...] = field(default=(), repr=False)
    vr: str = "OW"
    changed: tuple[ChangedAttribute, ...] = ()
    regions: tuple[BlankedRegion, ...] = ()
    text: BlankedText | None = None
    reason: PixelReason | None = None

    @property
    def length(self) -> int:
        """Bytes of the value."""
        return sum(map(len, self.pieces))


def clean_pixels(
    pixels: PixelElement,
    image: ImageDescription,
    policy: TextPolicy,
    *,
    script: PixelScript | None = None,
    script_values: Mapping[Path, str] | None = None,
    detector: TextDetector | None = None,
    accepted: Collection[PixelReason] = (),
) -> PixelOutcome:
    """Clean the pixel data of one instance.

    `accepted` are doubts that a person who has seen the image has settled: what can be cleaned is cleaned all the same.

    In this order: metadata in codestreams and unused bits go; the regions of the first section of `script` that
    matches `script_values` are blanked; if `policy` says so, every frame is looked at with `detector`, and every text
    but a marker is blanked; blanked frames are looked at again, and text that is still read is a reason. Text that is
    declared ((0028,0301) YES) and cannot be what was blanked is one, too (see `is_what_was_declared`).
    """
    decision = decide(image, policy)
    regions = script.regions_for(script_values or {}, image.columns, image.rows) if script else ()
    try:
        return _Cleaning(pixels, image, policy, decision, detector, accepted).outcome(regions)
    except MalformedPixels as error:
        return PixelOutcome(image.transfer_syntax_uid, decision, reason=error.reason)


class _Cleaning:
    """One run over one image."""

    def __init__(
        self,
        pixels: PixelElement,
        image: ImageDescription,
        policy: TextPolicy,
        decision: TextDecision,
        detector: TextDetector | None,
        accepted: Collection[PixelReason],
    ) -> None:
        self._accepted = accepted
        self._pixels = pixels
        self._policy = policy
        self._decision = decision
        self._detector = detector
        self._received = image
        self._encapsulated: Encapsulated | None = None
        self._frames: NativeFrames | CompressedFrames
        if image.encapsulated:
            self._encapsulated = read_fragments(pixels.value, image.frames)
            self._frames = CompressedFrames(self._encapsulated, image)
            self._image = self._frames.native_image
        else:
            self._frames = NativeFrames(_in_order(pixels, image), image)
            self._image = image
        self._blanked: list[BlankedRegion] = []
        self._declares = declares_text(image)
        self._accounted = False  # whether what was declared is what was blanked

    def outcome(self, regions: Sequence[Region]) -> PixelOutcome:
        stripped = self._stripped()  # before any decoder is let near the bytes
        if regions:
            for frame in range(self._image.frames):
                self._blank(frame, regions)
        if self._decision.look:
            try:
                self._blank_texts()
            except MalformedPixels as doubt:
                if doubt.reason not in self._accepted:
                    raise
        if self._declares and not (regions or self._accounted or PixelReason.TEXT_DECLARED in self._accepted):
            raise MalformedPixels(PixelReason.TEXT_DECLARED, "what was blanked cannot be all that was declared")
        outcome = stripped if stripped is not None and not self._blanked else self._native()
        return replace(outcome, text=self._told())

    def _told(self) -> BlankedText:
        image, blanked = self._image, self._blanked
        pixels = sum(one.region.width * one.region.height for one in blanked)
        percent = round(min(100.0, 100 * pixels / (image.frames * image.rows * image.columns)), 1)
        return BlankedText(self._declares, len(blanked), len({one.frame for one in blanked}), percent)

    def _stripped(self) -> PixelOutcome | None:
        """The outcome for compressed pixels that need not be decoded."""
        if self._encapsulated is None:
            return None
        extended = self._pixels.extended_offsets
        uid = self._received.transfer_syntax_uid
        written = strip_codestreams(self._encapsulated, self._received, extended)
        changed: tuple[ChangedAttribute, ...] = ()
        if written.extended_offsets != extended:
            changed = _offset_tables(written.extended_offsets)
        return PixelOutcome(uid, self._decision, written.pieces, "OB", changed + self._looked_at())

    def _native(self) -> PixelOutcome:
        image, changed = self._image, self._looked_at()
        if self._encapsulated is not None:
            changed += _of_native(image, self._received)
            if self._pixels.extended_offsets is not None:
                changed += _offset_tables(None)
        vr = (
            {32: "OF", 64: "OD"}[image.bits_allocated]
            if image.float_bytes
            else "OB"
            if image.bits_allocated <= 8
            else "OW"
        )
        return PixelOutcome(
            image.transfer_syntax_uid, self._decision, self._frames.pieces(), vr, changed, tuple(self._blanked)
        )

    def _looked_at(self) -> tuple[ChangedAttribute, ...]:
        """What may be said of burned-in text: NO once somebody looked."""
        return (ChangedAttribute(BURNED_IN_ANNOTATION, "CS", b"NO"),) if self._decision.look else ()

    def _blank_texts(self) -> None:
        if self._detector is None:
            raise MalformedPixels(PixelReason.NO_DETECTOR, "policy asks for a look")
        looker = Looker(self._detector)
        seen = [
            to_blank(looker.look(self._pictures(frame)), self._policy.markers) for frame in range(self._image.frames)
        ]
        standing = _standing(seen)
        shown = [[*texts, *standing] for texts in seen]
        self._accounted = self._declares and all(map(is_what_was_declared, shown))
        found: dict[int, list[Region]] = {}
        for frame, texts in enumerate(shown):
            if texts:
                found[frame] = self._blank(frame, (self._with_margin(text.region) for text in texts))
        for look in range(2, _LOOKS + 1):
            last, found = found, {}
            for frame, regions in last.items():
                texts = to_blank(looker.look_around(self._pictures(frame), regions), self._policy.markers)
                if look == _LOOKS and any(text.text or self._declares for text in texts):
                    raise MalformedPixels(PixelReason.TEXT_REMAINS, "text is read after blanking")
                if texts:
                    found[frame] = self._blank(frame, (self._with_margin(text.region) for text in texts))

    def _pictures(self, frame: int) -> tuple[Any, ...]:
        return renderings(self._frames.pixels(frame), self._image)

    def _blank(self, frame: int, regions: Iterable[Region]) -> list[Region]:
        listed = sorted(set(regions))
        self._frames.blank(frame, listed, background_of(self._image, self._frames.pixels(frame)))
        self._blanked += [BlankedRegion(frame, region) for region in listed]
        return listed

    def _with_margin(self, text: Region) -> Region:
        """A text with some pixels around it, but not into an ultrasound region (0018,6011) that it lies outside of."""
        image = self._image
        grown = text.grown(self._policy.margin).clipped(image.columns, image.rows) or text
        beside = (region for region in image.ultrasound_regions if not region.meets(text))
        return text if any(region.meets(grown) for region in beside) else grown


def _standing(seen: Sequence[Sequence[Detection]]) -> list[Detection]:
    """The texts that stand at one place in more than half of the frames."""
    frames = [{text.region: text for text in texts} for texts in seen]
    counted = Counter(region for texts in frames for region in texts)
    by_region = {region: text for texts in frames for region, text in texts.items()}
    return [text for region, text in by_region.items() if 2 * counted[region] > len(seen) > 1]


def _in_order(pixels: PixelElement, image: ImageDescription) -> memoryview:
    """The bytes of native pixels as OB has them: in big endian OW, those of 8-bit pixels are swapped (PS3.5 8.1.2)."""
    if not (image.big_endian and image.bits_allocated <= 8 and pixels.vr == "OW"):
        return pixels.value
    return memoryview(np.frombuffer(pixels.value, dtype=np.uint16).byteswap().tobytes())


def _of_native(image: ImageDescription, received: ImageDescription) -> tuple[ChangedAttribute, ...]:
    """The attributes that differ once compressed pixels are native."""
    changed = []
    if image.photometric_interpretation != received.photometric_interpretation:
        photometric = image.photometric_interpretation.encode("ascii")
        changed.append(ChangedAttribute(PHOTOMETRIC_INTERPRETATION, "CS", photometric + b" " * (len(photometric) & 1)))
    if image.samples_per_pixel == 3:
        changed.append(ChangedAttribute(PLANAR_CONFIGURATION, "US", image.planar_configuration.to_bytes(2, "little")))
    changed.append(ChangedAttribute(HIGH_BIT, "US", image.high_bit.to_bytes(2, "little")))
    return tuple(changed)


def _offset_tables(tables: ExtendedOffsets | None) -> tuple[ChangedAttribute, ...]:
    return (
        ChangedAttribute(EXTENDED_OFFSETS, "OV", tables.offsets if tables else None),
        ChangedAttribute(EXTENDED_LENGTHS, "OV", tables.lengths if tables else None),
    )
