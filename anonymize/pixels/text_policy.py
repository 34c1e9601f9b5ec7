"""Decides whether an image is looked at for burned-in text, before any pixel of it is decoded.

Looking costs 0.1 s to some seconds a frame, so most slices of CT and MR are passed unseen by default. (0028,0301)
Burned In Annotation is believed when it says YES. Its NO is not believed of devices that draw the patient's name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from anonymize.pixels.detection import Detection
from anonymize.pixels.image import ImageDescription
from anonymize.pixels.markers import Markers


@unique
class Look(StrEnum):
    """A source's setting."""

    NEVER = "never"  # the source is known to burn nothing in, or its frames are too many; what declares text is held
    WHEN_SUSPECT = "when-suspect"
    ALWAYS = "always"


@unique
class TextRule(StrEnum):
    """The rule that decided."""

    SETTING = "setting"
    DECLARED = "burned-in-annotation"
    SCREENSHOT = "screenshot"
    MODALITY = "modality"
    COLOUR = "colour"
    UNSUSPECTED = "unsuspected"


_SCREEN_CLASSES: Final = (  # prefixes of SOP classes whose images are pictures of something else (PS3.4 B.5)
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture, single and multi-frame
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound, 3.1 its multi-frame
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # VL Endoscopic, and its video
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic, and its video
)
_PAINTING: Final = frozenset(
    ("US", "IVUS", "ES", "OT", "SC", "XC", "GM", "DOC", "ECG", "BMD", "OCT", "OPT", "OP", "SM", "DG", "TG", "SRF")
)
_MEASURING: Final = frozenset(("CT", "MR", "PT", "NM", "RTDOSE", "SEG"))
_SCREEN_WORDS: Final = ("SCREEN", "CAPTURE", "SNAPSHOT", "DOSE", "REPORT", "TEXT", "CHART", "GRAPH", "PRINT")


@dataclass(frozen=True, slots=True)
class TextPolicy:
    """What a source's settings say: whether to look, which words may stay, and `margin` pixels around a text."""

    look: Look = Look.WHEN_SUSPECT
    markers: Markers = field(default_factory=Markers)
    margin: int = 3


@dataclass(frozen=True, slots=True)
class TextDecision:
    """Whether to look, and why."""

    look: bool
    rule: TextRule


_LEAST_DECLARED: Final = 8  # letters and digits; a side, a time or a depth has fewer, a name with a date has more


def declares_text(image: ImageDescription) -> bool:
    """Whether (0028,0301) says that there is text, or anything that is not NO."""
    return image.burned_in_annotation not in ("", "NO")


def is_what_was_declared(blanked: Iterable[Detection]) -> bool:
    """Whether the texts that are blanked in one frame can be those that its image declares.

    YES means enough text "to identify the patient and date the image was acquired" (PS3.3 C.7.6.1), so to have blanked
    just anything is no answer. The declaration is settled if all of this holds, and else the image is held:

    1. In every frame, texts of eight letters and digits or more are blanked, markers not counted; of a text that
       cannot be read, as many as squares lie along it. A script that blanks regions of the image settles this, too:
       the site says where its device writes.
    2. What stands at one place in most frames counts, and is blanked, in all of them: a reader may fail in some.
    3. Looked at again, a frame has nothing left that even looks like text.

    So a clip that names its patient in a title alone is held: that nothing was found in its other frames may be the
    reader's fault. Where nothing is declared, nothing need be found, and what is left must only not be readable.
    """
    counted: list[Detection] = []
    for text in sorted(blanked, key=_characters, reverse=True):  # a text is found in each rendering of a frame
        if not any(text.region.meets(other.region) for other in counted):
            counted.append(text)
    return sum(map(_characters, counted)) >= _LEAST_DECLARED


def _characters(found: Detection) -> int:
    short, long = sorted((found.region.width, found.region.height))
    return sum(map(str.isalnum, found.text)) or long // short


def decide(image: ImageDescription, policy: TextPolicy) -> TextDecision:
    """Decide by the first of these that applies.

    1. The setting says NEVER or ALWAYS.
    2. Burned In Annotation is YES, or neither YES nor NO: look.
    3. Screenshots, whatever Burned In Annotation says: SOP classes of Secondary Capture, ultrasound, endoscopy and
       photography; a Conversion Type; a word such as SCREEN or DOSE in Image Type: look.
    4. Modalities that paint text into the image, whatever it says (US, IVUS, ES, OT, SC, XC, GM, DOC …): look.
    5. Any other modality that is not one of CT, MR, PT, NM, RTDOSE and SEG (so CR, DX, MG, RF, XA …, and none at
       all), unless it says NO: look.
    6. Colour where the modality measures grey (a dose page or a fusion among CT, MR, PT, NM): look.
    7. Anything else is unsuspected.
    """
    if policy.look is not Look.WHEN_SUSPECT:
        return TextDecision(policy.look is Look.ALWAYS, TextRule.SETTING)
    if declares_text(image):
        return TextDecision(look=True, rule=TextRule.DECLARED)
    if _is_screenshot(image):
        return TextDecision(look=True, rule=TextRule.SCREENSHOT)
    unsaid = not image.burned_in_annotation
    if image.modality in _PAINTING or (image.modality not in _MEASURING and unsaid):
        return TextDecision(look=True, rule=TextRule.MODALITY)
    if image.samples_per_pixel == 3 or image.photometric_interpretation == "PALETTE COLOR":
        return TextDecision(look=True, rule=TextRule.COLOUR)
    return TextDecision(look=False, rule=TextRule.UNSUSPECTED)


def _is_screenshot(image: ImageDescription) -> bool:
    of_class = any(
        image.sop_class_uid == prefix or image.sop_class_uid.startswith(prefix + ".") for prefix in _SCREEN_CLASSES
    )
    words = any(word in value.upper() for value in image.image_type for word in _SCREEN_WORDS)
    return of_class or bool(image.conversion_type) or words
