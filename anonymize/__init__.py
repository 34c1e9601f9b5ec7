"""De-identification of DICOM instances (PS3.15 Annex E): values in, values out, no I/O but the package's own tables.

from anonymize import read_header

AnonymizeError
├── MalformedDataSet      the bytes are no data set (offset, reason)
│   └── UnreadableText    … or a text that identifies the patient cannot be decoded
├── Quarantine            the instance cannot be proven clean (reason, for a machine)
├── InvalidPolicy         options that exclude each other, or that cannot be kept
└── InvalidProfile        the table of rules is damaged
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

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
from anonymize.options import BASIC, Claim, Option, Policy

if TYPE_CHECKING:
    from anonymize.deidentification import Deidentified, deidentify
    from anonymize.file_meta import FileMetaInformation, read_file_meta_information
    from anonymize.header import Header, read_header
    from anonymize.instances import DeidentifiedInstance, PatientPseudonym, ReceivedInstance
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

_ELSEWHERE: Final = {
    **dict.fromkeys(("Deidentified", "deidentify"), "deidentification"),
    **dict.fromkeys(("FileMetaInformation", "read_file_meta_information"), "file_meta"),
    **dict.fromkeys(("Header", "read_header"), "header"),
    **dict.fromkeys(("DeidentifiedInstance", "PatientPseudonym", "ReceivedInstance"), "instances"),
    **dict.fromkeys(("Action", "Rule"), "rules"),
    "Decision": "trail",
    "map_uid": "uids",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for. Settings and commands know policies by name, and need not wait a second for the rest."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module 'anonymize' has no attribute {name!r}")
    return getattr(importlib.import_module(f"anonymize.{_ELSEWHERE[name]}"), name)
