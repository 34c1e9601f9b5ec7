"""The two classes of DICOM instance that the whole system turns on.

A `ReceivedInstance` carries identified data and must never reach a pipeline, a model or a log. A
`DeidentifiedInstance` is only ever made by `anonymize.deidentify`; functions that must not see a patient take
that type, so that passing the other is a type error (DESIGN §2.3). Neither shows its content in `repr`.
"""

import json
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One SOP instance as a peer sent it: identified, possibly malformed, never decoded.

    `data_set` is the encoded data set exactly as it came over the network: no preamble, no File Meta Information,
    in `transfer_syntax_uid`. The UIDs are those of the C-STORE request (PS3.7 9.3.1), which the receiver has
    compared with the data set.
    """

    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    transfer_syntax_uid: str
    data_set: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeidentifiedInstance:
    """One SOP instance without identified data: all UIDs are mapped, `file` is a complete Part 10 file (PS3.10 7.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    file: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The form in which an instance is kept between steps: its UIDs as a line of JSON, then the file."""
        names = [getattr(self, name) for name in _KEPT_NAMES]
        return json.dumps(names, separators=(",", ":")).encode() + b"\n" + self.file

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        line, _, file = data.partition(b"\n")
        return cls(**dict(zip(_KEPT_NAMES, json.loads(line), strict=True)), file=file)


_KEPT_NAMES = ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid", "transfer_syntax_uid")


@dataclass(frozen=True, slots=True)
class PatientPseudonym:
    """What de-identification needs to know of a patient; holds nothing of the identity.

    `pseudonym` replaces Patient ID and Patient's Name. `uid_key` (32 bytes) keys the UID mapping.
    `date_offset_days` is a non-zero whole number of days, the same for all data of the patient.
    """

    pseudonym: str
    uid_key: bytes = field(repr=False)
    date_offset_days: int = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.uid_key) != 32:
            raise ValueError("uid_key must be 32 bytes")
        if self.date_offset_days == 0:
            raise ValueError("date_offset_days must not be zero")
