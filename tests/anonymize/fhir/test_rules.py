"""Files of rules, ours and Microsoft's: each method, the order of rules, and what is refused with its place."""

import base64
import hashlib
import hmac
import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from anonymize import PatientPseudonym
from anonymize.fhir import (
    SAFE_HARBOR,
    Claim,
    InvalidRules,
    ResourceQuarantine,
    deidentify_resource,
    load_microsoft_configuration,
    load_rules,
)
from anonymize.fhir.rules import SHIFTED_DATES

SUBJECT = PatientPseudonym("KOPRU-0001", bytes(range(32)), 10)
RESTRICTED = ["036", "059", "102", "203", "205", "369", "556", "692", "821", "823", "878", "879", "884", "893"]
# What the tool's documentation shows, put together: every method, every parameter, every form of path.
DOCUMENTED: dict[str, Any] = {
    "fhirVersion": "R4",
    "processingErrors": "raise",
    "fhirPathRules": [
        {"path": "nodesByType('Extension')", "method": "redact"},
        {"path": "Organization.identifier", "method": "keep"},
        {"path": "nodesByType('Address').country | nodesByType('Address').state", "method": "keep"},
        {"path": "Resource.id", "method": "cryptoHash"},
        {"path": "nodesByType('Reference').reference", "method": "cryptoHash"},
        {"path": "Group.name", "method": "redact"},
        {"path": "nodesByType('ContactPoint').where(use='home')", "method": "redact"},
        {
            "path": "Condition.onset | Condition.abatement as Age",
            "method": "perturb",
            "span": 6,
            "rangeType": "fixed",
            "roundTo": 0,
        },
        {
            "path": "(nodesByType('Observation').value as Quantity).value",
            "method": "perturb",
            "span": 0.2,
            "rangeType": "proportional",
        },
        {"path": "nodesByType('Address').city", "method": "substitute", "replaceWith": "example city"},
        {
            "path": "Patient.communication.language.coding.code",
            "method": "generalize",
            "cases": {"$this in ('en-AU' | 'en-GB')": "'en'", "$this in ('es-AR' | 'es-ES')": "'es'"},
            "otherValues": "redact",
        },
        {
            "path": "Patient.address.postalCode",
            "method": "generalize",
            "cases": {"$this.startsWith('123') or $this.startsWith('234')": "$this.substring(0,2)+'****'"},
            "otherValues": "redact",
        },
        {
            "path": "Patient.birthDate",
            "method": "generalize",
            "cases": {"$this >= @1990-01-01 and $this <= @2000-01-01": "@1990"},
            "otherValues": "redact",
        },
        {"path": "nodesByType('date') | nodesByType('dateTime') | nodesByType('instant')", "method": "dateshift"},
        {"path": "nodesByType('HumanName').use", "method": "keep"},
        {"path": "nodesByType('HumanName')", "method": "redact"},
    ],
    "parameters": {
        "dateShiftKey": "",
        "dateShiftScope": "resource",
        "cryptoHashKey": "",
        "encryptKey": "",
        "enablePartialAgesForRedact": True,
        "enablePartialDatesForRedact": True,
        "enablePartialZipCodesForRedact": True,
        "restrictedZipCodeTabulationAreas": RESTRICTED,
    },
}


def microsoft(*rules: dict[str, Any], keep_unmatched: bool = True, **parameters: Any):
    content = {"fhirVersion": "R4", "fhirPathRules": list(rules), "parameters": parameters}
    return load_microsoft_configuration(json.dumps(content), "site.json", keep_unmatched=keep_unmatched)


def clean(resource: dict[str, Any], rules) -> dict[str, Any]:
    return deidentify_resource(resource, SUBJECT, rules, as_of=date(2026, 11, 21)).resource


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **more}


def quantity(value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2"}]},
        "valueQuantity": {"value": value, "unit": "mg"},
    }


def test_the_documented_configuration_does_what_the_documentation_says():
    rules = load_microsoft_configuration(json.dumps(DOCUMENTED), "sample.json")
    result = deidentify_resource(
        patient(
            id="1",
            name=[{"use": "official", "family": "Testoğlu"}],
            birthDate="1995-06-07",
            telecom=[{"use": "home", "value": "Testoğlu"}],
            address=[{"city": "Testoğlu", "state": "MA", "country": "US", "postalCode": "12345"}],
            communication=[{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "en-GB"}]}}],
            extension=[{"url": "https://hospital.example", "valueString": "Testoğlu"}],
        ),
        SUBJECT,
        rules,
        as_of=date(2026, 11, 21),
    )
    clean_patient = result.resource
    assert result.claim is Claim.AS_CONFIGURED
    assert clean_patient["name"] == [{"use": "official"}]
    assert clean_patient["birthDate"] == "1990"
    assert clean_patient["address"] == [
        {"city": "example city", "state": "MA", "country": "US", "postalCode": "12****"}
    ]
    assert clean_patient["communication"][0]["language"]["coding"][0]["code"] == "en"
    assert "Testoğlu" not in json.dumps(clean_patient, ensure_ascii=False)
    value = clean(quantity(Decimal("100")), rules)["valueQuantity"]
    assert Decimal(90) <= value["value"] <= Decimal(110)
    assert value["unit"] == "mg"


def test_what_a_configuration_does_not_mention_goes_by_safe_harbor_unless_it_is_to_be_kept():
    resource = patient(name=[{"family": "Testoğlu"}], gender="male")
    rule = {"path": "Patient.birthDate", "method": "redact"}
    assert "name" not in clean(resource, microsoft(rule, keep_unmatched=False))
    assert clean(resource, microsoft(rule))["name"] == [{"family": "Testoğlu"}]
    unknown = {**resource, "Testoğlu": 1}
    assert "Testoğlu" not in clean(unknown, microsoft(rule))


def test_the_first_rule_that_covers_an_element_wins_from_inside_and_from_outside():
    name = [{"family": "A", "given": ["B"]}]
    keep, redact = {"path": "Patient.name", "method": "keep"}, {"path": "Patient.name.given", "method": "redact"}
    assert clean(patient(name=name), microsoft(keep, redact))["name"] == name
    assert clean(patient(name=name), microsoft(redact, keep))["name"] == [{"family": "A"}]


def test_to_keep_what_holds_a_resource_is_not_to_keep_the_resource():
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": patient(name=[{"family": "A"}])}]}
    rules = load_rules('[[rules]]\npath = "Bundle.entry"\nmethod = "keep"\n', "own.toml")
    assert "name" not in clean(bundle, rules)["entry"][0]["resource"]


def test_a_hash_is_that_of_the_key_and_equal_in_ids_and_references():
    rules = microsoft(
        {"path": "Resource.id | nodesByType('Reference').reference", "method": "cryptoHash"}, cryptoHashKey="secret"
    )
    digest = hmac.digest(b"secret", b"123", hashlib.sha256).hex()
    assert clean(patient(id="123"), rules)["id"] == digest
    assert clean({**quantity(1), "subject": {"reference": "Patient/123"}}, rules)["subject"]["reference"] == (
        f"Patient/{digest}"
    )


def test_encrypted_text_can_be_decrypted_with_the_key_alone():
    key = "0123456789abcdef"
    rules = microsoft({"path": "nodesByType('Address').city", "method": "encrypt"}, encryptKey=key)
    sealed = base64.b64decode(clean(patient(address=[{"city": "İzmir"}]), rules)["address"][0]["city"])
    decryptor = Cipher(algorithms.AES(key.encode()), modes.CBC(sealed[:16])).decryptor()
    plain = decryptor.update(sealed[16:]) + decryptor.finalize()
    assert plain[: -plain[-1]].decode() == "İzmir"


def test_noise_is_bounded_rounded_and_the_same_each_time():
    path = "Observation.value as Quantity"
    rules = microsoft({"path": path, "method": "perturb", "span": 4, "roundTo": 1})
    moved = {clean(quantity(Decimal(value)), rules)["valueQuantity"]["value"] - value for value in range(50, 90)}
    assert all(-2 <= step <= 2 for step in moved)
    assert len(moved) > 10
    assert clean(quantity(7), rules) == clean(quantity(7), rules)
    assert "value" not in clean(quantity(Decimal("1e99")), rules)["valueQuantity"]


def test_ages_dates_and_zip_codes_are_redacted_in_part_only_if_the_parameters_say_so():
    condition = {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/1"},
        "onsetAge": {"value": 40, "unit": "years"},
    }
    rule = {"path": "nodesByType('Age') | nodesByType('Address') | nodesByType('date')", "method": "redact"}
    partial = microsoft(
        rule,
        enablePartialAgesForRedact=True,
        enablePartialDatesForRedact=True,
        enablePartialZipCodesForRedact=True,
        restrictedZipCodeTabulationAreas=RESTRICTED,
    )
    assert clean(condition, partial)["onsetAge"] == {"value": 40, "unit": "years"}
    assert "onsetAge" not in clean({**condition, "onsetAge": {"value": 90, "unit": "years"}}, partial)
    assert "onsetAge" not in clean(condition, microsoft(rule))
    address = [{"country": "US", "postalCode": "10203"}]
    assert clean(patient(address=address, birthDate="1980-01-02"), partial)["address"] == [{"postalCode": "000"}]
    assert clean(patient(birthDate="1980-01-02"), partial)["birthDate"] == "1980"
    assert clean(patient(address=address, birthDate="1980-01-02"), microsoft(rule)).keys() == {
        "resourceType",
        "meta",
        "identifier",
    }


@pytest.mark.parametrize("method", ["dateShift", "perturb", "encrypt", "cryptoHash"])
def test_a_method_that_does_not_fit_removes_the_value(method):
    settings = {"perturb": {"span": 1}}.get(method, {})
    rules = microsoft({"path": "Patient.active", "method": method, **settings}, encryptKey="0123456789abcdef")
    assert "active" not in clean(patient(active=True), rules)


def test_a_criterion_that_fails_on_a_value_quarantines_without_telling_it():
    rules = microsoft({"path": "Patient.name.where(family > 5)", "method": "redact"})
    with pytest.raises(ResourceQuarantine) as caught:
        clean(patient(name=[{"family": "Testoğlu"}]), rules)
    assert "Testoğlu" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"fhirVersion": "Stu3"}, "fhirVersion"),
        ({"surprise": 1}, "does not know surprise"),
        ({"processingErrors": "ignore"}, "processingErrors"),
        ({"fhirPathRules": []}, "fhirPathRules"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "keep"}, {"path": "Patient", "method": "blur"}]}, "[1]"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "keep", "span": 3}]}, "does not know span"),
        ({"fhirPathRules": [{"path": "Patnt.name", "method": "keep"}]}, "[0]: path"),
        ({"fhirPathRules": [{"path": "Patient.name.where(a==)", "method": "keep"}]}, "[0]: path"),
        ({"fhirPathRules": [{"path": "Patient.name.select(given)", "method": "keep"}]}, "select()"),
        ({"fhirPathRules": [{"path": "Patient.name.given +", "method": "keep"}]}, "[0]: path"),
        ({"fhirPathRules": [{"method": "keep"}]}, "[0]"),
        ({"fhirPathRules": ["Patient.name"]}, "[0]"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "perturb"}]}, "span"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "perturb", "span": -1}]}, "span"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "perturb", "span": 1, "roundTo": 29}]}, "roundTo"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "perturb", "span": 1, "rangeType": "x"}]}, "rangeType"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "substitute"}]}, "replaceWith"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "generalize"}]}, "cases"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "generalize", "cases": {"$this >": "1"}}]}, "cases"),
        ({"fhirPathRules": [{"path": "Patient.name", "method": "encrypt"}]}, "encryptKey"),
        ({"parameters": {"encryptKey": "short"}}, "encryptKey"),
        ({"parameters": {"dateShiftFixedOffsetInDays": 5}}, "dateShiftFixedOffsetInDays"),
        ({"parameters": {"dateShiftScope": "galaxy"}}, "dateShiftScope"),
        ({"parameters": {"enablePartialAgesForRedact": "yes"}}, "must be true or false"),
        ({"parameters": {"restrictedZipCodeTabulationAreas": [36]}}, "restrictedZipCodeTabulationAreas"),
        ({"parameters": []}, "parameters"),
    ],
)
def test_what_a_configuration_has_wrong_is_refused_with_its_place(change, where):
    content = {"fhirVersion": "R4", "fhirPathRules": [{"path": "Patient.name", "method": "keep"}], **change}
    if change == {"parameters": []}:
        content["parameters"] = [1]
    with pytest.raises(InvalidRules) as caught:
        load_microsoft_configuration(json.dumps(content), "site.json")
    assert where in str(caught.value)
    assert "site.json" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rules = 5",
        "[[rules]]\npath = 'Patient'",
        "[[rules]]\npath = 'Patient'\nmethod = 'keep'\nwhy = 1",
        "[parameters]\npartialDates = 1\n[[rules]]\npath = 'Patient'\nmethod = 'keep'",
        "[parameters]\nx = 1\n[[rules]]\npath = 'Patient'\nmethod = 'keep'",
        "not toml",
    ],
)
def test_a_wrong_file_of_our_own_is_refused(text):
    with pytest.raises(InvalidRules, match=r"own\.toml"):
        load_rules(text, "own.toml")


def test_the_packaged_rules_have_the_17_sparse_areas_and_differ_by_one_rule_only():
    prefixes = SAFE_HARBOR.rules[0].parameters.restricted_zip_prefixes
    assert len(prefixes) == 17
    changed = [a for a, b in zip(SAFE_HARBOR.rules, SHIFTED_DATES.rules, strict=True) if a is not b]
    assert [rule.path.text for rule in changed] == [
        "nodesByType('date') | nodesByType('dateTime') | nodesByType('instant')"
    ]
    assert (SAFE_HARBOR.claim, SHIFTED_DATES.claim) == (Claim.SAFE_HARBOR, Claim.EXPERT_DETERMINATION)


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        ("Patient.telecom.where(system='email').value", ["Patient.telecom[0].value"]),
        (
            "Patient.telecom.where(system='email' or rank > 1).value",
            ["Patient.telecom[0].value", "Patient.telecom[1].value"],
        ),
        ("Patient.deceased", ["Patient.deceasedBoolean"]),
        ("Patient.deceased as boolean", ["Patient.deceasedBoolean"]),
        ("Patient.deceased.ofType(dateTime)", []),
        ("(Patient.name | Patient.telecom).first()", ["Patient.name[0]"]),
        ("Patient.name.given[1]", ["Patient.name[0].given[1]"]),
        ("Patient.name.given.last()", ["Patient.name[0].given[1]"]),
        ("Resource.descendants().ofType(HumanName)", ["Patient.name[0]"]),
        ("nodesByName('given')", ["Patient.name[0].given[0]", "Patient.name[0].given[1]"]),
        ("nodesByName('deceased')", ["Patient.deceasedBoolean"]),
        ("Patient.birthDate.extension('urn:x').value", ["Patient.birthDate.extension[0].valueString"]),
        ("children().ofType(date)", ["Patient.birthDate"]),
        ("DomainResource.active", []),
        ("Observation.value", []),
    ],
)
def test_a_path_selects_the_elements_themselves(path, selected):
    resource = patient(
        name=[{"given": ["A", "B"]}],
        telecom=[{"system": "email", "value": "a"}, {"system": "phone", "value": "b", "rank": 2}],
        deceasedBoolean=False,
        birthDate="1980-01-02",
        _birthDate={"extension": [{"url": "urn:x", "valueString": "C"}]},
    )
    text = f'[[rules]]\npath = "{path}"\nmethod = "keep"\n'
    trail = deidentify_resource(resource, SUBJECT, load_rules(text, "own.toml"), as_of=date(2026, 11, 21)).trail
    kept = {decision.path for decision in trail if decision.method == "keep"}
    assert kept == {p for p in [d.path for d in trail] if any(p == s or p.startswith(f"{s}.") for s in selected)}
