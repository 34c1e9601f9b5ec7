"""Maps UIDs to others that say nothing, the same way for all data of a patient (PS3.15 E.1.1 action U, PS3.5 B.2).

Without the key the mapping can neither be computed nor reversed; destroying it cuts the link. It must never touch a
UID that the standard defines: classes, transfer syntaxes and the like mean something to every reader.
"""

import hashlib
import hmac
from typing import Final

from pydicom._uid_dict import UID_dictionary

_NEWER_SOP_CLASSES: Final = frozenset(  # of PS3.6 A, edition 2026d, that pydicom's dictionary does not have yet
    {
        "1.2.840.10008.5.1.4.1.1.9.100.1",  # Waveform Presentation State Storage
        "1.2.840.10008.5.1.4.1.1.9.100.2",  # Waveform Acquisition Presentation State Storage
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
        "1.2.840.10008.5.1.4.1.1.66.8",  # Height Map Segmentation Storage
    }
)
SOP_CLASSES: Final = _NEWER_SOP_CLASSES | {uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class"}
WELL_KNOWN: Final = SOP_CLASSES | UID_dictionary.keys()


def map_uid(uid_key: bytes, uid: str) -> str:
    """Map `uid` under the 32-byte `uid_key`; UIDs of the standard's registry (PS3.6 A) come back as they are.

    The answer is 2.25 followed by a UUID of version 8 (RFC 9562 5.8) as a decimal number, whose free 122 bits come
    from HMAC-SHA-256: at most 44 characters. Padding around `uid` does not count; anything else that a peer put
    into a UID, however wrong, is mapped too.
    """
    uid = uid.strip(" \0")
    if uid in WELL_KNOWN:
        return uid
    digest = int.from_bytes(hmac.digest(uid_key, uid.encode("utf-8", "surrogateescape"), hashlib.sha256)[:16], "big")
    version_and_variant = 0xF << 76 | 0x3 << 62
    return f"2.25.{digest & ~version_and_variant | 0x8 << 76 | 0x2 << 62}"
