"""De-identification of DICOM instances (PS3.15 Annex E): values in, values out, no I/O but the package's own tables.

from anonymize import read_header

AnonymizeError
├── MalformedDataSet      the bytes are no data set (offset, reason)
│   └── UnreadableText    … or a text that identifies the patient cannot be decoded
├── Quarantine            the instance cannot be proven clean (reason, for a machine)
├── InvalidPolicy         options that exclude each other, or that cannot be kept
└── InvalidProfile        the table of rules is damaged
"""

from anonymize.deidentification import Deidentified, deidentify
from anonymize.errors import (
    RELEASABLE,
    AnonymizeError,
    InvalidPolicy,
    InvalidProfile,
    MalformedDataSet,
    Quarantine,
    QuarantineReason,
    UnreadableText,
)
from anonymize.file_meta import FileMetaInformation, read_file_meta_information
from anonymize.header import Header, read_header
from anonymize.instances import DeidentifiedInstance, PatientPseudonym, ReceivedInstance
from anonymize.options import BASIC, Claim, Option, Policy
from anonymize.rules import Action, Rule
from anonymize.trail import Decision
from anonymize.uids import map_uid

__all__ = [
    "BASIC",
    "RELEASABLE",
    "Action",
    "AnonymizeError",
    "Claim",
    "Decision",
    "Deidentified",
    "DeidentifiedInstance",
    "FileMetaInformation",
    "Header",
    "InvalidPolicy",
    "InvalidProfile",
    "MalformedDataSet",
    "Option",
    "PatientPseudonym",
    "Policy",
    "Quarantine",
    "QuarantineReason",
    "ReceivedInstance",
    "Rule",
    "UnreadableText",
    "deidentify",
    "map_uid",
    "read_file_meta_information",
    "read_header",
]
