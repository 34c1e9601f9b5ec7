"""Identified values: who the patient is and what the hospital calls the study. Only the vault hands these out.

Nothing in `anonymize`, `runtime` or a pipeline step takes these types. Their `repr` shows nothing.
"""

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """Who the patient is, as the PACS said it. Dates are DICOM DA (``YYYYMMDD``); empty string for what is unknown."""

    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)  # Issuer of Patient ID, or the source's default issuer
    name: str = field(repr=False)  # PN, all component groups, decoded
    birth_date: str = field(repr=False)
    sex: str = field(repr=False)  # DICOM: M, F, O or empty

    def to_json(self) -> bytes:
        """Canonical JSON, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "PatientIdentity":
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True)
class StudyDescription:
    """What the hospital calls the study. `started` is an ISO 8601 date or date-time with offset, or empty."""

    study_instance_uid: str = field(repr=False)
    accession_number: str = field(repr=False)
    started: str = field(repr=False)
    description: str = field(repr=False)

    def to_json(self) -> bytes:
        """Canonical JSON, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StudyDescription":
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))
