"""What becomes of the resources that a radiology department sees, element by element; and what is refused."""

import copy
import json
import pickle
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import PatientPseudonym, map_uid
from anonymize.fhir import (
    CLAIM_SYSTEM,
    PSEUDONYM_SYSTEM,
    SAFE_HARBOR,
    SHIFTED_DATES,
    Claim,
    DeidentifiedResource,
    Method,
    ResourceQuarantine,
    ResourceReason,
    deidentify_resource,
)

KEY = bytes(range(32))
SUBJECT = PatientPseudonym("KOPRU-0001", KEY, -40)
TODAY = date(2026, 11, 21)
LOINC = {"system": "http://loinc.org", "code": "24627-2"}
MASKED = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}


def run(resource: Any, rules=SAFE_HARBOR, **more: Any) -> DeidentifiedResource:
    return deidentify_resource(resource, SUBJECT, rules, as_of=TODAY, **more)


def clean(resource: Any, rules=SAFE_HARBOR, **more: Any) -> dict[str, Any]:
    return run(resource, rules, **more).resource


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"coding": [LOINC]}, **more}


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **more}


def refused(resource: Any, reason: ResourceReason, **more: Any) -> ResourceQuarantine:
    with pytest.raises(ResourceQuarantine) as caught:
        run(resource, **more)
    assert caught.value.reason is reason
    return caught.value


def test_a_patient_keeps_sex_and_year_of_birth_and_becomes_the_pseudonym():
    result = clean(
        patient(
            id="123",
            name=[{"family": "Testoğlu", "given": ["Ayşe"]}],
            gender="female",
            birthDate="1980-05-06",
            telecom=[{"system": "phone", "value": "+90 555 000 00 00"}],
            photo=[{"contentType": "image/png", "data": "AAAA"}],
        )
    )
    assert result["gender"] == "female"
    assert result["birthDate"] == "1980"
    assert result["identifier"] == [{"system": PSEUDONYM_SYSTEM, "value": "KOPRU-0001"}]
    assert result["photo"] == [{"contentType": "image/png"}]
    assert result.keys() == {"resourceType", "id", "meta", "identifier", "gender", "birthDate", "photo"}


@pytest.mark.parametrize(("born", "kept"), [("1937-01-01", "1937"), ("1936-12-31", None), ("1936", None)])
def test_the_year_of_birth_goes_where_it_tells_an_age_over_89(born, kept):
    assert clean(patient(birthDate=born)).get("birthDate") == kept
    assert ("birthDate" in clean(patient(birthDate=born), SHIFTED_DATES)) == (kept is not None)


def test_a_reference_and_the_id_that_it_names_stay_equal_across_resources():
    identifier = clean(patient(id="123"))["id"]
    for written in ("Patient/123", "Patient/123/_history/4"):
        assert clean(observation(subject={"reference": written}))["subject"] == {"reference": f"Patient/{identifier}"}
    assert identifier != clean(patient(id="124"))["id"]
    assert identifier != clean({"resourceType": "Practitioner", "id": "123"})["id"]
    other = PatientPseudonym("KOPRU-0002", bytes(32), -40)
    assert identifier != deidentify_resource(patient(id="123"), other, as_of=TODAY).resource["id"]


def test_a_reference_to_another_server_is_not_taken_for_our_own_patient_of_the_same_id():
    own = clean(observation(subject={"reference": "Patient/123"}))["subject"]
    foreign = clean(observation(subject={"reference": "https://other.example/fhir/Patient/123"}))["subject"]
    assert own != foreign


def test_in_a_bundle_every_kind_of_reference_still_resolves():
    base = "https://ehr.example/fhir/"
    uuid = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "link": [{"relation": "self", "url": f"{base}Patient?name=Testoglu"}],
        "entry": [
            {
                "fullUrl": f"{base}Patient/1",
                "resource": patient(id="1"),
                "request": {"method": "PUT", "url": "Patient/1"},
            },
            {
                "fullUrl": uuid,
                "resource": observation(
                    subject={"reference": "Patient/1"},
                    focus=[{"reference": f"{base}Patient/1"}],
                    contained=[{"resourceType": "Specimen", "id": "sp"}],
                    specimen={"reference": "#sp"},
                ),
                "request": {"method": "POST", "url": "Observation"},
            },
            {
                "resource": observation(derivedFrom=[{"reference": uuid}]),
                "request": {"method": "GET", "url": "Patient?a=b"},
            },
        ],
    }
    result = clean(bundle)
    first, second, third = result["entry"]
    reference = f"Patient/{first['resource']['id']}"
    assert first["fullUrl"].endswith("/" + reference)
    assert first["request"] == {"method": "PUT", "url": reference}
    assert second["resource"]["subject"]["reference"] == reference
    assert second["resource"]["focus"] == [{"reference": reference}]
    assert second["resource"]["specimen"]["reference"] == "#" + second["resource"]["contained"][0]["id"]
    assert third["resource"]["derivedFrom"] == [{"reference": second["fullUrl"]}]
    assert second["request"] == {"method": "POST", "url": "Observation"}
    assert third["request"] == {"method": "GET", "_url": MASKED}
    assert "link" not in result
    assert "meta" not in second["resource"]["contained"][0]


def test_two_servers_in_one_bundle_do_not_join_two_patients_of_the_same_id():
    entries = [
        {"fullUrl": f"https://{host}.example/{kind}/1", "resource": {"resourceType": kind, "id": "1", **more}}
        for host in ("a", "b")
        for kind, more in (
            ("Organization", {}),
            ("Location", {"managingOrganization": {"reference": "Organization/1"}}),
        )
    ]
    result = clean({"resourceType": "Bundle", "type": "collection", "entry": entries})["entry"]
    ids = [entry["resource"]["id"] for entry in result]
    assert len(set(ids)) == 4
    for organization, location in (result[:2], result[2:]):
        wanted = f"Organization/{organization['resource']['id']}"
        assert location["resource"]["managingOrganization"]["reference"] == wanted


def test_logical_references_and_identifiers_stay_equal_and_name_no_system():
    mrn = {"system": "https://hospital.example/mrn", "value": "98765432"}
    identifier = clean(patient(identifier=[mrn]))["identifier"][0]
    assert identifier["system"] == PSEUDONYM_SYSTEM
    assert clean(observation(subject={"identifier": mrn}))["subject"]["identifier"] == identifier
    elsewhere = clean(patient(identifier=[{**mrn, "system": "https://other.example/mrn"}]))["identifier"][0]
    assert elsewhere["value"] != identifier["value"]


def test_an_imaging_study_has_the_uids_of_the_deidentified_images():
    study, series, instance = ("1.2.826.0.1.99.1", "1.2.826.0.1.99.2", "1.2.826.0.1.99.3")
    ct = {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}
    modality = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT", "display": "Testoğlu"}
    result = clean(
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}],
            "subject": {"reference": "Patient/1"},
            "numberOfSeries": 1,
            "series": [
                {"uid": series, "modality": modality, "instance": [{"uid": instance, "sopClass": ct, "number": 4}]}
            ],
        }
    )
    assert result["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{map_uid(KEY, study)}"}]
    assert result["series"][0]["uid"] == map_uid(KEY, series)
    assert result["series"][0]["modality"] == {"system": modality["system"], "code": "CT"}
    assert result["series"][0]["instance"] == [{"uid": map_uid(KEY, instance), "sopClass": ct, "number": 4}]


def test_shifted_dates_keep_time_and_zone_and_intervals_and_partial_dates_become_years():
    period = {"start": "2024-03-01T23:59:59.250+03:00", "end": "2024-03-11T00:00:00Z"}
    result = clean(observation(effectivePeriod=period, issued="2024-03-12T08:00:00Z"), SHIFTED_DATES)
    assert result["effectivePeriod"] == {"start": "2024-01-21T23:59:59.250+03:00", "end": "2024-01-31T00:00:00Z"}
    assert result["issued"] == "2024-02-01T08:00:00Z"
    assert clean(patient(birthDate="1980-01-20"), SHIFTED_DATES)["birthDate"] == "1979-12-11"
    assert clean(patient(birthDate="1980-05"), SHIFTED_DATES)["birthDate"] == "1980"
    assert clean(patient(birthDate="1980"), SHIFTED_DATES)["birthDate"] == "1980"


@settings(deadline=None)
@given(st.dates(date(1950, 1, 1), date(2100, 1, 1)), st.dates(date(1950, 1, 1), date(2100, 1, 1)))
def test_the_days_between_two_dates_never_change(first, second):
    period = {"start": first.isoformat(), "end": second.isoformat()}
    moved = clean(observation(effectivePeriod=period), SHIFTED_DATES)["effectivePeriod"]
    start, end = (date.fromisoformat(moved[key]) for key in ("start", "end"))
    assert end - start == second - first
    assert start != first


@pytest.mark.parametrize("wrong", ["06.05.1980", "1980-13-01", "1980-05-06T10", "1980-05-06 Testoğlu", "", "19800506"])
def test_what_is_no_date_is_removed(wrong):
    for rules in (SAFE_HARBOR, SHIFTED_DATES):
        assert "birthDate" not in clean(patient(birthDate=wrong), rules)


def test_only_safe_harbor_without_a_cleaners_text_claims_to_be_safe_harbor():
    resource = observation(valueString="nodule of 4 mm")
    for result, claim in (
        (run(resource), Claim.SAFE_HARBOR),
        (run(resource, clean_text=lambda text: text), Claim.EXPERT_DETERMINATION),
        (run(resource, clean_text=lambda _: ""), Claim.SAFE_HARBOR),
        (run(resource, SHIFTED_DATES), Claim.EXPERT_DETERMINATION),
    ):
        assert result.claim is claim
        labels = [(label["system"], label["code"]) for label in result.resource["meta"]["security"]]
        assert labels[-1] == (CLAIM_SYSTEM, claim.value)
        assert ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "PSEUDED") in labels


@pytest.mark.parametrize(
    ("address", "left"),
    [
        (
            {"country": "US", "state": "MA", "postalCode": "02139-1234"},
            {"country": "US", "state": "MA", "postalCode": "021"},
        ),
        ({"country": "US", "postalCode": "03601"}, {"country": "US", "postalCode": "000"}),
        ({"state": "Vermont", "postalCode": "05901"}, {"state": "Vermont", "postalCode": "000"}),
        (
            {"country": "TR", "state": "İzmir", "city": "Bornova", "postalCode": "35030"},
            {"country": "TR", "state": "İzmir"},
        ),
        ({"postalCode": "35030"}, None),
        ({"country": "Testoğlu", "state": "Ayşe"}, None),
    ],
)
def test_of_an_address_state_and_country_stay_and_of_a_zip_code_three_digits(address, left):
    result = clean(patient(address=[{"line": ["Test Sok. 1"], **address}]))
    assert result.get("address") == (None if left is None else [left])


@pytest.mark.parametrize(
    ("given_quantity", "left"),
    [
        ({"value": 89, "code": "a", "system": "http://unitsofmeasure.org"}, 89),
        ({"value": 91, "code": "a", "system": "http://unitsofmeasure.org"}, 90),
        ({"value": Decimal("1104.5"), "unit": "mo"}, 90),
        ({"value": 97, "unit": "years"}, 90),
    ],
)
def test_an_age_over_89_becomes_90_or_more(given_quantity, left):
    result = clean(observation(valueQuantity=given_quantity))["valueQuantity"]
    assert result["value"] == left
    assert (result.get("comparator") == ">=") == (left == 90)


def test_numbers_come_back_as_they_were_given_and_a_lost_unit_is_said():
    value = Decimal("7.500000000000000000000000001")
    result = clean(observation(valueQuantity={"value": value, "unit": "mg/dL"}))
    assert result["valueQuantity"]["value"] is value
    assert result["valueQuantity"]["unit"] == "mg/dL"
    result = clean(observation(valueQuantity={"value": 10**400, "unit": "Testoğlu"}))
    assert result["valueQuantity"] == {"value": 10**400, "_unit": MASKED}


def test_codes_stay_and_displays_and_texts_go_unless_cleaned():
    coding = [
        {"system": "http://snomed.info/sct", "code": "399208008", "display": "Plain film of Testoğlu"},
        {"system": "http://snomed.info/sct", "code": "12345678901"},  # an identity number, not a concept
        {"system": "http://loinc.org", "code": "24627-3"},  # a wrong check digit
        {"system": "https://hospital.example/codes", "code": "T98765432"},
    ]
    resource = observation(code={"coding": coding, "text": "Film of Testoğlu"})
    assert clean(resource)["code"] == {"coding": [{"system": "http://snomed.info/sct", "code": "399208008"}]}
    cleaned = clean(resource, clean_text=lambda text: text.replace("Testoğlu", "[NAME]"))["code"]
    assert cleaned["text"] == "Film of [NAME]"
    assert cleaned["coding"][0]["display"] == "Plain film of [NAME]"


def test_a_required_element_that_goes_says_that_it_is_masked():
    result = clean(observation(code={"text": "Testoğlu"}, status="Testoğlu"))
    assert result["code"] == MASKED
    assert result["_status"] == MASKED
    assert "status" not in result
    assert "code" not in clean({"resourceType": "Observation"})


def test_cleaning_twice_changes_nothing_more_than_the_pseudonyms():
    once = clean(observation(code={"text": "Testoğlu"}, valueQuantity={"value": 91, "unit": "a"}))
    assert clean(once) == once


def test_documents_lose_their_content_and_keep_their_kind():
    content = {
        "contentType": "application/pdf",
        "data": "AAAA",
        "url": "https://ehr.example/1",
        "hash": "AAAA",
        "size": 3,
    }
    document = {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": content}]}
    assert clean(document)["content"] == [{"attachment": {"contentType": "application/pdf"}}]
    document["content"] = [{"attachment": {"url": "https://ehr.example/1"}}]
    assert clean(document)["content"] == [{**MASKED, "attachment": MASKED}]


def test_a_modifier_that_is_not_known_takes_with_it_what_it_modifies():
    modifier = [{"url": "https://hospital.example/negated", "valueBoolean": True}]
    component = {"code": {"coding": [LOINC]}, "valueInteger": 1}
    result = run(observation(component=[component, {**component, "modifierExtension": modifier}]))
    assert result.resource["component"] == [component]
    assert ("Observation.component[1]", Method.REDACT, "unknown modifier") in result.trail
    refused(observation(modifierExtension=modifier), ResourceReason.UNKNOWN_MODIFIER)
    refused(observation(implicitRules="https://hospital.example/rules"), ResourceReason.UNKNOWN_MODIFIER)


def test_two_patients_in_one_resource_are_refused_and_the_same_twice_is_not():
    entries = [{"resource": patient(id="1")}, {"resource": patient(id="2")}]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    refused(bundle, ResourceReason.SEVERAL_PATIENTS)
    bundle["entry"] = [{"resource": patient(id="1")}, {"resource": patient(id="1")}]
    assert len(clean(bundle)["entry"]) == 2
    refused(patient(contained=[patient(id="2")]), ResourceReason.SEVERAL_PATIENTS)


@pytest.mark.parametrize(
    "resource",
    [
        {},
        [],
        None,
        "Patient",
        {"resourceType": 5},
        patient(name="Testoğlu"),
        patient(name={"family": "Testoğlu"}),
        patient(gender=["female"]),
        patient(gender={"a": 1}),
        patient(active="Testoğlu"),
        patient(birthDate=19800506),
        patient(name=[None]),
        patient(name=[{"given": [["Testoğlu"]]}]),
        patient(deceasedBoolean=True, deceasedDateTime="2024"),
        patient(gender=None),
        patient(_gender=[]),
        patient(name=[{"given": ["A", "B"], "_given": [None]}]),
        {**patient(), 5: "Testoğlu"},
        observation(valueQuantity={"value": float("nan")}),
        observation(valueQuantity={"value": Decimal("Infinity")}),
        observation(valueQuantity={"value": "7"}),
        observation(valueInteger=True),
        observation(valueInteger=10**5000),
        observation(valueQuantity={"value": 10**5000, "unit": "a"}),
        observation(valueQuantity={"value": Decimal("1e999999999"), "unit": "a"}),
        observation(valueQuantity={"value": Decimal("1e-999999999"), "unit": "a"}),
        observation(valueQuantity={"value": Decimal("1." + 5000 * "1"), "unit": "a"}),
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": 5}}]},
        patient(active=b"x"),
        patient(id="Testoğlu\ud800"),  # half of a surrogate pair: JSON has it, UTF-8 does not
        observation(identifier=[{"system": "urn:dicom:uid", "value": "\udfff"}]),
    ],
    ids=lambda _: "",
)
def test_a_wrong_shape_is_refused_and_the_error_tells_no_value(resource):
    error = refused(resource, ResourceReason.MALFORMED_RESOURCE)
    assert "Testoğlu" not in str(error)
    assert error.__cause__ is None
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_unknown_resource_type_is_refused_and_within_another_it_is_removed():
    assert "Testoğlu" not in str(refused({"resourceType": "Testoğlu"}, ResourceReason.UNKNOWN_RESOURCE_TYPE))
    result = run(observation(contained=[{"resourceType": "Testoğlu"}]))
    assert "contained" not in result.resource
    assert "Testoğlu" not in str(result.trail)


def test_a_resource_that_holds_itself_is_refused():
    item: dict[str, Any] = {"linkId": "1"}
    item["item"] = [item]
    refused({"resourceType": "QuestionnaireResponse", "status": "completed", "item": [item]}, ResourceReason.TOO_DEEP)


def test_the_input_stays_as_it_was_and_the_output_shares_nothing_that_can_change_with_it():
    resource = observation(category=[{"coding": [dict(LOINC)]}], effectiveDateTime="2024-03-01", language="tr")
    before = copy.deepcopy(resource)
    result = clean(resource)
    result["category"][0]["coding"][0]["code"] = "changed"
    result["meta"]["security"][0]["code"] = "changed"
    assert resource == before
    assert clean(resource)["category"] == before["category"]
    assert clean(resource)["meta"]["security"][0]["code"] == "PSEUDED"


def test_a_cleaner_that_fails_quarantines_and_what_it_says_is_not_repeated():
    def clean_text(text: str) -> str:
        raise ValueError(text)

    error = refused(observation(valueString="Testoğlu"), ResourceReason.TEXT_CLEANER_FAILED, clean_text=clean_text)
    assert "Testoğlu" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__
    refused(observation(valueString="x"), ResourceReason.TEXT_CLEANER_FAILED, clean_text=lambda _: None)


def test_the_trail_names_element_method_and_rule_of_every_value_and_shows_none():
    result = run(observation(valueString="Testoğlu", note=[{"text": "Testoğlu"}], Testoğlu="Testoğlu"))
    trail = {decision.path: decision for decision in result.trail}
    assert trail["Observation.status"].method is Method.KEEP_PROVEN
    assert trail["Observation.note[0].text"].method is Method.REDACT
    assert trail["Observation.?"].rule == "unknown to R4"
    assert trail["Observation.valueString"].rule.startswith("safe_harbor.toml: rule")
    assert "Testoğlu" not in f"{result!r}{result.trail}"


@pytest.mark.parametrize(
    "number", [5321234567, 10000000146, Decimal("10000000146"), 1.0000000146e10, Decimal("-5321234567.0")]
)
def test_a_whole_number_that_could_be_dialled_is_no_measurement(number):
    whole = int(number)
    result = clean(observation(valueQuantity={"value": number, "unit": "mg"}, component=[{"valueInteger": whole}]))
    assert "value" not in result["valueQuantity"]
    assert "valueInteger" not in json.dumps(result, default=str)


@pytest.mark.parametrize(
    "number", [312400000, 3700000000, Decimal("0.3333333333333333"), 7.4e11, -5, Decimal("1234567.891")]
)
def test_large_and_exact_measurements_stay(number):
    assert clean(observation(valueQuantity={"value": number}))["valueQuantity"]["value"] == number


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/7741903"},
        {"reference": "http://ehr.example/fhir/Patient/7741903/_history/2"},
        {"identifier": {"value": "KL-7741903"}},
        {"reference": "#p"},
    ],
)
def test_numbers_that_hold_the_patients_own_go(subject):
    contained = [{"resourceType": "Patient", "id": "p", "identifier": [{"value": "7741903"}]}]
    more = {"contained": contained} if subject == {"reference": "#p"} else {}
    component = [{"valueInteger": 7741903}, {"valueTime": "10:11:12.7741903"}, {"valueQuantity": {"value": 0.7741903}}]
    result = clean(observation(subject=subject, component=component, valueInteger=7741904, **more))
    assert "7741903" not in json.dumps(result)
    assert result["valueInteger"] == 7741904


_NAMES = ["id", "code", "value", "extension", "url", "coding", "_id", "text"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "contained", "extension", "_gender", "identifier", "meta", "photo"]), _JSON
    )
)
def test_any_json_is_either_cleaned_or_quarantined(content):
    try:
        json.dumps(clean(patient(**content)))
    except ResourceQuarantine:
        return
