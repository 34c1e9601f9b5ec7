"""Codes, units and places that say nothing of a person, and what only looks like one."""

import pytest

from anonymize.fhir.proofs import is_country, is_known_code, is_language, is_profile, is_state

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem"


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        (LOINC, "18748-4 30745-4 24627-2 8867-4 LA33-6 LA32-8 LA6576-8 LA15920-4 LA18976-3 LA137-2"),
        (SNOMED, "260373001 260415000 138875005 399208008 71388002"),
        (
            UCUM,
            "mm mg/dL 10*3/uL mm[Hg] kg/m2 % 1 /min Cel {score} mL/min/{1.73_m2} [iU]/L mmol/L a [degF] m2 ug/kg/min",
        ),
        ("http://hl7.org/fhir/sid/icd-10", "C34.1 J18 Z01.6"),
        (f"{HL7}/v2-0203", "MR ACSN"),
        (f"{HL7}/observation-category", "imaging"),
        (f"{HL7}/v3-ActCode", "AMB"),
        ("http://dicom.nema.org/resources/ontology/DCM", "CT MR DX"),
    ],
)
def test_a_code_that_its_system_has_is_known(system, codes):
    assert [code for code in codes.split() if not is_known_code(system, code)] == []


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        (LOINC, "18748-5 1-1 12345678-9 LP29684-5 98765432"),
        (SNOMED, "12345678901 260373002 26037 0260373001 10000000146 abc"),
        (UCUM, "testoglu mm{testoglu} 10*12345 {testoglu} mm/ /mm. mg..dL"),
        ("http://hl7.org/fhir/sid/icd-10", "TESTOGLU C34.12345"),
        (f"{HL7}/v2-0203", "TESTOGLU mr"),
        (f"{HL7}/of-a-hospital", "MR"),
        ("https://hospital.example", "1"),
    ],
)
def test_what_only_looks_like_a_code_is_not_known(system, codes):
    assert [code for code in codes.split() if is_known_code(system, code)] == []


@pytest.mark.parametrize("value", [None, 5, [], {}])
def test_what_is_no_text_is_no_code(value):
    assert not is_known_code(value, "MR")
    assert not is_known_code(LOINC, value)


def test_places_and_languages_are_those_of_the_lists_only():
    assert is_country("TR")
    assert is_country("Türkiye")
    assert not is_country("Testoğlu")
    assert is_state("MA")
    assert is_state("massachusetts")
    assert is_state("İzmir")
    assert not is_state("Bornova")
    assert is_language("tr-TR")
    assert not is_language("tr-testoglu")


def test_a_profile_is_one_of_the_standard():
    assert is_profile("http://hl7.org/fhir/StructureDefinition/Patient|4.0.1")
    assert not is_profile("http://hl7.org/fhir/StructureDefinition/Patient|testoglu")
    assert not is_profile("http://hl7.org/fhir/StructureDefinition/testoglu")
    assert not is_profile("Patient")
