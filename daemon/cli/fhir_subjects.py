"""Whose a FHIR resource is, so that it gets the pseudonym, the UIDs and the days of the same patient's images.

It must never guess: a resource about two patients, or about an id that two have, is refused. The patient is found by
the first of these that there is:

1. the Patient within the resource (a Bundle's, or one that is contained), and by it the number that is the Patient ID
   in DICOM: the identifier of the system that is named, else of type MR (HL7 table 0203), else the only one;
2. the Patient of another file that the resource refers to by id, and so its number;
3. the id itself, or the resource itself: then nothing but other FHIR resources agrees with it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from anonymize.fhir import ResourceQuarantine, ResourceReason
from daemon.cli.fhir_files import Resource, json_text

_REFERENCE: Final = re.compile(r"(?:[^?#]*/)?Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")
_MEDICAL_RECORD_NUMBER: Final = "MR"


def patient_scope(issuer: str, patient_id: str) -> str:
    """What names a patient in DICOM and FHIR files alike: the issuer of the Patient ID and the ID."""
    return f"{issuer}\0{patient_id.strip()}"


class Subjects:
    """Knows the patients of all files once it has learnt them. Holds identified values; never handed out."""

    def __init__(self, system: str | None, issuer: str) -> None:
        """`system` is that of the identifier which is the Patient ID in DICOM, `issuer` that ID's issuer there."""
        self._system, self._issuer = system, issuer
        self._scopes: dict[str, set[str]] = {}
        self._numbers: set[str] = set()
        self._issuers: dict[str, set[str]] = {}  # of images, by the Patient ID

    def learn(self, resource: Resource) -> None:
        """Note which number the Patients within a resource have."""
        for patient in _patients(resource):
            if isinstance(patient.get("id"), str):
                self._scopes.setdefault(patient["id"], set()).add(self._scope_of_patient(patient))

    def learn_image(self, issuer: str, patient_id: str) -> None:
        """Note whom an image of the same run names."""
        self._issuers.setdefault(patient_id.strip(), set()).add(issuer)

    def differ_by_issuer(self) -> bool:
        """Whether a resource and an image have the same number as Patient ID, and not the same issuer of it: one
        patient, perhaps, who gets two pseudonyms.
        """
        issuers = (self._issuers[number] for number in self._numbers & self._issuers.keys())
        return any(self._issuer not in of_images for of_images in issuers)

    def scope_of(self, resource: Resource) -> str:
        """Name the patient whom a resource is about. Raises `ResourceQuarantine` where there are several."""
        scopes = {self._scope_of_patient(patient) for patient in _patients(resource)}
        for reference in _references(resource):
            scopes |= self._scopes_of_reference(reference)
        if len(scopes) > 1:
            raise ResourceQuarantine(ResourceReason.SEVERAL_PATIENTS, "Resource")
        return scopes.pop() if scopes else _own_scope(resource)

    def _scopes_of_reference(self, reference: Mapping[str, Any]) -> set[str]:
        literal, identifier = reference.get("reference"), reference.get("identifier")
        if isinstance(literal, str) and (match := _REFERENCE.fullmatch(literal)):
            return self._scopes.get(match[1], {_scope_of_id("Patient", match[1])})
        if reference.get("type") == "Patient" and (number := self._number([identifier])):
            return {self._scope_of_number(number)}
        return set()

    def _scope_of_patient(self, patient: Resource) -> str:
        number = self._number(patient.get("identifier"))
        return self._scope_of_number(number) if number else _own_scope(patient)

    def _scope_of_number(self, number: str) -> str:
        self._numbers.add(number)
        return patient_scope(self._issuer, number)

    def _number(self, identifiers: Any) -> str | None:
        """The value that is the Patient ID; None where none is, or it could be several."""
        listed = identifiers if isinstance(identifiers, list) else []
        known = [one for one in listed if isinstance(one, Mapping) and isinstance(one.get("value"), str)]
        if self._system is not None:
            known = [one for one in known if one.get("system") == self._system]
        else:
            known = [one for one in known if _is_record_number(one)] or known
        values = {one["value"].strip() for one in known} - {""}
        return values.pop() if len(values) == 1 else None


def _is_record_number(identifier: Mapping[str, Any]) -> bool:
    kind = identifier.get("type")
    coding = kind.get("coding") if isinstance(kind, Mapping) else None
    codes = coding if isinstance(coding, list) else []
    return any(isinstance(code, Mapping) and code.get("code") == _MEDICAL_RECORD_NUMBER for code in codes)


def _own_scope(resource: Resource) -> str:
    resource_id = resource.get("id")
    if isinstance(resource_id, str):
        return _scope_of_id(str(resource["resourceType"]), resource_id)
    return f"fhir\0{json_text(resource)}"


def _scope_of_id(type_name: str, resource_id: str) -> str:
    return f"fhir\0{type_name}/{resource_id}"


def _objects(resource: Resource) -> Iterator[Mapping[str, Any]]:
    """Every object within a resource, but for those within its Patients, which name themselves and are linked to
    others.
    """
    left: list[Any] = [resource]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, Mapping):
            yield value
            if value.get("resourceType") != "Patient":
                left += value.values()


def _patients(resource: Resource) -> Iterator[Resource]:
    return (value for value in _objects(resource) if value.get("resourceType") == "Patient")


def _references(resource: Resource) -> Iterator[Mapping[str, Any]]:
    return (value for value in _objects(resource) if "reference" in value or "identifier" in value)
