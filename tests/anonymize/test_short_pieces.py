"""An identifier in short pieces, in a short value, or in a word of a few letters is one all the same."""

import struct
from contextlib import suppress

import pytest

from anonymize import BASIC, Option, Policy, Quarantine, deidentify
from tests.anonymize.encoded import (
    PATIENT,
    encoded,
    even,
    explicit,
    identified,
    inserted,
    item,
    parsed,
    received,
    sequence,
)

DESCRIPTORS = Policy(frozenset({Option.CLEAN_DESCRIPTORS}))
CONTENT = Policy(frozenset({Option.CLEAN_STRUCTURED_CONTENT}))
CHARACTERISTICS = Policy(frozenset({Option.RETAIN_PATIENT_CHARACTERISTICS}))


def described(text: str, name: str = "ÖRNEK^AYŞE", number: str = "PID-4471902") -> str:
    """What a cleaned description says of a patient of that name and number."""
    made = identified()
    made.PatientName, made.PatientID, made.SeriesDescription = name, number, text
    out = deidentify(received(encoded(made)), PATIENT, DESCRIPTORS)
    return str(parsed(out.instance.file).get("SeriesDescription", ""))


# --- values of numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "vr", "unit"),
    [
        (0x00540070, "US", 2),  # Time Slot Vector
        (0x00289503, "SS", 2),  # Vertices of the Region
        (0x00209157, "UL", 4),  # Dimension Index Values
        (0x00700273, "FL", 4),  # Rotation Point
        (0x00660016, "OF", 4),  # Point Coordinates Data
        (0x00660103, "OW", 2),  # Recommended Display CIELab Value List
    ],
)
@pytest.mark.parametrize(("name", "number"), [("QWXZEL^ANY", "1"), ("A^B", "8471902"), ("A^B", "XK-47190")])
def test_the_patient_is_found_in_few_numbers_as_in_many(tag, vr, unit, name, number):
    made = identified()
    made.PatientName, made.PatientID = name, number
    spelled = (name.split("^")[0] if number == "1" else number).encode()
    value = explicit(tag, vr, spelled + b"\0" * (-len(spelled) % unit))
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(inserted(encoded(made), value)), PATIENT)


@pytest.mark.parametrize("tag", [0x54000110, 0x54000112, 0x5400100A])
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_one_sample_is_no_longer_than_a_sample(tag, vr):
    file = deidentify(
        received(inserted(encoded(identified()), explicit(tag, vr, b"GIZLIKISI "))), PATIENT
    ).instance.file
    assert b"GIZLI" not in file
    two = b"\x00\x80"
    assert (
        parsed(deidentify(received(inserted(encoded(identified()), explicit(tag, vr, two))), PATIENT).instance.file)[
            tag
        ].value
        == two
    )


# --- words in pieces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        ("QWXZEL^ANY", "1", "Q W X Z E L"),
        ("QWXZEL^ANY", "1", "q.w.x.z.e.l thorax"),
        ("QWXZEL^ANY", "1", "Qwx-zel"),
        ("A^B", "PX7718293", "77 18 293"),
        ("A^B", "PX7718293", "PX 771 829 3"),
        ("A^B", "PX7718293", "B30f 77.182.93"),
        ("A^B", "7718293", "771/829/3"),
    ],
)
def test_the_patients_name_and_number_are_found_in_pieces(name, number, text):
    def squeezed(found: str) -> str:
        return "".join(character for character in found.lower() if character.isalnum())

    identifier = "7718293" if "7718293" in number else "qwxzel"
    assert identifier in squeezed(text)
    with suppress(Quarantine):
        assert identifier not in squeezed(described(text, name, number))


def test_the_digits_of_a_number_with_letters_are_the_number_where_nothing_is_cleaned():
    made = identified()
    made.PatientID = "PX7718293"
    data = inserted(encoded(made), explicit(0x00200013, "IS", b"7718293 "))
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(data), PATIENT)


@pytest.mark.parametrize(
    "within",
    [
        sequence(0x00101002, explicit(0x00100020, "LO", b"7718293 ")),  # Other Patient IDs
        sequence(0x00400275, explicit(0x00080050, "SH", b"PX7718293 ")),  # the accession of a request
        sequence(0x04000561, sequence(0x04000550, explicit(0x00100020, "LO", b"7718293 "))),  # before a merge
    ],
    ids=["another ID", "a request", "a former ID"],
)
@pytest.mark.parametrize("policy", [BASIC, DESCRIPTORS], ids=["basic", "descriptors"])
def test_what_items_call_the_patient_is_found_too(within, policy):
    number = explicit(0x00181150, "IS", b"7718293 ")
    data = encoded(identified())
    assert deidentify(received(inserted(data, number)), PATIENT, policy)
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(inserted(data, number + within)), PATIENT, policy)


def test_a_former_name_is_found_in_what_stays():
    within = sequence(0x04000561, sequence(0x04000550, explicit(0x00100010, "PN", b"AXIAL^QW")))
    data = inserted(encoded(identified()), within)
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(inserted(data, explicit(0x00180022, "CS", b"AXIAL HELICAL "))), PATIENT)


@pytest.mark.parametrize(
    ("number", "value"), [("7718293", "007718293"), ("PX7718293", "07718293"), ("0007718293", "7718293 ")]
)
def test_zeros_in_front_make_no_other_number(number, value):
    made = identified()
    made.PatientID = number
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(inserted(encoded(made), explicit(0x00200013, "IS", even(value)))), PATIENT)


@pytest.mark.parametrize(
    ("number", "elements"),
    [
        ("1234512", explicit(0x00200011, "IS", b"12345 ") + explicit(0x00200013, "IS", b"12")),  # two values, not one
        ("PX000001", explicit(0x00180050, "DS", b"0.000001")),  # what a counter begins with
        ("7718293", explicit(0x00181020, "LO", b"syngo 77 B18293f")),
    ],
)
def test_what_only_resembles_a_number_in_pieces_passes(number, elements):
    made = identified()
    made.PatientID = number
    assert deidentify(received(inserted(encoded(made), elements)), PATIENT)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("K E M A L thorax", "[-] thorax"),
        ("K.E.M.A.L", "[-]"),
        ("thorax 555 321 78", "thorax [-]"),
        ("19 53 07 14", "[-]"),
        ("14 07 53", "[-]"),
    ],
)
def test_letters_and_digits_in_pieces_are_nobodys_words(text, kept):
    assert described(text) == kept


@pytest.mark.parametrize(("tag", "vr"), [(0x00180015, "CS"), (0x00181020, "LO")])
def test_a_name_letter_by_letter_is_no_technical_text(tag, vr):
    data = inserted(encoded(identified()), explicit(tag, vr, b"K E M A L "))
    assert b"K E M" not in deidentify(received(data), PATIENT, BASIC).instance.file


@pytest.mark.parametrize(
    "text", ["C/A/P", "T1 TSE AX 3 MM", "CT 0.625 1.25", "L R", "5 x 5 x 3", "HEAD 3.0 J30s 3", "TR 20 TE 5"]
)
def test_short_words_of_imaging_stay(text):
    assert described(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Ali thorax", "[-] thorax"), ("thorax NUR", "thorax [-]"), ("ece", "[-]"), ("oya/lea", "[-]/[NAME]")],
)
def test_a_usual_name_of_three_letters_is_not_too_short(text, kept):
    assert described(text) == kept


@pytest.mark.parametrize("text", ["MAX IP", "KEY IMAGES", "ART VEN DEL", "low dose", "Sol diz", "SAG COR", "sag kol"])
def test_a_name_that_images_are_described_by_stays(text):
    assert described(text) == text


# --- characteristics and ages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [0x00100040, 0x00102203, 0x001021A0])
def test_a_code_string_that_an_option_retains_is_of_known_words(tag):
    made = identified()
    del made.PatientSex
    file = deidentify(
        received(inserted(encoded(made), explicit(tag, "CS", b"GIZLIKISI "))), PATIENT, CHARACTERISTICS
    ).instance.file
    assert b"GIZLI" not in file


@pytest.mark.parametrize(("tag", "value"), [(0x00100040, "F"), (0x00102203, "UNALTERED"), (0x001021A0, "UNKNOWN")])
def test_a_code_string_that_says_a_characteristic_stays(tag, value):
    made = identified()
    del made.PatientSex
    made.PatientName = "UNKNOWN"
    data = inserted(encoded(made), explicit(tag, "CS", even(value)))
    assert parsed(deidentify(received(data), PATIENT, CHARACTERISTICS).instance.file)[tag].value == value


def measured(value: bytes, unit: bytes, *more: bytes) -> bytes:
    """A NUM item of that value and UCUM unit."""
    code = explicit(0x00080100, "SH", unit + b" " * (len(unit) & 1)) + explicit(0x00080102, "SH", b"UCUM")
    code += explicit(0x00080104, "LO", b"year")
    units = explicit(0x004008EA, "SQ", item(code))
    number = units + b"".join(more) + explicit(0x0040A30A, "DS", value + b" " * (len(value) & 1))
    num = explicit(0x0040A040, "CS", b"NUM ") + explicit(0x0040A300, "SQ", item(number))
    return explicit(0x0040A730, "SQ", item(num))


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (b"97", b"a", 90),
        (b"89", b"a", 89),
        (b"89.9", b"a", 89.9),
        (b"90.5", b"a", 90),
        (b"1164", b"mo", 1080),
        (b"35405", b"d", 32872),
        (b"97", b"mm", 97),
        (b"1164", b"mm", 1164),
    ],
)
def test_no_report_tells_an_age_over_89(value, unit, told):
    double = explicit(0x0040A161, "FD", struct.pack("<d", float(value)))
    data = inserted(encoded(identified()), measured(value, unit, double))
    ds = parsed(deidentify(received(data), PATIENT, CONTENT).instance.file)
    (number,) = ds.ContentSequence[0].MeasuredValueSequence
    assert float(number.NumericValue) == told
    assert number.get("FloatingPointValue", told) == told


def test_basic_profile_holds_no_content_at_all():
    data = inserted(encoded(identified()), measured(b"97", b"a"))
    assert b"97" not in deidentify(received(data), PATIENT, BASIC).instance.file
