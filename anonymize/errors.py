"""Every error that `anonymize` raises; the tree is drawn in the package's docstring.

A message says what was wrong, where, and what to do next. It never holds a value of the data set.
"""

from enum import StrEnum, unique
from typing import Final


class AnonymizeError(Exception):
    """Base of all errors of this package."""


class MalformedDataSet(AnonymizeError):
    """The bytes are no data set of the transfer syntax they were sent in (PS3.5 7).

    `offset` is the byte offset of the element or item at fault within the (inflated) data set; `reason` is one of a
    fixed number of sentences without data.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"malformed data set at byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason

    def __reduce__(self) -> tuple[type["MalformedDataSet"], tuple[int, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.offset, self.reason)


class UnreadableText(MalformedDataSet):
    """The structure is sound, but a text that identifies the patient cannot be decoded (PS3.3 C.12.1.1.2).

    Raised only for Patient ID and Issuer of Patient ID: guessing at them could join two patients or split one.
    """


@unique
class QuarantineReason(StrEnum):
    """Why an instance could not be proven clean. The value is stable: it is stored and shown to operators."""

    MALFORMED_DATA_SET = "malformed-data-set"
    UNKNOWN_TRANSFER_SYNTAX = "unknown-transfer-syntax"
    UNKNOWN_SOP_CLASS = "unknown-sop-class"
    MISSING_UID = "missing-uid"
    IDENTITY_MISMATCH = "identity-mismatch"  # the data set is not the instance that the peer announced
    BURNED_IN_ANNOTATION = "burned-in-annotation"
    KNOWN_IDENTIFIER = "known-identifier"  # a value that would stay holds what the data set names its patient by
    UNDESCRIBED_PIXELS = "undescribed-pixels"
    SHORT_PIXEL_DATA = "pixel-data-too-short"
    LONG_PIXEL_DATA = "pixel-data-too-long"
    MALFORMED_FRAGMENTS = "malformed-fragments"
    MALFORMED_CODESTREAM = "malformed-codestream"
    UNKNOWN_CODESTREAM = "unknown-codestream"  # video and the like: nobody here looks into it
    UNDECODABLE_PIXELS = "undecodable-pixels"
    UNRENDERABLE_PIXELS = "unrenderable-pixels"
    NO_TEXT_DETECTOR = "no-text-detector"  # the policy says to look for text, and there is nothing to look with
    TEXT_REMAINS = "text-remains"  # text is still read after blanking
    UNSOUND_LOOK_UP_TABLE = "unsound-look-up-table"  # entries that its descriptor does not announce
    TEXT_IN_NUMBERS = "text-in-numbers"  # the bytes of a value of numbers spell text
    REMOTE_PIXEL_DATA = "remote-pixel-data"  # the pixels lie behind a URL (PS3.5 A.6): nothing to check or to pass on


RELEASABLE: Final = frozenset(
    {
        QuarantineReason.BURNED_IN_ANNOTATION,
        QuarantineReason.KNOWN_IDENTIFIER,
        QuarantineReason.NO_TEXT_DETECTOR,
        QuarantineReason.TEXT_IN_NUMBERS,
        QuarantineReason.TEXT_REMAINS,
        QuarantineReason.UNRENDERABLE_PIXELS,
        QuarantineReason.UNSOUND_LOOK_UP_TABLE,
    }
)
"""Reasons that a person who has looked at the instance may set aside: a doubt, and no defect of the data."""


class Quarantine(AnonymizeError):
    """The instance is not passed on: `reason` says why, for a machine. Holds no data."""

    def __init__(self, reason: QuarantineReason) -> None:
        super().__init__(f"quarantined: {reason.value}")
        self.reason = reason

    def __reduce__(self) -> tuple[type["Quarantine"], tuple[QuarantineReason]]:
        """Survive the way back from a worker process."""
        return type(self), (self.reason,)


class InvalidPolicy(AnonymizeError):
    """Options were chosen together that exclude each other, or one that cannot be kept; the message says which."""


class InvalidProfile(AnonymizeError):
    """The table of confidentiality rules that ships with the package is damaged or holds an action we do not know."""
