"""Why pixel data could not be proven clean, as a value; and the errors of this package.

PixelError
├── IncompleteDescription   attributes that say how the pixels lie are missing or contradict each other (tag)
├── MalformedPixels         fragments or a codestream are not what their standard says (reason)
└── InvalidScript           a script of regions cannot be read (line, column)

`MalformedPixels` is caught by `clean_pixels` and comes out as its reason; the other two are the caller's to handle.
No message holds a value of the data set or a text that was read in an image.
"""

from enum import StrEnum, unique
from typing import Final


@unique
class PixelReason(StrEnum):
    """Why pixel data is not passed on. The value is stable: it is stored and shown to operators."""

    UNDESCRIBED = "undescribed-pixels"
    WRONG_LENGTH = "pixel-data-too-short"
    TOO_LONG = "pixel-data-too-long"  # decoded it would not fit the 32-bit length of an element (PS3.5 7.1.1)
    MALFORMED_FRAGMENTS = "malformed-fragments"
    MALFORMED_CODESTREAM = "malformed-codestream"
    UNKNOWN_CODESTREAM = "unknown-codestream"  # a syntax whose codestreams are not looked into (video, JPEG XL)
    UNDECODABLE = "undecodable-pixels"
    UNRENDERABLE = "unrenderable-pixels"  # no 8-bit image can be made of them to look for text in
    NO_DETECTOR = "no-text-detector"  # policy says to look, and there is nothing to look with
    TEXT_DECLARED = "burned-in-annotation"  # declared, and nobody may look, or nothing was found to be blanked
    TEXT_REMAINS = "text-remains"  # still readable after blanking


class PixelError(Exception):
    """Base of the errors of this package."""


class IncompleteDescription(PixelError):
    """An attribute of the image pixel module (PS3.3 C.7.6.3) that is needed is missing or impossible: `tag`."""

    reason: Final = PixelReason.UNDESCRIBED

    def __init__(self, tag: int) -> None:
        super().__init__(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing or impossible for an image")
        self.tag = tag

    def __reduce__(self) -> tuple[type["IncompleteDescription"], tuple[int]]:
        """Survive the way back from a worker process."""
        return type(self), (self.tag,)


class MalformedPixels(PixelError):
    """Pixel data is not what its transfer syntax says: `reason`."""

    def __init__(self, reason: PixelReason, what: str) -> None:
        super().__init__(f"{reason.value}: {what}")
        self.reason = reason
        self.what = what

    def __reduce__(self) -> tuple[type["MalformedPixels"], tuple[PixelReason, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.reason, self.what)


class InvalidScript(PixelError):
    """A script of pixel regions cannot be read; no part of it is used. `line` and `column` count from 1."""

    def __init__(self, line: int, column: int, what: str) -> None:
        super().__init__(f"pixel script, line {line}, column {column}: {what}")
        self.line = line
        self.column = column
        self.what = what

    def __reduce__(self) -> tuple[type["InvalidScript"], tuple[int, int, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.line, self.column, self.what)
