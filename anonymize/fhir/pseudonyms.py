"""Keyed stand-ins for ids, references, identifiers and UIDs: what was equal stays equal, and nothing else is told.

All come from HMAC-SHA-256 under the patient's key, so that destroying the key cuts every link. A literal reference and
the id of the resource that it names get the same stand-in (FHIR R4 2.3.0.1), wherever the two are found.
"""

import hashlib
import hmac
import re
from typing import Final
from uuid import UUID

from anonymize.fhir.definitions import is_resource
from anonymize.uids import map_uid

PSEUDONYM_SYSTEM: Final = f"urn:oid:2.25.{UUID('7f0f6f0e-6f0c-5c0b-9a9e-7c9d5a1f3b21').int}"
"""The name space of our pseudonyms: of the patient's own, and of identifiers' values."""

DICOM_UID_SYSTEM: Final = "urn:dicom:uid"
NEUTRAL_BASE: Final = "https://deidentified.invalid/fhir/"  # RFC 2606: no host will ever have this name

_ID: Final = r"[A-Za-z0-9.-]{1,64}"
_LITERAL: Final = re.compile(
    rf"(?P<base>https?://[^?#\s]+/)?(?P<type>[A-Z][A-Za-z]{{1,63}})/(?P<id>{_ID})(?:/_history/{_ID})?"
)
_OID: Final = re.compile(r"urn:oid:([0-9.]{1,128})")


class Pseudonyms:
    """Makes stand-ins under one patient's key, or under `hash_key` where the rules give one.

    `own_base` is the service base of all entries of a Bundle, if they share one: a reference that begins with it means
    the same as one without. `base` is that of the entry in which the value stands, or "" outside of a Bundle.
    """

    def __init__(self, uid_key: bytes, own_base: str | None) -> None:
        self._uid_key = uid_key
        self._key = hmac.digest(uid_key, b"kopru fhir pseudonyms", hashlib.sha256)
        self._own_base = own_base

    def text(self, value: str, hash_key: bytes = b"") -> str:
        """Any text, as 64 hexadecimal digits under `hash_key`, else as 32 under the patient's key."""
        if hash_key:
            return hmac.digest(hash_key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()
        return self._digest("text", value).hex()

    def resource_id(self, type_name: str, value: str, base: str, hash_key: bytes = b"") -> str:
        """Give the id of a resource. `base` is the service base of its Bundle entry, if it has one."""
        if hash_key:
            return self.text(value, hash_key)
        return self._digest("id", self._scope(base), type_name, value).hex()

    def contained_id(self, value: str, hash_key: bytes = b"") -> str:
        """Give the id of a contained resource, which is only looked up within the resource around it."""
        return self.text(value, hash_key) if hash_key else self._digest("contained", value).hex()

    def reference(self, value: str, base: str, hash_key: bytes = b"") -> str:
        """Map a literal reference: a fragment, a relative or absolute URL, ``urn:uuid:``, ``urn:oid:`` or anything."""
        if value.startswith("#"):
            return "#" + self.contained_id(value[1:], hash_key) if value != "#" else "#"
        match = _LITERAL.fullmatch(value)
        if match is None or not is_resource(match["type"]):
            return self.urn(value)
        own = match["base"] or base
        return f"{match['type']}/{self.resource_id(match['type'], match['id'], own, hash_key)}"

    def full_url(self, value: str, hash_key: bytes = b"") -> str:
        """Map the fullUrl of a Bundle entry, so that references to it still resolve (FHIR R4 2.36.4.1)."""
        match = _LITERAL.fullmatch(value)
        if match is None or not match["base"] or not is_resource(match["type"]):
            return self.urn(value)
        return NEUTRAL_BASE + self.reference(value, match["base"], hash_key)

    def request_url(self, value: str, base: str, hash_key: bytes = b"") -> str | None:
        """Map the URL of a Bundle entry's request or response; None for a search, whose terms may be anything."""
        if is_resource(value):
            return value
        return self.reference(value, base, hash_key) if _LITERAL.fullmatch(value) else None

    def uid(self, value: str) -> str:
        """Map a DICOM UID, as in the images themselves; given plain or as ``urn:oid:``."""
        match = _OID.fullmatch(value)
        return f"urn:oid:{map_uid(self._uid_key, match[1])}" if match else map_uid(self._uid_key, value)

    def urn(self, value: str) -> str:
        """Any URI as a ``urn:uuid:``, of version 8 (RFC 9562 5.8)."""
        digest = int.from_bytes(self._digest("urn", value), "big")
        version_and_variant = 0xF << 76 | 0x3 << 62
        return f"urn:uuid:{UUID(int=digest & ~version_and_variant | 0x8 << 76 | 0x2 << 62)}"

    def identifier(self, system: str, value: str, hash_key: bytes = b"") -> str:
        """Give the value of an identifier; equal values of two systems differ."""
        if system == DICOM_UID_SYSTEM:
            return self.uid(value)
        return self.text(value, hash_key) if hash_key else self._digest("identifier", system, value).hex()

    def noise(self, *parts: str) -> float:
        """Give a number from 0 up to 1 that depends on nothing but the key and `parts`."""
        return int.from_bytes(self._digest("noise", *parts)[:7], "big") / (1 << 56)

    def _scope(self, base: str) -> str:
        return "" if base == self._own_base else base

    def _digest(self, *parts: str) -> bytes:
        """16 bytes; each part goes in with its length, so that no two lists of parts are the same."""
        encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(8, "big") + part for part in encoded)
        return hmac.digest(self._key, message, hashlib.sha256)[:16]


def service_base(full_url: str) -> str:
    """Give the service base of a fullUrl, with its slash; "" where it is no RESTful URL."""
    match = _LITERAL.fullmatch(full_url)
    return (match["base"] or "") if match is not None else ""
