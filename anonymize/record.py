"""What an output says about its own de-identification (PS3.15 E.2 and E.3, CID 7050, PS3.3 C.12.1 and C.7.6.1)."""

from functools import lru_cache
from typing import Final

from anonymize.elements import Encoding
from anonymize.encoding import encode, encode_item
from anonymize.options import BASIC_PROFILE, Code, Dates, Option, Policy
from anonymize.pixels import BlankedText

METHOD: Final = 0x00120063
"""De-identification Method."""

BURNED_IN_ANNOTATION: Final = 0x00280301
"""Written NO with every image: what may hold text is cleaned or quarantined before."""

_TIMES: Final = {
    Dates.REMOVED: b"REMOVED",
    Dates.YEAR: b"MODIFIED",
    Dates.SHIFTED: b"MODIFIED",
    Dates.FULL: b"UNMODIFIED",
}


@lru_cache(maxsize=64)
def record(edition: str, policy: Policy, encoding: Encoding) -> tuple[tuple[int, bytes], ...]:
    """Tag and encoded element of what every output says of how it was made."""
    codes = [BASIC_PROFILE, *(option.code for option in Option if option in policy.options)]
    elements = (
        (0x00120062, "CS", b"YES"),
        (METHOD, "LO", "\\".join(methods(edition, policy)).encode("ascii")),
        (0x00120064, "SQ", b"".join(_item(code, encoding) for code in codes)),
        (0x00280303, "CS", _TIMES[policy.dates]),
    )
    return tuple((tag, encode(tag, vr, value, encoding)) for tag, vr, value in elements)


def methods(edition: str, policy: Policy) -> list[str]:
    """The values of De-identification Method: the profile, what no code says, and the claim that the output meets."""
    values = [f"Basic Application Confidentiality Profile PS3.15 {edition}"]
    if policy.dates is Dates.YEAR:
        values.append("Dates reduced to their year")
    values.append(policy.claim.value)
    return values


def blanked(text: BlankedText) -> str:
    """What De-identification Method says of text that was declared: how much of it was found. At most 64 characters."""
    return f"Declared text blanked: {text.regions} regions, {text.frames} frames, {text.percent} %"


def _item(code: Code, encoding: Encoding) -> bytes:
    return encode_item(
        encode(0x00080100, "SH", code.value.encode("ascii"), encoding)
        + encode(0x00080102, "SH", b"DCM", encoding)
        + encode(0x00080104, "LO", code.meaning.encode("ascii"), encoding),
        encoding,
    )
