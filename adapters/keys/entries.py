"""What the key store hands out. Keys show in no `repr`; names and tags are random or keyed, never a patient's."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from adapters.keys.sealing import KEY_BYTES


@dataclass(frozen=True, slots=True)
class EpochKey:
    """The key under which receivers wrap data keys for a while. `key` is 32 bytes; times are UTC epoch seconds."""

    id: str
    key: bytes = field(repr=False)
    created_at: float


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """An epoch whose key still exists; `closed_at` is None while receivers use it."""

    id: str
    created_at: float
    closed_at: float | None


@dataclass(frozen=True, slots=True)
class PatientEntry:
    """All that must outlive the database about a patient scope, and nothing that says who it is (DESIGN §5).

    `id` is 32 random hex digits, `key` 32 random bytes, `scope_tag` the keyed tag of the scope; `pseudonym`,
    `audit_tag` and `date_offset_days` (whole days, not zero) are random and never change.
    """

    id: str
    key: bytes = field(repr=False)
    scope_tag: str
    pseudonym: str
    date_offset_days: int = field(repr=False)
    audit_tag: str
    created_at: float

    def subkey(self, purpose: str) -> bytes:
        """The patient's 32-byte key for one purpose ("uid", "columns", "objects"): HKDF-SHA-256 of `key`."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"kopru patient 1 " + purpose.encode()).derive(self.key)


def encode(values: Mapping[str, object]) -> bytes:
    """The JSON form that is sealed; keys in hex."""
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def encode_patient(entry: PatientEntry) -> bytes:
    """The form of a patient's entry that is sealed."""
    return encode(asdict(entry))


def decode_patient(data: bytes) -> PatientEntry:
    """Read what `encode_patient` wrote."""
    values = json.loads(data)
    return PatientEntry(**{**values, "key": bytes.fromhex(values["key"])})


def decode_epoch(data: bytes) -> EpochKey:
    """Read what `encode` made of an `EpochKey`."""
    values = json.loads(data)
    return EpochKey(values["id"], bytes.fromhex(values["key"]), values["created_at"])


def decode_closing(data: bytes) -> float:
    """When an epoch was closed (UTC epoch seconds)."""
    return float(json.loads(data)["closed_at"])
