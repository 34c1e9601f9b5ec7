"""The keys: a master key, and a mirrored store of intake-epoch and patient keys with an erasure ledger (DESIGN §5).

KeyStoreError
├── MasterKeyError         absent, readable by others, or of the wrong length
├── Tampered               sealed bytes do not open under this key in this place
├── KeyStoreUnavailable    a mirror's disk fails; nothing was promised
├── KeyStoreCorrupt        an entry is damaged in both mirrors
├── KeyMissing             the key is nowhere, and was not destroyed: restore a backup
└── KeyDestroyed           the erasure ledger names the key: gone for good
"""

from adapters.keys.entries import EpochKey, EpochStatus, PatientEntry
from adapters.keys.errors import (
    KeyDestroyed,
    KeyMissing,
    KeyStoreCorrupt,
    KeyStoreError,
    KeyStoreUnavailable,
    MasterKeyError,
    Tampered,
)
from adapters.keys.master import MasterKey, is_credential
from adapters.keys.sealing import open_value, seal_value
from adapters.keys.store import KeyStore, is_pseudonym

__all__ = [
    "EpochKey",
    "EpochStatus",
    "KeyDestroyed",
    "KeyMissing",
    "KeyStore",
    "KeyStoreCorrupt",
    "KeyStoreError",
    "KeyStoreUnavailable",
    "MasterKey",
    "MasterKeyError",
    "PatientEntry",
    "Tampered",
    "is_credential",
    "is_pseudonym",
    "open_value",
    "seal_value",
]
