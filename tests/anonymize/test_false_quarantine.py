"""What holds nothing of its patient is passed on, though names are words and numbers are numbers; all else is not.

The short form of `benchmarks/false_quarantine.py`, and the places where an innocent likeness is told from a leak.
"""

import pytest
from pydicom.dataset import Dataset

from anonymize import BASIC, Option, Policy, Quarantine, deidentify
from benchmarks import false_quarantine
from benchmarks.clean_instances import TEMPLATES
from tests.anonymize.encoded import (
    PATIENT,
    encoded,
    even,
    explicit,
    identified,
    inserted,
    parsed,
    received,
    sequence,
)

DESCRIPTORS = Policy(frozenset({Option.CLEAN_DESCRIPTORS}))
COUNT = 20 * len(TEMPLATES)


@pytest.mark.parametrize("policy", false_quarantine.POLICIES.values(), ids=list(false_quarantine.POLICIES))
def test_clean_instances_pass(policy: Policy) -> None:
    """At a rate of 0.1 %, three of 340 come about once in 200 seeds."""
    tally = false_quarantine.Tally()
    for _, _, instance in false_quarantine.drawn(COUNT, seed=1):
        tally.add(false_quarantine.outcome(instance, policy))
    assert tally.count == COUNT
    assert tally.reasons.total() <= 2, str(tally)


def test_the_measure_tells_an_instance_that_is_held() -> None:
    tally = false_quarantine.Tally()
    held = received(_with(_called("SOMATOM^Definition"), 0x00081090, "LO", "SOMATOM Definition"))
    for instance in (held, received(encoded(_called("ANOTHER^ONE")))):
        tally.add(false_quarantine.outcome(instance, BASIC))
    assert (tally.reasons, tally.rate) == ({"known-identifier": 1}, 0.5)


def _with(ds: Dataset, tag: int, vr: str, value: str) -> bytes:
    if tag in ds:
        del ds[tag]
    return inserted(encoded(ds), explicit(tag, vr, even(value)))


def _called(name: str, patient_id: str = "9900887") -> Dataset:
    ds = identified()
    ds.PatientName, ds.PatientID = name, patient_id
    return ds


@pytest.mark.parametrize(
    ("name", "number", "tag", "value"),
    [
        ("HEAD^Jane", "1", 0x00180015, "HEAD"),
        ("CHEST^Jane", "1", 0x00180015, "CHEST"),
        ("ORIGINAL^Jane", "1", 0x00080008, "ORIGINAL\\PRIMARY\\AXIAL"),
        ("X^Y", "0001", 0x00080008, "ORIGINAL\\PRIMARY\\ABDOMINAL\\0001"),
    ],
)
def test_a_term_that_the_standard_defines_for_the_attribute_is_no_name(
    name: str, number: str, tag: int, value: str
) -> None:
    out = deidentify(received(_with(_called(name, number), tag, "CS", value)), PATIENT).instance
    held = parsed(out.file)[tag].value
    assert (held if isinstance(held, str) else "\\".join(held)) == value


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00180015, "CS", "HEAD PART"),
        (0x00080008, "CS", "ORIGINAL\\PRIMARY\\HEAD"),
        (0x00080068, "CS", "HEAD"),
        (0x00181020, "LO", "HEAD"),
        (0x00181250, "SH", "Head_32"),
    ],
)
def test_the_same_word_elsewhere_is_one(tag: int, vr: str, value: str) -> None:
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(_with(_called("HEAD^Jane"), tag, vr, value)), PATIENT)


def test_the_meaning_that_is_published_for_a_code_is_no_name() -> None:
    code = explicit(0x00080100, "SH", even("113701")) + explicit(0x00080102, "SH", even("DCM"))
    meaning = explicit(0x00080104, "LO", even("X-Ray Radiation Dose Report"))
    data = inserted(encoded(_called("Sample^Ray")), sequence(0x0040A043, code + meaning))
    ds = parsed(deidentify(received(data), PATIENT).instance.file)
    assert ds.ConceptNameCodeSequence[0].CodeMeaning == "X-Ray Radiation Dose Report"


@pytest.mark.parametrize("value", ["775.3694", "-175.3694\\12.5\\0", "1E3\\3694\\1"])
def test_four_digits_of_a_decimal_are_nobodys_number(value: str) -> None:
    data = _with(_called("X^Y", "3694"), 0x00181100 if "\\" not in value else 0x00200032, "DS", value)
    assert deidentify(received(data), PATIENT).instance


@pytest.mark.parametrize(
    ("number", "value"), [("36945", "775.36945"), ("4471902", "4471902.5"), ("4471902", "1\\4471902")]
)
def test_more_digits_of_a_decimal_are(number: str, value: str) -> None:
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(_with(_called("X^Y", number), 0x00181100, "DS", value)), PATIENT)


@pytest.mark.parametrize(
    ("name", "text", "cleaned"),
    [
        ("DİZ^Örnek", "Sol diz", "Sol [-]"),
        ("Hand^Jane", "HAND 3 views", "[-] 3 views"),
        ("HEAD^JANE", "CT_Head", "CT_[-]"),
    ],
)
def test_a_descriptor_loses_the_word_that_is_the_patients_name(name: str, text: str, cleaned: str) -> None:
    ds = _called(name)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SeriesDescription = text
    out = parsed(deidentify(received(encoded(ds)), PATIENT, DESCRIPTORS).instance.file)
    assert out.SeriesDescription == cleaned
    ds.PatientName = "ANOTHER^ONE"
    assert parsed(deidentify(received(encoded(ds)), PATIENT, DESCRIPTORS).instance.file).SeriesDescription == text


def test_a_descriptor_of_an_item_does_too_and_what_is_no_descriptor_is_held() -> None:
    nested = sequence(0x00400275, explicit(0x00400007, "LO", even("Hand 3 views")))
    data = inserted(encoded(_called("HAND^Jane")), nested)
    out = parsed(deidentify(received(data), PATIENT, DESCRIPTORS).instance.file)
    assert out.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "[-] 3 views"
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(inserted(data, explicit(0x00181020, "LO", even("Hand 1")))), PATIENT, DESCRIPTORS)
