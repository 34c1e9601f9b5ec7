"""Pixel data of DICOM instances: codestreams, unused bits and burned-in text (PS3.15 E.3.1 Clean Pixel Data Option).

from anonymize.pixels import ImageDescription, PixelElement, TextPolicy, clean_pixels

PixelError
├── IncompleteDescription   attributes that say how the pixels lie are missing or contradict each other (tag)
├── MalformedPixels         fragments or a codestream are not what their standard says (reason)
└── InvalidScript           a script of regions cannot be read (line, column)
"""

from anonymize.pixels.cleaning import (
    BlankedRegion,
    BlankedText,
    ChangedAttribute,
    PixelElement,
    PixelOutcome,
    clean_pixels,
)
from anonymize.pixels.ctp_script import PixelScript, read_script, text_of
from anonymize.pixels.detection import Detection, TextDetector
from anonymize.pixels.errors import IncompleteDescription, InvalidScript, MalformedPixels, PixelError, PixelReason
from anonymize.pixels.fragments import ExtendedOffsets
from anonymize.pixels.image import DESCRIBING_TAGS, ImageDescription, Region
from anonymize.pixels.markers import DEFAULT_MARKERS, Markers
from anonymize.pixels.overlays import OVERLAY_DATA, OverlayPlane
from anonymize.pixels.rapid_ocr import RapidOcrDetector
from anonymize.pixels.text_policy import Look, TextDecision, TextPolicy, TextRule, decide

__all__ = [
    "DEFAULT_MARKERS",
    "DESCRIBING_TAGS",
    "OVERLAY_DATA",
    "BlankedRegion",
    "BlankedText",
    "ChangedAttribute",
    "Detection",
    "ExtendedOffsets",
    "ImageDescription",
    "IncompleteDescription",
    "InvalidScript",
    "Look",
    "MalformedPixels",
    "Markers",
    "OverlayPlane",
    "PixelElement",
    "PixelError",
    "PixelOutcome",
    "PixelReason",
    "PixelScript",
    "RapidOcrDetector",
    "Region",
    "TextDecision",
    "TextDetector",
    "TextPolicy",
    "TextRule",
    "clean_pixels",
    "decide",
    "read_script",
    "text_of",
]
