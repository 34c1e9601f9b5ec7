"""What is valid going in is valid coming out, for every resource type, by the models of `fhir.resources` (R4B)."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from anonymize.fhir import SAFE_HARBOR, SHIFTED_DATES, FhirRules, deidentify_resource
from anonymize.fhir.definitions import Kind, definitions, is_primitive
from anonymize.instances import PatientPseudonym

SUBJECT = PatientPseudonym("KOPRU-0001", bytes(range(32)), 97)
TODAY = date(2026, 11, 21)
LOINC = {"system": "http://loinc.org", "code": "24627-2"}
# Of R4, but changed or dropped by R4B, so that its models do not take them; and those that any resource may be within.
NOT_IN_R4B = {
    "EffectEvidenceSynthesis", "Evidence", "EvidenceVariable", "MedicinalProduct", "MedicinalProductAuthorization",
    "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient",
    "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "RiskEvidenceSynthesis",
    "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation",
    "SubstanceSourceMaterial", "SubstanceSpecification",
}  # fmt: skip
# Their models do not take a required list or choice whose only content is an extension, as FHIR R4 2.6.2.3 does.
REFUSE_MASKS = {"CapabilityStatement", "GuidanceResponse", "ImplementationGuide", "StructureMap", "Task"}
RESOURCES = sorted(n for n, d in definitions().items() if d.kind is Kind.RESOURCE and n not in NOT_IN_R4B)
PRIMITIVES: dict[str, Any] = {
    "boolean": True, "integer": 7, "positiveInt": 7, "unsignedInt": 7, "decimal": Decimal("7.50"),
    "date": "1984-05-06", "dateTime": "2024-05-06T07:08:09+03:00", "instant": "2024-05-06T07:08:09.123Z",
    "time": "07:08:09", "code": "xqzplanted", "id": "xqz-planted", "string": "XQZPLANTED", "markdown": "XQZPLANTED",
    "uri": "https://xqzplanted.example/x", "url": "https://xqzplanted.example/x", "base64Binary": "WFFaUExBTlRFRA==",
    "canonical": "https://xqzplanted.example/x", "oid": "urn:oid:1.2.3",
    "uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    "xhtml": '<div xmlns="http://www.w3.org/1999/xhtml">XQZPLANTED</div>',
}  # fmt: skip
COMPLEX: dict[str, Any] = {
    "Coding": {**LOINC, "display": "XQZPLANTED"},
    "Reference": {"reference": "Patient/xqz-planted", "display": "XQZPLANTED"},
    "Quantity": {"value": Decimal("7.50"), "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
    "Timing": {"event": ["2024-05-06"], "repeat": {"count": 2}},
    "ElementDefinition": {"path": "XQZPLANTED", "short": "XQZPLANTED"},
}


def filled(type_name: str, levels: int) -> dict[str, Any]:
    """A value of a type with all of its elements, but for extensions, down to some levels, then the required only."""
    if type_name in COMPLEX:
        return dict(COMPLEX[type_name])
    content: dict[str, Any] = {}
    chosen: set[str] = set()
    for element in definitions()[type_name].elements.values():
        if element.name in ("extension", "modifierExtension", "contained", "implicitRules") or (
            not element.required and (levels == 0 or element.type == "Resource")
        ):
            continue
        if element.choice in chosen:
            continue
        if element.choice is not None:
            chosen.add(element.choice)
        if is_primitive(element.type):
            value = sorted(element.codes)[0] if element.codes else PRIMITIVES[element.type]
            value = {"currency": "TRY", "language": "tr", "contentType": "application/pdf"}.get(element.name, value)
        else:
            value = filled(element.type, max(levels - 1, 0))
        content[element.name] = [value] if element.many else value
    return content


def validate(resource: dict[str, Any]) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate_json(json.dumps(resource, default=float))


@pytest.mark.parametrize("rules", [SAFE_HARBOR, SHIFTED_DATES], ids=lambda rules: str(rules.name))
@pytest.mark.parametrize("name", RESOURCES)
def test_the_output_is_valid_and_holds_nothing_planted_for(name: str, rules: FhirRules) -> None:
    resource = {"resourceType": name, **filled(name, 3)}
    validate(resource)
    result = deidentify_resource(resource, SUBJECT, rules, as_of=TODAY).resource
    if name not in REFUSE_MASKS:
        validate(result)
    assert "xqz" not in json.dumps(result, default=str).lower()
