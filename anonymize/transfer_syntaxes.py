"""Says how a transfer syntax encodes a data set, and brings a received one into a form that can be walked (PS3.5 A).

Pixel data stays as it is: only the encoding around it matters here. A syntax that we do not know is tried, never
assumed: the caller learns that it is unknown.
"""

from typing import Final, NamedTuple

from pydicom._uid_dict import UID_dictionary

from anonymize.elements import Encoding, inflate, walk
from anonymize.errors import MalformedDataSet

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

DEFLATED: Final = frozenset(
    {
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)

JPIP_REFERENCED: Final = frozenset(  # the pixels lie behind Pixel Data Provider URL (PS3.5 A.6, A.7)
    {
        "1.2.840.10008.1.2.4.94",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
    }
)

NATIVE: Final = (
    frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}) | DEFLATED
) - JPIP_REFERENCED
"""The transfer syntaxes that do not compress pixels; any other is taken to (PS3.5 A.1 to A.5)."""

_NO_DATA_SET: Final = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"})  # MIME and XML, both retired

KNOWN: Final = frozenset(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax") - _NO_DATA_SET


class EncodedDataSet(NamedTuple):
    """A data set ready to be walked: inflated if it was deflated, else the very object that was given."""

    data: bytes
    encoding: Encoding
    deflated: bool


def encoded_data_set(data_set: bytes, transfer_syntax_uid: str) -> EncodedDataSet:
    """Find the encoding of `data_set`, not yet checked unless the syntax is unknown.

    Unknown (private) syntaxes: Explicit VR Little Endian if all of it parses so, else Implicit VR. Raises
    `MalformedDataSet` when neither does or a deflated stream is broken.
    """
    if transfer_syntax_uid in DEFLATED:
        return EncodedDataSet(inflate(data_set), Encoding.EXPLICIT_LITTLE, deflated=True)
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return EncodedDataSet(data_set, Encoding.IMPLICIT_LITTLE, deflated=False)
    if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        return EncodedDataSet(data_set, Encoding.EXPLICIT_BIG, deflated=False)
    if transfer_syntax_uid in KNOWN or _parses(data_set, Encoding.EXPLICIT_LITTLE):
        return EncodedDataSet(data_set, Encoding.EXPLICIT_LITTLE, deflated=False)
    if _parses(data_set, Encoding.IMPLICIT_LITTLE):
        return EncodedDataSet(data_set, Encoding.IMPLICIT_LITTLE, deflated=False)
    raise MalformedDataSet(0, "the transfer syntax is unknown and the bytes are no data set in either VR encoding")


def _parses(data_set: bytes, encoding: Encoding) -> bool:
    try:
        for _ in walk(data_set, encoding):
            pass
    except MalformedDataSet:
        return False
    return True
