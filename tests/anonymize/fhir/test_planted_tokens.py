"""An adversary's test: a unique token in every place that can hold one, in every resource type; none may survive.

Written from the tables of the standard, without looking at what the engine does with any type.
"""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from anonymize.fhir import SAFE_HARBOR, SHIFTED_DATES, ResourceQuarantine, deidentify_resource
from anonymize.fhir.definitions import Kind, definitions, is_primitive
from anonymize.instances import PatientPseudonym

SUBJECT = PatientPseudonym("KOPRU-0001", bytes(range(32)), -211)
TODAY = date(2026, 11, 21)
LOINC = {"system": "http://loinc.org", "code": "24323-8"}
SNOMED = {"system": "http://snomed.info/sct", "code": "399208008"}
RESOURCES = sorted(name for name, d in definitions().items() if d.kind is Kind.RESOURCE)
# Parts that are filled where a test is about them, and would otherwise multiply without end.
SKIPPED = {"extension", "modifierExtension", "contained", "implicitRules"}
DEEPEST = 7


class Planter:
    """Fills types with tokens, and remembers each with the place that holds it."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def token(self, place: str) -> str:
        token = f"Zq{len(self.places):06d}Kx"
        self.places[token] = place
        return token

    def primitive(self, type_name: str, place: str) -> Any:
        fixed = {
            "boolean": True,
            "integer": 3,
            "positiveInt": 3,
            "unsignedInt": 3,
            "decimal": 4.5,
            "date": "1957-03-14",
            "dateTime": "1957-03-14T11:22:33+03:00",
            "instant": "1957-03-14T11:22:33.456Z",
            "time": "11:22:33",
        }
        if type_name in fixed:
            return fixed[type_name]
        token = self.token(place)
        written = {
            "uri": f"urn:{token}",
            "url": f"https://{token}.example/{token}",
            "canonical": f"http://hl7.org/fhir/StructureDefinition/{token}|{token}",
            "oid": f"urn:oid:{token}",
            "uuid": f"urn:uuid:{token}",
            "xhtml": f'<div xmlns="http://www.w3.org/1999/xhtml">{token}</div>',
        }
        return written.get(type_name, token)

    def complex(self, type_name: str, place: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        if type_name == "CodeableConcept":
            local = {"system": f"urn:{self.token(place)}", "code": self.token(place), "display": self.token(place)}
            known = [{**c, "display": self.token(place), "version": self.token(place)} for c in (LOINC, SNOMED)]
            return {"coding": [*known, local], "text": self.token(f"{place}.text")}
        filled: dict[str, Any] = {}
        chosen: set[str] = set()
        for element in definitions()[type_name].elements.values():
            nested = element.type in above or len(above) >= DEEPEST
            if element.name in SKIPPED or element.type == "Resource" or (not is_primitive(element.type) and nested):
                continue
            if element.choice is not None:
                if element.choice in chosen:
                    continue
                chosen.add(element.choice)
            where = f"{place}.{element.name}"
            value = self.of(element.type, where, (*above, type_name))
            filled[element.name] = [value] if element.many else value
        return filled

    def of(self, type_name: str, place: str, above: tuple[str, ...] = ()) -> Any:
        return self.primitive(type_name, place) if is_primitive(type_name) else self.complex(type_name, place, above)

    def resource(self, name: str, **more: Any) -> dict[str, Any]:
        return {"resourceType": name, **self.complex(name, name), **more}

    def survivors(self, text: str) -> dict[str, str]:
        lowered = text.lower()
        return {token: place for token, place in self.places.items() if token.lower() in lowered}


def output_of(resource: dict[str, Any], **options: Any) -> tuple[str, dict[str, Any]]:
    result = deidentify_resource(resource, SUBJECT, as_of=TODAY, **options)
    return json.dumps([result.resource, [list(map(str, step)) for step in result.trail]]), dict(result.resource)


@pytest.mark.parametrize("name", RESOURCES)
def test_no_token_survives_in_any_element_of(name: str) -> None:
    planter = Planter()
    text, _ = output_of(planter.resource(name))
    assert planter.survivors(text) == {}
    assert "-03-14" not in text
    assert "T11:22" not in text


@pytest.mark.parametrize("name", RESOURCES)
def test_no_token_survives_where_dates_are_shifted_in(name: str) -> None:
    planter = Planter()
    text, _ = output_of(planter.resource(name), rules=SHIFTED_DATES)
    assert planter.survivors(text) == {}
    assert "1957-03-14" not in text


@pytest.mark.parametrize("name", RESOURCES)
def test_codes_of_loinc_and_snomed_survive_in_every_codeable_concept_of(name: str) -> None:
    resource = Planter().resource(name)
    _, clean = output_of(resource)
    concepts = [e for e in definitions()[name].elements.values() if e.type == "CodeableConcept" and e.name in resource]
    for element in concepts:
        concept = clean[element.name][0] if element.many else clean[element.name]
        kept = [{key: coding.get(key) for key in ("system", "code")} for coding in concept["coding"]]
        assert kept == [LOINC, SNOMED], element.name


def choices(name: str) -> Iterator[tuple[str, str, str]]:
    """Every type that a choice element may have, with the type that holds it and the name in JSON."""
    for type_name, definition in definitions().items():
        if type_name == name or type_name.startswith(f"{name}."):
            yield from ((type_name, e.name, e.type) for e in definition.elements.values() if e.choice is not None)


@pytest.mark.parametrize("name", RESOURCES)
def test_no_token_survives_in_any_type_of_a_choice_of(name: str) -> None:
    for holder, key, type_name in choices(name):
        planter = Planter()
        value: Any = planter.of(type_name, f"{holder}.{key}", (holder,))
        path = holder
        while path != name:
            path, _, part = path.rpartition(".")
            value, key = {key: value}, part
            value = [value] if definitions()[path].elements[part].many else value
        text, _ = output_of({"resourceType": name, key: value})
        assert planter.survivors(text) == {}, holder


@pytest.mark.parametrize("key", [e.name for e in definitions()["Extension"].elements.values() if e.choice is not None])
def test_no_token_survives_in_an_extension_with(key: str) -> None:
    planter = Planter()
    type_name = definitions()["Extension"].elements[key].type
    extension = {"url": f"https://{planter.token('url')}.example", key: planter.of(type_name, key, ("Extension",))}
    nested = {"url": f"https://{planter.token('url')}.example", "extension": [extension]}
    masked = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", key: extension[key]}
    absent = {"url": f"https://{planter.token('url')}.example", "valueCode": "masked"}
    patient = {
        "resourceType": "Patient",
        "extension": [extension, nested, masked, absent],
        "gender": "female",
        "_gender": {"id": planter.token("id"), "extension": [extension, nested, masked]},
        "_birthDate": {"extension": [extension, masked]},
        "name": [{"_given": [{"extension": [extension]}, None], "given": [None, planter.token("given")]}],
        "maritalStatus": {"extension": [extension], "coding": [LOINC], "_text": {"extension": [nested]}},
    }
    text, clean = output_of(patient)
    assert planter.survivors(text) == {}
    assert clean["gender"] == "female"


def test_no_token_survives_in_names_that_the_standard_does_not_have() -> None:
    planter = Planter()
    resource: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"coding": [dict(LOINC)]}}
    for part in (resource, resource["code"], resource["code"]["coding"][0]):
        for prefix in ("", "_", "value", "x."):
            part[f"{prefix}{planter.token('a name')}"] = planter.token("an unknown element")
        part[planter.token("a name")] = {planter.token("inner name"): [planter.token("inner value")]}
    resource["_status"] = {"extension": [], planter.token("a name"): planter.token("beside an extension")}
    text, clean = output_of(resource)
    assert planter.survivors(text) == {}
    assert clean["code"]["coding"] == [LOINC]


@pytest.mark.parametrize("name", ["Patient", "Observation", "Binary", "DocumentReference", "Provenance"])
def test_no_token_survives_in_a_contained_resource_or_an_entry(name: str) -> None:
    planter = Planter()
    inner = planter.resource(name)
    unknown = {"resourceType": planter.token("a type"), "id": planter.token("id"), "text": planter.token("text")}
    holder = {"resourceType": "Basic", "code": {"coding": [SNOMED]}, "contained": [inner, unknown]}
    entries = [
        {"fullUrl": f"https://{planter.token('base')}.example/{name}/{planter.token('id')}", "resource": inner},
        {"fullUrl": f"urn:uuid:{planter.token('uuid')}", "resource": holder},
        {"fullUrl": f"{planter.token('no url')}", "resource": unknown},
        {"request": {"method": "PUT", "url": f"{name}?identifier={planter.token('criterion')}"}},
    ]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    text, _ = output_of(bundle)
    assert planter.survivors(text) == {}


REFERENCES = [
    "Patient/{}",
    "{}/7",
    "Patient/7/_history/{}",
    "https://ehr.example/{}/Patient/7",
    "https://{}@ehr.example/fhir/Patient/7#{}",
    "Patient?identifier={}",
    "#{}",
    "urn:uuid:{}",
    "urn:oid:1.2.{}",
    "urn:{}:{}",
    "mailto:{}@example.org",
    "Patient/7?name={}",
    "{}",
    " Patient/{} ",
    "Patient/7/{}",
    "data:text/plain,{}",
]


@pytest.mark.parametrize("form", REFERENCES)
def test_no_token_survives_in_a_reference_of_the_form(form: str) -> None:
    planter = Planter()
    written = form.replace("{}", planter.token(form))
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [LOINC]},
        "subject": {"reference": written, "type": written, "display": written},
        "focus": [{"reference": written, "identifier": {"system": written, "value": written}}],
        "meta": {"profile": [written], "source": written, "tag": [{"system": written, "code": written}]},
    }
    text, _ = output_of(resource)
    assert planter.survivors(text) == {}


CODES = [
    ("http://loinc.org", "{}"),
    ("http://loinc.org", "24323-8 {}"),
    ("http://snomed.info/sct", "{}"),
    ("http://unitsofmeasure.org", "{{}}"),
    ("http://unitsofmeasure.org", "mg{{}}"),
    ("http://unitsofmeasure.org", "{}"),
    ("http://hl7.org/fhir/sid/icd-10", "{}"),
    ("http://www.nlm.nih.gov/research/umls/rxnorm", "{}"),
    ("urn:ietf:bcp:47", "{}"),
    ("urn:ietf:bcp:47", "tr-x-{}"),
    ("urn:ietf:bcp:13", "text/{}"),
    ("urn:iso:std:iso:3166", "{}"),
    ("http://dicom.nema.org/resources/ontology/DCM", "{}"),
    ("http://terminology.hl7.org/CodeSystem/v3-{}", "ANONYED"),
    ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "{}"),
]


@pytest.mark.parametrize(("system", "code"), CODES)
def test_no_token_survives_as_a_code_of_a_known_system(system: str, code: str) -> None:
    planter = Planter()
    token = planter.token(code)
    coding = {"system": system.replace("{}", token), "code": code.replace("{}", token)}
    quantity = {"value": 5, "unit": code.replace("{}", token), **coding}
    resource = {
        "resourceType": "Observation",
        "language": coding["code"],
        "status": coding["code"],
        "meta": {"security": [coding], "tag": [coding]},
        "code": {"coding": [coding, LOINC]},
        "valueQuantity": quantity,
    }
    text, _ = output_of(resource)
    assert planter.survivors(text) == {}


def test_a_cleaner_sees_free_text_only_and_its_answer_is_what_stays() -> None:
    planter = Planter()
    seen: list[str] = []

    def clean_text(text: str) -> str:
        seen.append(text)
        return "CLEANED"

    resource = planter.resource("Observation", valueString=planter.token("valueString"))
    resource.pop("valueQuantity", None)
    text, clean = output_of(resource, clean_text=clean_text)
    assert planter.survivors(text) == {}
    assert seen
    assert clean["code"]["text"] == "CLEANED"


OLD_AGES = [
    {"value": 95},
    {"value": 95, "unit": "Years"},
    {"value": 95, "unit": "Jahre"},
    {"value": 95, "code": "{years}", "system": "http://unitsofmeasure.org"},
    {"value": 95, "unit": "a", "code": "a", "system": "http://unitsofmeasure.org"},
    {"value": 1140, "unit": "months"},
    {"value": 1140, "unit": "ay"},
    {"value": 1140, "code": "mo", "system": "http://unitsofmeasure.org"},
    {"value": 4957, "unit": "weeks"},
    {"value": 34698, "unit": "days"},
    {"value": 34698, "unit": "gün"},
    {"value": Decimal("1E+999"), "unit": "days"},
    {"value": 832770, "code": "h", "system": "http://unitsofmeasure.org"},
]


@pytest.mark.parametrize("age", OLD_AGES, ids=str)
def test_an_age_over_89_is_not_told_in_any_unit(age: dict[str, Any]) -> None:
    _, clean = output_of({"resourceType": "Condition", "onsetAge": age, "subject": {"reference": "Patient/7"}})
    assert clean.get("onsetAge", {}).get("value") in (None, 90)


def test_an_age_up_to_89_stays() -> None:
    age = {"value": 89, "unit": "a", "system": "http://unitsofmeasure.org", "code": "a"}
    _, clean = output_of({"resourceType": "Condition", "onsetAge": age, "subject": {"reference": "Patient/7"}})
    assert clean["onsetAge"] == age


def test_a_unit_is_no_place_to_hide_a_telephone_number() -> None:
    for hidden in ("05.32.12.34.56", "5/3/2/1/2/3/4/5/6/7", "10*53.10*21.10*23.10*45", "m5.m3.m2.m1.m2.m3.m4.m5.m6.m7"):
        quantity = {"value": 5, "unit": hidden, "system": "http://unitsofmeasure.org", "code": hidden}
        text, _ = output_of({"resourceType": "Observation", "valueQuantity": quantity})
        assert hidden not in text


NESTING = 3000


@pytest.mark.parametrize("unit", ["extension", "contained", "item"])
def test_nesting_without_end_is_refused_and_no_crash(unit: str) -> None:
    node: dict[str, Any] = {}
    for _ in range(NESTING):
        node = {"resourceType": "Questionnaire", unit: [node]} if unit == "contained" else {unit: [node]}
    with pytest.raises(ResourceQuarantine):
        deidentify_resource({"resourceType": "Questionnaire", **node}, SUBJECT, SAFE_HARBOR, as_of=TODAY)
