"""De-identification of DICOM instances (PS3.15 Annex E): values in, values out, no I/O but the package's own tables.

from anonymize import read_header

AnonymizeError
├── MalformedDataSet      the bytes are no data set (offset, reason)
│   └── UnreadableText    … or a text that identifies the patient cannot be decoded
├── Quarantine            the instance cannot be proven clean (reason, for a machine)
└── InvalidProfile        the table of rules is damaged
"""

from anonymize.deidentification import Decision, Deidentified, deidentify
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
from anonymize.rules import Action, Rule
from anonymize.uids import map_uid

__all__ = [
    "Action",
    "AnonymizeError",
    "Decision",
    "Deidentified",
    "DeidentifiedInstance",
    "Header",
    "InvalidProfile",
    "MalformedDataSet",
    "PatientPseudonym",
    "Quarantine",
    "QuarantineReason",
    "ReceivedInstance",
    "Rule",
    "UnreadableText",
    "deidentify",
    "map_uid",
    "read_header",
]
