"""The sample rules that Microsoft's anonymizer documents, each seen at work on what it is said to select."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from anonymize.fhir import InvalidRules, deidentify_resource, load_microsoft_configuration
from anonymize.instances import PatientPseudonym

SUBJECT = PatientPseudonym("KOPRU-0001", bytes(range(32)), -211)
OBSERVATION = {"resourceType": "Observation", "status": "final", "valueQuantity": {"value": 18.25, "unit": "kg"}}
PATIENT = {
    "resourceType": "Patient",
    "address": [{"city": "Testville", "postalCode": "12345"}],
    "telecom": [{"system": "phone", "value": "1", "use": "home"}, {"system": "phone", "value": "2", "use": "work"}],
}
HALVES = {"$this>=0 and $this<20": "20", "$this>=20 and $this<40": "40"}


def cleaned(resource: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps({"fhirVersion": "R4", "fhirPathRules": rules})
    loaded = load_microsoft_configuration(text, "sample.json")
    return deidentify_resource(resource, SUBJECT, loaded, as_of=date(2026, 11, 21)).resource


@pytest.mark.parametrize(
    "path",
    [
        "nodesByType('Observation').ofType(Quantity).value",
        "Observation.ofType(Quantity).value",
        "Observation.value.ofType(Quantity).value",
        "(nodesByType('Observation').value as Quantity).value",
        "Observation.nodesByType('Quantity').value",
        "nodesByName('value').value",
    ],
)
def test_a_quantity_is_generalised_by_whichever_path_the_documentation_gives(path: str) -> None:
    clean = cleaned(OBSERVATION, {"path": path, "method": "generalize", "cases": HALVES})
    assert clean["valueQuantity"] == {"value": 20, "unit": "kg"}


def test_a_choice_of_another_type_is_not_meant() -> None:
    rule = {"path": "Observation.ofType(Quantity).value", "method": "generalize", "cases": HALVES}
    assert cleaned({"resourceType": "Observation", "valueInteger": 7}, rule)["valueInteger"] == 7


@pytest.mark.parametrize("path", ["nodesByType('Address').postalCode", "Patient.nodesByType('Address').postalCode"])
def test_nodes_by_type_may_begin_a_path_or_go_on_with_one(path: str) -> None:
    rule = {"path": path, "method": "generalize", "cases": {"$this.startsWith('123')": "$this.substring(0,3)+'****'"}}
    assert cleaned(PATIENT, rule)["address"] == [{"postalCode": "123****"}]


def test_the_first_rule_that_selects_an_element_decides() -> None:
    home = {"path": "nodesByType('ContactPoint').where(use='home')", "method": "redact"}
    clean = cleaned(PATIENT, home, {"path": "Patient.telecom", "method": "keep"})
    assert clean["telecom"] == [{"system": "phone", "value": "2", "use": "work"}]


@pytest.mark.parametrize("path", ["nodesByType('Humanname')", "Patient.nodesByType('X').y", "Observation.ofType(Qty)"])
def test_a_type_that_r4_does_not_have_is_refused_rather_than_never_found(path: str) -> None:
    with pytest.raises(InvalidRules, match=r"fhirPathRules\[0\]"):
        cleaned(PATIENT, {"path": path, "method": "redact"})


@pytest.mark.parametrize("kind", [float, Decimal])
def test_noise_leaves_a_number_of_the_kind_that_it_was(kind: type[float | Decimal]) -> None:
    quantity = {"value": kind("18.25"), "unit": "kg"}
    rule = {"path": "nodesByType('Quantity')", "method": "perturb", "span": 2, "roundTo": 1}
    moved = cleaned({"resourceType": "Observation", "valueQuantity": quantity}, rule)["valueQuantity"]["value"]
    assert isinstance(moved, kind)
    assert 0 < abs(Decimal(str(moved)) - Decimal("18.25")) <= Decimal("1.05")
