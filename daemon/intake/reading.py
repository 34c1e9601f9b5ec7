"""Reads an acknowledged object into an `Arrival`: whose it is, its tags, its sealed columns. Changes nothing.

The patient scope is (issuer, Patient ID): the issuer that the data names, else the source's; a missing or
placeholder ID gets a scope of its own study, so that two unknown patients are never one (DESIGN §5).
"""

import hashlib
import hmac
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import pydicom
from pydicom.errors import InvalidDicomError

from adapters.keys import MasterKey, PatientEntry, is_pseudonym
from adapters.storage import ObjectRef, Receipt
from anonymize import Header, read_header
from daemon.equipment import device_uid
from daemon.intake.arrival import Arrival, ArrivalKind, PatientKeyed
from daemon.intake.modalities import MODALITIES
from daemon.node import Node
from daemon.queue import Priority
from daemon.settings import SourceSettings
from daemon.vault import IDENTITY, STUDY_DESCRIPTION, said_by_instance, seal_column
from pipelines.identity import PatientIdentity, StudyDescription

_PLACEHOLDERS: Final = frozenset(
    {
        "",
        "0",
        "1",
        "UNKNOWN",
        "NONE",
        "N/A",
        "NA",
        "ANONYMOUS",
        "ANON",
        "NULL",
        "TEST",
        "EMERGENCY",
        "ACIL",
        "BILINMIYOR",
    }
)
_KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
_NO_REVISION: Final = (
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports, key objects, dose reports
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.66.",  # segmentations, registrations, raw data
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
)
_REJECTIONS: Final = frozenset({"113001", "113037", "113038", "113039"})
"""Document titles of rejection notes (CID 7011, IHE RAD TF-2 4.66)."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads objects. `entry_for` gives the key-store entry of a scope tag, making one if there is none; `is_ours` says
    whether the key store has given a pseudonym, so that a copy of ours is known though the index was lost.
    """

    master: MasterKey
    source_for: Callable[[str], SourceSettings]
    entry_for: Callable[[str], PatientEntry]
    is_ours: Callable[[str], bool]

    @classmethod
    def of(cls, node: Node) -> "Reader":
        """A reader for what the index has: its patients have entries."""
        return cls(node.master, node.settings.source_for, node.keys.create_patient, lambda _pseudonym: False)

    def read(self, ref: ObjectRef, receipt: Receipt, data: bytes) -> tuple[Arrival, PatientEntry]:
        """The arrival and the entry of its patient. Raises `anonymize.MalformedDataSet` for what cannot be read."""
        header = read_header(data, receipt.transfer_syntax_uid)
        source = self.source_for(receipt.calling_ae)
        identity = identity_in(header, source)
        issuer = identity.issuer
        entry = self.entry_for(self.master.lookup_tag("scope", _scope(header, issuer)))
        description = StudyDescription(
            header.study_instance_uid,
            header.accession_number,
            _started(header, source),
            header.study_description,
        )
        kind, rejected = self._kind(header, data, receipt.transfer_syntax_uid)
        tag = _Tags(entry.subkey("tags"))
        arrival = Arrival(
            instance_id=ref.id,
            object_ref=str(ref),
            kind=kind,
            patient=PatientKeyed(
                id=entry.id,
                scope_tag=entry.scope_tag,
                pseudonym=entry.pseudonym,
                audit_tag=entry.audit_tag,
                sealed_identity=seal_column(entry, "patient.identity", entry.id, identity.to_json()),
            ),
            association_id=receipt.association_id,
            source=receipt.calling_ae,
            received_at=receipt.received_at,
            uid_tag=self.master.lookup_tag("instance", header.sop_instance_uid),
            study_uid_tag=self.master.lookup_tag("study", header.study_instance_uid),
            series_tag=self.master.lookup_tag("series", header.series_instance_uid),
            accession_tag=self._accession_tag(issuer, header.accession_number),
            sealed_description=seal_column(entry, STUDY_DESCRIPTION, "", description.to_json()),
            sealed_identity=seal_column(entry, IDENTITY, ref.id, said_by_instance(identity, description)),
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=receipt.transfer_syntax_uid,
            modality=header.modality if header.modality in MODALITIES else None,
            content_tag=tag.of("content", data),
            identity_tag=tag.of("identity", _identity_bytes(header, issuer)),
            pixel_tag=pixel_tag(entry, header, data),
            byte_length=len(data),
            priority=Priority.STAT if receipt.high_priority else Priority.ROUTINE,
            expected_instances=_count(header.number_of_study_related_instances),
            rejected_uid_tags=tuple(self.master.lookup_tag("instance", uid) for uid in rejected),
            names_nobody=_is_placeholder(header),
            pseudonym=identity.patient_id if is_pseudonym(identity.patient_id) else None,
            is_own_copy=self.is_ours(identity.patient_id),
        )
        return arrival, entry

    def _kind(self, header: Header, data: bytes, transfer_syntax_uid: str) -> tuple[ArrivalKind, tuple[str, ...]]:
        """What the arrival is, and for a rejection note, the SOP Instance UIDs that it takes back."""
        if header.device_uid == device_uid(self.master):
            return ArrivalKind.OWN_RESULT, ()
        if header.sop_class_uid == _KEY_OBJECT_SELECTION:
            rejected = _rejected(data, transfer_syntax_uid)
            return (ArrivalKind.REJECTION_NOTE if rejected else ArrivalKind.UNSELECTED), rejected
        if header.sop_class_uid.startswith(_NO_REVISION):
            return ArrivalKind.UNSELECTED, ()
        return ArrivalKind.IMAGE, ()

    def _accession_tag(self, issuer: str, accession_number: str) -> str | None:
        return self.master.lookup_tag("accession", f"{issuer}\0{accession_number}") if accession_number else None


def identity_in(header: Header, source: SourceSettings) -> PatientIdentity:
    """Who the patient is, as one instance from that source says."""
    # A placeholder is nobody's number: it must never be looked up at a destination.
    patient_id = "" if _is_placeholder(header) else header.patient_id
    issuer = header.issuer_of_patient_id or source.issuer
    return PatientIdentity(patient_id, issuer, header.patient_name, header.birth_date, header.sex)


def zone_of(header: Header, source: SourceSettings) -> tzinfo:
    """The zone of an instance's dates and times. Raises ValueError where (0008,0201) is no offset."""
    offset = datetime.strptime(header.timezone_offset, "%z").tzinfo if header.timezone_offset else None
    return offset or ZoneInfo(source.timezone)


@dataclass(frozen=True, slots=True)
class _Tags:
    """Keyed digests under one patient's key: worthless once it is destroyed."""

    key: bytes

    def of(self, kind: str, *data: bytes | memoryview) -> str:
        digest = hmac.new(self.key, kind.encode() + b"\0", hashlib.sha256)
        for part in data:
            digest.update(part)
        return digest.hexdigest()


def pixel_tag(entry: PatientEntry, header: Header, data: bytes) -> str:
    """The digest of an object's image as encoded, under the key of a patient: the pixels, and what makes an image of
    these bytes; the same bytes inverted, or in another palette, are another image.
    """
    described, pixels = encoded_image(header, data)
    return _Tags(entry.subkey("tags")).of("pixels", described + header.display.to_bytes(), pixels)


def encoded_image(header: Header, data: bytes) -> tuple[bytes, memoryview]:
    """The pixels as encoded, and what they are decoded by, but not how they are displayed."""
    return _described(header), _pixels(header, data)


def _scope(header: Header, issuer: str) -> str:
    if _is_placeholder(header):
        return f"study\0{header.study_instance_uid}"
    return f"patient\0{issuer}\0{header.patient_id.strip()}"


def _is_placeholder(header: Header) -> bool:
    return header.patient_id.strip().upper() in _PLACEHOLDERS


def _count(number: int | None) -> int | None:
    """(0020,1208) where it can be a number of instances."""
    return number if number is not None and 0 < number < 2**31 else None


def _identity_bytes(header: Header, issuer: str) -> bytes:
    values = (
        header.patient_id,
        issuer,
        header.patient_name,
        header.birth_date,
        header.sex,
        header.accession_number,
        header.study_instance_uid,
        header.series_instance_uid,
    )
    return "\0".join(values).encode()


def _described(header: Header) -> bytes:
    """How the pixels become an image; empty for an object without."""
    if header.pixel_span is None or header.deflated:
        return b""
    return repr((header.rows, header.columns, header.number_of_frames or 1, *header.pixel_description)).encode()


def _pixels(header: Header, data: bytes) -> memoryview:
    """The pixel bytes as encoded; empty for an object without. Deflated data sets are compared as they came."""
    if header.pixel_span is None or header.deflated:
        return memoryview(data if header.deflated else b"")
    start, length = header.pixel_span
    return memoryview(data)[start : start + length]


def _started(header: Header, source: SourceSettings) -> str:
    """Study date and time as ISO 8601 with the offset of (0008,0201), else of the source's zone; a date alone if
    that is all.
    """
    date, time = header.study_date.strip(), header.study_time.strip()
    try:
        if not time:
            return datetime.strptime(date, "%Y%m%d").date().isoformat() if date else ""
        naive = datetime.strptime(date + time.partition(".")[0].ljust(6, "0")[:6], "%Y%m%d%H%M%S")
        return naive.replace(tzinfo=zone_of(header, source)).isoformat()
    except ValueError:
        return ""


def _rejected(data: bytes, transfer_syntax_uid: str) -> tuple[str, ...]:
    """The instances that a key object selection with a rejection title refers to; none for any other document."""
    try:
        note = pydicom.dcmread(part10(data, transfer_syntax_uid), force=False)
        titles = {str(item.get("CodeValue", "")) for item in note.get("ConceptNameCodeSequence") or ()}
        if not titles & _REJECTIONS:
            return ()
        return tuple(
            str(reference.ReferencedSOPInstanceUID)
            for study in note.get("CurrentRequestedProcedureEvidenceSequence") or ()
            for series in study.get("ReferencedSeriesSequence") or ()
            for reference in series.get("ReferencedSOPSequence") or ()
        )
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError):
        return ()


def part10(data: bytes, transfer_syntax_uid: str) -> io.BytesIO:
    """The data set with the least File Meta Information that says its transfer syntax (PS3.10 7.1)."""
    uid = transfer_syntax_uid.encode()
    uid += b"\0" * (len(uid) % 2)
    element = b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    return io.BytesIO(b"\0" * 128 + b"DICM" + length + element + data)
