"""Whom a report is about, as a destination knows the patient, and how resources say it. Their `repr` shows nothing."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from adapters.fhir.datatypes import Resource, without_nothing
from adapters.fhir.narrative import clean
from adapters.outcomes import Dead, Held, Retry
from pipelines.identity import PatientIdentity

_PATIENT = "patient"  # the id of a contained Patient
_GENDERS = {"M": "male", "F": "female", "O": "other"}


@dataclass(frozen=True, slots=True)
class MatchedPatient:
    """The one Patient at the server that carries the identifier and does not contradict what the PACS said."""

    reference: str = field(repr=False)  # "Patient/<id>"
    identifier_system: str
    identifier_value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EmbeddedPatient:
    """A patient told within the report itself, for a destination that has no patients of its own (a directory)."""

    identity: PatientIdentity
    identifier_system: str | None


Subject: TypeAlias = MatchedPatient | EmbeddedPatient
PatientMatch: TypeAlias = Subject | Held | Retry | Dead
"""How an attempt to match a patient ends; see `adapters.outcomes`."""


def subject_of_report(subject: Subject) -> Resource:
    """DiagnosticReport.subject."""
    if isinstance(subject, EmbeddedPatient):
        return {"reference": f"#{_PATIENT}"}
    return {"reference": subject.reference, "type": "Patient", "identifier": _identifier_of(subject)}


def subject_of_observation(subject: Subject) -> Resource | None:
    """Observation.subject. Beside an embedded patient an Observation can only name the identifier, if there is one."""
    if isinstance(subject, EmbeddedPatient):
        identifier = _identifier_of(subject)
        return {"type": "Patient", "identifier": identifier} if identifier else None
    return subject_of_report(subject)


def _identifier_of(subject: Subject) -> Resource | None:
    if not isinstance(subject, EmbeddedPatient):
        return {"system": subject.identifier_system, "value": subject.identifier_value}
    identity = subject.identity
    if not (value := clean(identity.patient_id)):
        return None
    issuer = clean(identity.issuer)
    assigner = {"display": issuer} if issuer else None
    return without_nothing({"system": subject.identifier_system, "value": value, "assigner": assigner})


def contained(subject: EmbeddedPatient) -> Resource:
    """The Patient as a resource within the report (FHIR R4 2.27.3)."""
    identity = subject.identity
    identifier, name = _identifier_of(subject), _human_name(identity.name)
    return without_nothing(
        {
            "resourceType": "Patient",
            "id": _PATIENT,
            "identifier": [identifier] if identifier else None,
            "name": [name] if name else None,
            "gender": _GENDERS.get(identity.sex),
            "birthDate": _birth_date(identity),
        }
    )


def _human_name(name: str) -> Resource | None:
    """The first component group of a PN (PS3.5 6.2.1: family, given, middle, prefix, suffix)."""
    group = next((group for group in name.split("=") if clean(group.replace("^", " "))), "")
    family, given, middle, prefix, suffix = [*(clean(part) for part in group.split("^")), "", "", "", "", ""][:5]
    text = clean(" ".join([prefix, given, middle, family, suffix]))
    lists = {"given": [given, middle], "prefix": [prefix], "suffix": [suffix]}
    parts = {key: [value for value in values if value] for key, values in lists.items()}
    return without_nothing({"text": text, "family": family, **parts}) or None


def _birth_date(identity: PatientIdentity) -> str | None:
    try:
        return datetime.strptime(identity.birth_date, "%Y%m%d").date().isoformat()
    except ValueError:
        return None
