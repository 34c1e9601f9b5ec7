"""De-identification of DICOM instances (PS3.15 Annex E): values in, values out, no I/O but the package's own tables.

from anonymize import read_header

AnonymizeError
├── MalformedDataSet      the bytes are no data set (offset, reason)
│   └── UnreadableText    … or a text that identifies the patient cannot be decoded
├── Quarantine            the instance cannot be proven clean (reason, for a machine)
└── InvalidProfile        the table of rules is damaged
"""

from anonymize.errors import (
    AnonymizeError,
    InvalidProfile,
    MalformedDataSet,
    Quarantine,
    QuarantineReason,
    UnreadableText,
)
from anonymize.header import Header, read_header
from anonymize.instances import DeidentifiedInstance, PatientPseudonym, ReceivedInstance

__all__ = [
    "AnonymizeError",
    "DeidentifiedInstance",
    "Header",
    "InvalidProfile",
    "MalformedDataSet",
    "PatientPseudonym",
    "Quarantine",
    "QuarantineReason",
    "ReceivedInstance",
    "UnreadableText",
    "read_header",
]
