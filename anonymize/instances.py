"""The two classes of DICOM instance that the whole system turns on.

A `ReceivedInstance` carries identified data and must never reach a pipeline, a model or a log. A
`DeidentifiedInstance` is only ever made by `anonymize.deidentify`; functions that must not see a patient take
that type, so that passing the other is a type error (DESIGN §2.3). Neither shows its content in `repr`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from anonymize.pixels.words import Bytes


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


@dataclass(frozen=True, slots=True, eq=False)
class DeidentifiedInstance:
    """One SOP instance without identified data: all UIDs are mapped, `pieces` make a Part 10 file (PS3.10 7.1).

    Pieces that did not change are views of what was received, so that making an instance takes no second copy of its
    pixels. Two are equal if they have the same bytes; what is pickled has its own.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    pieces: tuple[Bytes, ...] = field(repr=False)

    @property
    def file(self) -> bytes:
        """The file as one: a copy, so for what is small or read as a whole; else write `pieces` one by one."""
        return b"".join(self.pieces)

    def kept_form(self) -> tuple[Bytes, ...]:
        """The form in which an instance is kept between steps, in pieces: its UIDs as a line of JSON, then the file."""
        names = [getattr(self, name) for name in _KEPT_NAMES]
        return (json.dumps(names, separators=(",", ":")).encode() + b"\n", *self.pieces)

    def to_bytes(self) -> bytes:
        """The kept form as one."""
        return b"".join(self.kept_form())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote, without copying it."""
        end = data.index(b"\n")
        names = dict(zip(_KEPT_NAMES, json.loads(data[:end]), strict=True))
        return cls(**names, pieces=(memoryview(data)[end + 1 :],))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeidentifiedInstance) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash((self.sop_instance_uid, sum(map(len, self.pieces))))

    def __reduce__(self) -> tuple[Callable[[bytes], "DeidentifiedInstance"], tuple[bytes]]:
        """Go between processes with what belongs to it and nothing of what it was made from."""
        return DeidentifiedInstance.from_bytes, (self.to_bytes(),)


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
