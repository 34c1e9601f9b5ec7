"""One acknowledged instance on its way into the index: read, keyed, ready to be placed. Holds tags and sealed values
only.
"""

from dataclasses import dataclass, field
from enum import Enum


class ArrivalKind(Enum):
    """What an arrival is to assembly."""

    IMAGE = "image"  # something a pipeline may want
    UNSELECTED = "unselected"  # presentation state, key object, dose report …: kept, makes no revision
    OWN_RESULT = "own-result"  # we made it
    REJECTION_NOTE = "rejection-note"  # IHE IOCM: takes other instances back


@dataclass(frozen=True, slots=True)
class PatientKeyed:
    """The patient scope of an arrival; the fields of a row of `patient`."""

    id: str
    scope_tag: str
    pseudonym: str
    audit_tag: str
    sealed_identity: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance. Tags are keyed digests, times are seconds since the Unix epoch."""

    instance_id: str
    object_ref: str
    kind: ArrivalKind
    patient: PatientKeyed
    association_id: str
    source: str
    received_at: float
    uid_tag: str
    study_uid_tag: str
    series_tag: str | None
    accession_tag: str | None
    sealed_description: bytes = field(repr=False)
    sealed_identity: bytes = field(repr=False)  # of this instance: patient and study as it says
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str | None
    content_tag: str
    identity_tag: str
    pixel_tag: str
    byte_length: int
    priority: int
    expected_instances: int | None
    rejected_uid_tags: tuple[str, ...] = ()
    same_pixels: frozenset[str] = frozenset()  # ids of instances that show the same image (`daemon.intake.twins`)
    names_nobody: bool = False  # its Patient ID is missing or a placeholder: the scope is its study's own
    pseudonym: str | None = None  # its Patient ID where that has the form of our pseudonyms, which identify nobody
    is_own_copy: bool = False  # its Patient ID is a pseudonym that the key store has given
