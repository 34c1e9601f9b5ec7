"""What finds text in a picture, as a protocol: the engine that ships is `rapid_ocr.RapidOcrDetector`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anonymize.pixels.image import Region
from anonymize.pixels.rendering import Picture


@dataclass(frozen=True, slots=True)
class Detection:
    """Text in a picture. `text` is "" where something looks like text and could not be read; `score` is 0 to 1.

    The text may be a patient's name: it is never shown, logged or kept.
    """

    region: Region
    text: str = field(repr=False)
    score: float


class TextDetector(Protocol):
    """Finds text. Raises nothing but its own failures, which are not the image's fault: the caller's to retry."""

    def find(self, picture: Picture) -> Sequence[Detection]:
        """All text in one picture, regions within it; the same picture gives the same answer."""
        ...
