"""The sealed object store: what was received and what was derived, under keys that can be destroyed (DESIGN §5).

StoreError
├── StoreFull           no room, or not enough left free
├── StoreUnavailable    the disk fails
├── StoreInUse          another live process writes under this receiver id
├── ObjectMissing       no such object
├── ObjectDamaged       an object does not open (a `Tampered`, too)
└── InvalidReference    a text is no reference
"""

from adapters.keys import Tampered, open_value, seal_value
from adapters.storage.container import KeyKind, KeyName
from adapters.storage.errors import (
    InvalidReference,
    ObjectDamaged,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreUnavailable,
)
from adapters.storage.intake import IntakeWriter
from adapters.storage.objects import ObjectStore
from adapters.storage.receipt import EventKind, Receipt, ReceiptKind
from adapters.storage.references import Batch, ObjectRef

__all__ = [
    "Batch",
    "EventKind",
    "IntakeWriter",
    "InvalidReference",
    "KeyKind",
    "KeyName",
    "ObjectDamaged",
    "ObjectMissing",
    "ObjectRef",
    "ObjectStore",
    "Receipt",
    "ReceiptKind",
    "StoreError",
    "StoreFull",
    "StoreInUse",
    "StoreUnavailable",
    "Tampered",
    "open_value",
    "seal_value",
]
