"""What a site chooses beyond the Basic Profile: the options of PS3.15 E.3, and what the outcome may then be called.

A choice that contradicts itself, or that nobody could keep, is refused when it is made, never when a patient's image
is at stake.
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from anonymize.errors import InvalidPolicy


@unique
class Option(StrEnum):
    """The twelve options of PS3.15 E.3, in the order of CID 7050."""

    CLEAN_PIXEL_DATA = "clean-pixel-data"
    CLEAN_RECOGNIZABLE_VISUAL_FEATURES = "clean-recognizable-visual-features"
    CLEAN_GRAPHICS = "clean-graphics"
    CLEAN_STRUCTURED_CONTENT = "clean-structured-content"
    CLEAN_DESCRIPTORS = "clean-descriptors"
    RETAIN_LONGITUDINAL_FULL_DATES = "retain-longitudinal-full-dates"
    RETAIN_LONGITUDINAL_MODIFIED_DATES = "retain-longitudinal-modified-dates"
    RETAIN_PATIENT_CHARACTERISTICS = "retain-patient-characteristics"
    RETAIN_DEVICE_IDENTITY = "retain-device-identity"
    RETAIN_UIDS = "retain-uids"
    RETAIN_SAFE_PRIVATE = "retain-safe-private"
    RETAIN_INSTITUTION_IDENTITY = "retain-institution-identity"

    @property
    def code(self) -> "Code":
        """Its code in CID 7050."""
        return _CODES[self]

    @property
    def column(self) -> str:
        """Its column in Table E.1-1; the first two have none."""
        return self.value.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept of the DICOM Controlled Terminology (PS3.16 D)."""

    value: str
    meaning: str


BASIC_PROFILE: Final = Code("113100", "Basic Application Confidentiality Profile")

_CODES: Final = {
    Option.CLEAN_PIXEL_DATA: Code("113101", "Clean Pixel Data Option"),
    Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES: Code("113102", "Clean Recognizable Visual Features Option"),
    Option.CLEAN_GRAPHICS: Code("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED_CONTENT: Code("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: Code("113105", "Clean Descriptors Option"),
    Option.RETAIN_LONGITUDINAL_FULL_DATES: Code("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: Code(
        "113107", "Retain Longitudinal Temporal Information Modified Dates Option"
    ),
    Option.RETAIN_PATIENT_CHARACTERISTICS: Code("113108", "Retain Patient Characteristics Option"),
    Option.RETAIN_DEVICE_IDENTITY: Code("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: Code("113110", "Retain UIDs Option"),
    Option.RETAIN_SAFE_PRIVATE: Code("113111", "Retain Safe Private Option"),
    Option.RETAIN_INSTITUTION_IDENTITY: Code("113112", "Retain Institution Identity Option"),
}


@unique
class Dates(StrEnum):
    """What becomes of dates and times."""

    REMOVED = "removed"
    YEAR = "year"  # the first of January of the year; times go
    SHIFTED = "shifted"  # by the patient's whole days; times of day stay
    FULL = "full"


@unique
class Claim(StrEnum):
    """What an output may be called under HIPAA (45 CFR 164.514). More is a matter for a person, not for software."""

    SAFE_HARBOR = "HIPAA Safe Harbor 164.514(b)(2)"
    EXPERT_DETERMINATION = "Needs HIPAA Expert Determination 164.514(b)(1)"


_DATE_OPTIONS: Final = (Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES)
_BEYOND_SAFE_HARBOR: Final = frozenset(
    {
        *_DATE_OPTIONS,  # (C) dates
        Option.RETAIN_DEVICE_IDENTITY,  # (M) device identifiers and serial numbers
        Option.RETAIN_UIDS,  # (R) any other unique identifying number
        Option.RETAIN_INSTITUTION_IDENTITY,  # (B) subdivisions smaller than a state
        Option.RETAIN_SAFE_PRIVATE,  # holds dates and times of acquisition
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The Basic Profile and the options on top of it. Raises `InvalidPolicy` for a choice that cannot be kept.

    `year_only` keeps the year of dates, which no option of PS3.15 does but Safe Harbor allows; it excludes the two
    options on dates.
    """

    options: frozenset[Option] = frozenset()
    year_only: bool = False

    def __post_init__(self) -> None:
        if Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES in self.options:
            raise InvalidPolicy(
                "clean-recognizable-visual-features cannot be done: nothing here proves that a face can no longer be"
                " made from a volume; leave it out, and send no head or face volumes to those who must not see one"
            )
        dates = [option for option in _DATE_OPTIONS if option in self.options]
        if len(dates) + self.year_only > 1:
            named = " and ".join([*dates, *["year-only dates"] * self.year_only])
            raise InvalidPolicy(f"{named} exclude each other: dates have one treatment; leave one")

    @property
    def dates(self) -> Dates:
        """What becomes of dates and times."""
        if self.year_only:
            return Dates.YEAR
        if Option.RETAIN_LONGITUDINAL_FULL_DATES in self.options:
            return Dates.FULL
        if Option.RETAIN_LONGITUDINAL_MODIFIED_DATES in self.options:
            return Dates.SHIFTED
        return Dates.REMOVED

    def within(self, bounds: "Policy") -> "Policy":
        """What this policy retains, of that what `bounds` retains, too. Clean Pixel Data stays: it only takes away."""
        options = self.options & (bounds.options | {Option.CLEAN_PIXEL_DATA})
        year_only = self.year_only and bounds.dates is not Dates.REMOVED
        return Policy(options - set(_DATE_OPTIONS) if year_only else options, year_only)

    @property
    def claim(self) -> Claim:
        """Safe Harbor only where each of its eighteen kinds of identifiers is gone, among them dates but the year."""
        return Claim.EXPERT_DETERMINATION if self.options & _BEYOND_SAFE_HARBOR else Claim.SAFE_HARBOR


BASIC: Final = Policy()
"""The Basic Profile alone."""
