"""What the words beside it make of a word or number: a person and not a drug, a serial number and not a measurement."""

import pytest

from anonymize.text import find


def found(text):
    return [(str(finding.kind), text[finding.start : finding.end]) for finding in find(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Discussed with Dr. van der Berg.", ["van der Berg"]),
        ("Mrs. White has a white lesion.", ["White"]),
        ("baby boy Hutchinson was born at term", ["Hutchinson"]),
        ("her daughter May called", ["May"]),
        ("HENDERSON, MARYBETH L. presented", ["HENDERSON, MARYBETH L."]),
        ("Name: Parkinson, Rose", ["Parkinson, Rose"]),
    ],
)
def test_names_are_told_by_titles_labels_and_kin_even_if_they_are_words(text, names):
    assert found(text) == [("NAME", name) for name in names]


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("Pacemaker S/N: PJN123456", "OTHER", "PJN123456"),
        ("VIN 1HGCM82633A004352", "OTHER", "1HGCM82633A004352"),
        ("Implant lot/serial 7765-AX12", "OTHER", "7765-AX12"),
        ("Subject 0042-017 enrolled", "RECORD_NUMBER", "0042-017"),
        ("record 4412876", "RECORD_NUMBER", "4412876"),
        ("Chart 55-21-90", "RECORD_NUMBER", "55-21-90"),
    ],
)
def test_devices_vehicles_and_subjects_have_numbers_that_name_them(text, kind, number):
    assert found(text) == [(kind, number)]


@pytest.mark.parametrize(
    "text",
    [
        "Treated with Ceftriaxone. Managed with Lasix. Performed with Omnipaque 350.",
        "BP 120/80, HR 72, RR 16, T 98.6.",
        "Jackson-Pratt drain. Ann Arbor stage III.",
        "Patient May Resume Regular Diet.",
        "Dear Colleague, Sayın Meslektaşım,",
        "Siemens scanner, Philips Ingenia.",
        "Record high 38.5. Subject 45 years old. Serial 3 mm sections.",
    ],
)
def test_drugs_devices_stages_and_signs_of_life_stand(text):
    assert found(text) == []
