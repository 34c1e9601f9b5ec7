"""Each option of PS3.15 E.3 does what the table says and no more; what contradicts itself is refused when chosen."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR

from anonymize import BASIC, Action, Claim, InvalidPolicy, Option, Policy, Quarantine, deidentify
from anonymize.dates import grouped_age, shift, year_only
from anonymize.options import Dates
from anonymize.profile import ActionCode, load_profile
from anonymize.safe_private import load_safe_private
from tests.anonymize.encoded import (
    IMPLICIT,
    INSTANCE,
    PATIENT,
    SERIES,
    STUDY,
    encoded,
    even,
    explicit,
    identified,
    implicit,
    inserted,
    item,
    parsed,
    received,
    sequence,
    uid,
)

DEEP = 0x00540016
DAYS = PATIENT.date_offset_days


def policy(*options: Option, year_only: bool = False) -> Policy:
    return Policy(frozenset(options), year_only)


def outcome(elements: bytes, chosen: Policy, syntax: str | None = None):
    data = inserted(encoded(identified()), elements, 0x7FE00010) if syntax is None else elements
    return deidentify(received(data) if syntax is None else received(data, syntax), PATIENT, chosen)


def cleaned(elements: bytes, chosen: Policy):
    return parsed(outcome(elements, chosen).instance.file)


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "years", "named"),
    [
        ({Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES}, False, "face"),
        ({Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}, False, "exclude"),
        ({Option.RETAIN_LONGITUDINAL_FULL_DATES}, True, "exclude"),
        ({Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}, True, "exclude"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused_with_its_reason(options, years, named):
    with pytest.raises(InvalidPolicy, match=named):
        Policy(frozenset(options), years)


@pytest.mark.parametrize("option", [o for o in Option if o is not Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES])
def test_the_output_names_its_options_by_their_codes(option):
    ds = cleaned(b"", policy(option))
    codes = [(code.CodeValue, code.CodingSchemeDesignator) for code in ds.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), (option.code.value, "DCM")]


_CHOICES = st.builds(
    lambda options, dates: Policy(
        frozenset(options) | ({dates} if isinstance(dates, Option) else set()), dates is True
    ),
    st.sets(
        st.sampled_from(
            [o for o in Option if "longitudinal" not in o and o is not Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES]
        )
    ),
    st.sampled_from([None, True, Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES]),
)


@given(_CHOICES, _CHOICES)
def test_a_policy_within_another_retains_nothing_that_the_other_does_not(chosen, bounds):
    within = chosen.within(bounds)
    assert within.options - {Option.CLEAN_PIXEL_DATA} <= bounds.options & chosen.options
    assert (Option.CLEAN_PIXEL_DATA in within.options) == (Option.CLEAN_PIXEL_DATA in chosen.options)
    assert within.dates in (Dates.REMOVED, chosen.dates)
    assert within.dates is Dates.REMOVED or bounds.dates is not Dates.REMOVED
    assert chosen.within(chosen) == chosen


def test_the_codes_of_the_options_are_those_of_cid_7050():
    assert [option.code.value for option in Option] == [str(113101 + number) for number in range(12)]


@pytest.mark.parametrize(
    ("chosen", "claim", "times"),
    [
        (BASIC, Claim.SAFE_HARBOR, "REMOVED"),
        (policy(year_only=True), Claim.SAFE_HARBOR, "MODIFIED"),
        (policy(Option.RETAIN_PATIENT_CHARACTERISTICS), Claim.SAFE_HARBOR, "REMOVED"),
        (policy(Option.RETAIN_LONGITUDINAL_MODIFIED_DATES), Claim.EXPERT_DETERMINATION, "MODIFIED"),
        (policy(Option.RETAIN_LONGITUDINAL_FULL_DATES), Claim.EXPERT_DETERMINATION, "UNMODIFIED"),
        (policy(Option.RETAIN_DEVICE_IDENTITY), Claim.EXPERT_DETERMINATION, "REMOVED"),
        (policy(Option.RETAIN_UIDS), Claim.EXPERT_DETERMINATION, "REMOVED"),
    ],
)
def test_the_output_says_which_claim_it_meets(chosen, claim, times):
    ds = cleaned(b"", chosen)
    assert ds.DeidentificationMethod[-1] == claim.value
    assert ds.LongitudinalTemporalInformationModified == times


# --- the columns of the table -----------------------------------------------------------------------------------------

VALUES = {
    "AE": (b"KONSOL1 ", "KONSOL1"),
    "AS": (b"045Y", "045Y"),
    "CS": (b"YES ", "YES"),
    "DA": (b"20240228", None),
    "DS": (b"72.5", "72.5"),
    "DT": (b"20240228101530", None),
    "LO": (b"Thorax", "Thorax"),
    "LT": (b"Thorax", "Thorax"),
    "SH": (b"Thorax", "Thorax"),
    "ST": (b"Thorax", "Thorax"),
    "TM": (b"101530", None),
    "UC": (b"Thorax", "Thorax"),
    "UI": (uid("1.2.3.4"), "1.2.3.4"),
    "US": (b"\x04\0", 4),
    "UT": (b"Thorax", "Thorax"),
}
CELLS = [
    pytest.param(tag, option, code, id=f"{tag:08X}-{option.value}")
    for tag, row in load_profile().rows.items()
    for option, code in row.options.items()
    if tag >> 16 not in (0x0000, 0x0002, 0x0004) and tag not in (0x00080018, 0x0020000D, 0x0020000E)
]


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""  # newer than the dictionary


@pytest.mark.parametrize(("tag", "option", "code"), CELLS)
def test_every_option_keeps_or_cleans_the_rows_of_its_column(tag, option, code):
    vr = vr_of(tag)
    if tag == 0x00080201:
        raw, kept = b"+0300 ", "+0300"
    elif vr == "SQ":
        raw, kept = item(explicit(0x00280010, "US", b"\x04\0")), None
    elif vr in ("OB", ""):
        return  # bytes are not looked into; the VR of newer attributes is the sender's matter
    else:
        raw, kept = VALUES[vr]
    element = explicit(tag, vr, raw)
    ds = cleaned(sequence(DEEP, element), policy(option))[DEEP].value[0]
    if vr == "SQ":
        assert ds[tag].value[0].Rows == 4
    elif option is Option.RETAIN_LONGITUDINAL_MODIFIED_DATES and kept is None:
        assert ds[tag].value == {"DA": "20240316", "DT": "20240316101530", "TM": "101530"}[vr]
    else:
        assert str(ds[tag].value) == str(kept or raw.decode().strip())
    assert code in (ActionCode.KEEP, ActionCode.CLEAN)


@pytest.mark.parametrize(("typed", "kept"), [("White", "White"), ("Hispanic", "Hispanic"), ("Elmas, Oya", "[NAME]")])
def test_of_an_ethnic_group_stays_what_groups_are_called(typed, kept):
    element = explicit(0x00102160, "SH", typed.encode().ljust(len(typed) + len(typed) % 2))
    assert cleaned(element, policy(Option.RETAIN_PATIENT_CHARACTERISTICS)).EthnicGroup == kept


def test_what_an_option_does_not_name_stays_with_the_basic_profile():
    chosen = policy(Option.RETAIN_DEVICE_IDENTITY)
    ds = cleaned(explicit(0x00081010, "SH", b"RONTGEN1") + explicit(0x00101010, "AS", b"045Y"), chosen)
    assert ds.StationName == "RONTGEN1"
    assert "PatientAge" not in ds
    assert ds.StudyDate == ""


def test_an_option_never_lets_through_what_the_value_representation_does_not_allow():
    marked = b"GIZLI-47"
    elements = (
        explicit(0x00101010, "AS", marked) + explicit(0x00080022, "DA", marked) + explicit(0x00080032, "TM", marked)
    )
    chosen = policy(Option.RETAIN_PATIENT_CHARACTERISTICS, Option.RETAIN_LONGITUDINAL_FULL_DATES)
    assert marked not in outcome(elements, chosen).instance.file


def test_the_trail_names_the_option_an_action_comes_from():
    trail = outcome(explicit(0x00101020, "DS", b"1.75"), policy(Option.RETAIN_PATIENT_CHARACTERISTICS)).trail
    (decision,) = [d for d in trail if d.path == (0x00101020,)]
    assert (decision.action, decision.option) == (Action.KEEP, Option.RETAIN_PATIENT_CHARACTERISTICS)
    assert str(decision) == "(0010,1020) keep (option retain-patient-characteristics)"


def test_retained_uids_stay_and_the_instance_says_so():
    result = outcome(b"", policy(Option.RETAIN_UIDS))
    ds = parsed(result.instance.file)
    assert (ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID) == (INSTANCE, STUDY, SERIES)
    assert (result.instance.sop_instance_uid, result.instance.study_instance_uid) == (INSTANCE, STUDY)
    assert ds.file_meta.MediaStorageSOPInstanceUID == INSTANCE


@pytest.mark.parametrize(
    "value", [b"1.2.GIZLI-4711\0\0", b"4711", b"4711.22", b"1..4711\0", b"1.4711." + b"0" * 60 + b"\0"]
)
def test_what_is_no_uid_is_mapped_even_where_uids_are_retained(value):
    file = outcome(explicit(0x00200052, "UI", value), policy(Option.RETAIN_UIDS)).instance.file
    assert value.strip(b"\0") not in file
    assert parsed(file).FrameOfReferenceUID.startswith("2.25.")


# --- text -------------------------------------------------------------------------------------------------------------


def test_descriptors_lose_the_patient_and_keep_what_they_describe():
    ds = cleaned(
        explicit(0x0008103E, "LO", even("Thorax CT, ÖRNEK AYŞE PID-4471902")), policy(Option.CLEAN_DESCRIPTORS)
    )
    assert ds.SeriesDescription.startswith("Thorax CT")
    for name in ("ÖRNEK", "AYŞE", "4471902"):
        assert name not in ds.SeriesDescription


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("İNCE KESİT TORAKS BT", "İNCE KESİT TORAKS BT"),
        ("Akciğer grafisi PA, kontrol", "Akciğer grafisi PA, kontrol"),
        ("Hasta Zümrüt Hayalioğlu akciğer filmi 12.03.2024", "Hasta [NAME] akciğer filmi [DATE]"),
        ("Tel 0555 010 47 11", "Tel [PHONE]"),
        ("TC 10000000146", "TC [TCKN]"),
        ("Zorgulu akciğer", "[-] akciğer"),
    ],
)
def test_descriptors_in_turkish_keep_what_radiologists_say(text, kept):
    assert cleaned(explicit(0x0008103E, "LO", even(text)), policy(Option.CLEAN_DESCRIPTORS)).SeriesDescription == kept


def test_dates_in_descriptors_move_with_those_of_the_attributes():
    chosen = policy(Option.CLEAN_DESCRIPTORS, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES)
    ds = cleaned(explicit(0x0008103E, "LO", b"Kontrol 28.02.2024"), chosen)
    assert ds.SeriesDescription == "Kontrol 16.03.2024"


def test_structured_content_keeps_its_tree_and_loses_its_names():
    name = explicit(0x0040A040, "CS", b"PNAME ") + explicit(0x0040A123, "PN", b"GIZLI^KISI")
    text = explicit(0x0040A040, "CS", b"TEXT") + explicit(0x0040A160, "UT", even("Patient ÖRNEK AYŞE, 5 mm nodule"))
    content = explicit(0x0040A730, "SQ", item(text) + item(name))
    file = outcome(content, policy(Option.CLEAN_STRUCTURED_CONTENT)).instance.file
    first, second = parsed(file).ContentSequence
    assert "5 mm" in first.TextValue
    assert "AYŞE" not in first.TextValue
    assert second.PersonName == "REMOVED"
    assert b"GIZLI" not in file


def test_graphic_annotations_keep_their_drawing_and_lose_names():
    point = explicit(0x00700014, "FL", struct.pack("<ff", 3, 4))
    text = explicit(0x00700008, "SQ", item(explicit(0x00700006, "ST", even("ÖRNEK AYŞE lesion")) + point))
    ds = cleaned(explicit(0x00700001, "SQ", item(text)), policy(Option.CLEAN_GRAPHICS))
    (shown,) = ds.GraphicAnnotationSequence[0].TextObjectSequence
    assert "lesion" in shown.UnformattedTextValue
    assert "AYŞE" not in shown.UnformattedTextValue
    assert shown.AnchorPoint == [3, 4]


# --- dates ------------------------------------------------------------------------------------------------------------

dates = st.dates(min_value=__import__("datetime").date(1900, 1, 1), max_value=__import__("datetime").date(2100, 1, 1))
offsets = st.integers(-4000, 4000).filter(bool)


@given(dates, dates, offsets)
def test_shifting_keeps_intervals(first, second, days):
    moved = [shift("DA", f"{day:%Y%m%d}".encode(), days) for day in (first, second)]
    from datetime import datetime

    back = [datetime.strptime(value.decode(), "%Y%m%d").date() for value in moved]
    assert back[1] - back[0] == second - first
    assert back[0] != first


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DA", b"20231231", b"20240101"),
        ("DA", b"20231231\\20240228", b"20240101\\20240229"),
        ("DA", b"2023.12.31", b"20240101"),
        ("DA", b"", b""),
        ("DA", b"20230230", None),
        ("DA", b"31122023", None),
        ("DT", b"20231231235959.999999+0300", b"20240101235959.999999+0300"),
        ("DT", b"202312", b"202312"),
        ("DT", b"2023", b"2023"),
        ("DT", b"20231231 ", b"20240101"),
        ("DT", b"2023123199", None),
        ("TM", b"235959.5", b"235959.5"),
        ("TM", b"25", None),
        ("TM", b"noon", None),
    ],
)
def test_a_day_is_added_to_what_is_a_date_and_to_nothing_else(vr, value, expected):
    assert shift(vr, value, 1) == expected


def test_a_date_that_leaves_the_calendar_is_taken_away():
    assert shift("DA", b"99991231", 1) is None
    assert shift("DA", b"00010101", -1) is None


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [("DA", b"20231231", b"20230101"), ("DT", b"20231231235959", b"2023"), ("DA", b"x", None)],
)
def test_of_a_date_only_the_year_stays(vr, value, expected):
    assert year_only(vr, value) == expected


def test_the_year_only_profile_leaves_no_day_and_no_time():
    ds = cleaned(explicit(0x0040A032, "DT", b"20240228101530"), policy(year_only=True))
    assert ds.StudyDate == "19990101"
    assert not ds.get("StudyTime")
    assert ds.ObservationDateTime == "2024"
    assert ds.PatientBirthDate == ""


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (b"089Y", b"089Y"),
        (b"090Y", b"090Y"),
        (b"101Y", b"090Y"),
        (b"018M", b"018M"),
        (b"999M", b"999M"),
        (b"old", None),
    ],
)
def test_ages_over_89_are_told_as_90(age, told):
    assert grouped_age(age) == told


# --- safe private attributes ------------------------------------------------------------------------------------------

SAFE = policy(Option.RETAIN_SAFE_PRIVATE)
PHILIPS = explicit(0x20010010, "LO", b"Philips Imaging DD 001")


def test_a_safe_private_attribute_stays_with_its_creator():
    ds = cleaned(sequence(DEEP, PHILIPS + explicit(0x20011003, "FL", struct.pack("<f", 800))), SAFE)[DEEP].value[0]
    assert ds[0x20010010].value == "Philips Imaging DD 001"
    assert ds[0x20011003].value == 800


KEPT_PRIVATE = [key for key, known in load_safe_private().items() if known.vr not in ("OB", "OW")]


def test_private_bytes_go_even_if_the_table_calls_them_safe():
    creator = explicit(0x01190010, "LO", b"SIEMENS Ultrasound SC2000 ")
    ds = cleaned(sequence(DEEP, creator + explicit(0x01191001, "OB", b"GIZLI-4711")), SAFE)
    assert not list(ds[DEEP].value[0])


@pytest.mark.parametrize("key", sorted(KEPT_PRIVATE), ids=lambda key: f"{key[0]}-{key[1]:04X}-{key[2]:02X}")
def test_every_row_of_the_table_of_safe_attributes_is_known_by_its_creator_only(key):
    creator, group, low = key
    vr = load_safe_private()[key].vr
    values = {"SQ": item(b""), "FL": bytes(4), "FD": bytes(8), "UL": bytes(4), "SL": bytes(4), "AT": bytes(4)}
    value = values.get(vr) or VALUES.get(vr, (b"1 ", ""))[0]
    element = explicit(group << 16 | 0x1100 | low, vr, value)

    def within(name: str):
        data = explicit(group << 16 | 0x11, "LO", even(name)) + element
        return cleaned(sequence(DEEP, data), SAFE)[DEEP].value[0]

    assert group << 16 | 0x1100 | low in within(creator)
    assert not list(within(creator + " II"))


@pytest.mark.parametrize(
    "elements",
    [
        explicit(0x20011003, "LO", b"GIZLI-4711"),  # nobody reserved the block
        explicit(0x20010010, "LO", b"GIZLI-4711") + explicit(0x20011003, "FL", bytes(4)),  # another creator
        PHILIPS + explicit(0x20011003, "LO", b"GIZLI-4711"),  # not its VR
        PHILIPS + explicit(0x20011003, "FL", b"GIZLI-4711GIZLI!"),  # more than it may hold
        PHILIPS + explicit(0x20011103, "LO", b"GIZLI-4711"),  # another block
        PHILIPS + explicit(0x200110EE, "LO", b"GIZLI-4711"),  # not in the table
        PHILIPS + explicit(0x20010011, "LO", b"GIZLI-4711"),  # a second creator, with nothing
    ],
)
def test_what_only_looks_like_a_safe_attribute_goes(elements):
    assert b"GIZLI" not in outcome(sequence(DEEP, elements), SAFE).instance.file
    assert not list(cleaned(sequence(DEEP, elements), SAFE)[DEEP].value[0])


def test_safe_private_attributes_are_known_in_implicit_vr_too():
    elements = implicit(0x20010010, b"Philips Imaging DD 001") + implicit(0x20011003, struct.pack("<f", 800))
    data = encoded(identified(), IMPLICIT)
    cut = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    result = deidentify(received(data[:cut] + elements + data[cut:], IMPLICIT), PATIENT, SAFE)
    assert struct.pack("<HHI", 0x2001, 0x1003, 4) + struct.pack("<f", 800) in result.instance.file


# --- words that anybody may know, and the patient's own ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "vr", "value", "kept"),
    [
        (0x00080008, "CS", "ORIGINAL\\PRIMARY\\MPR\\KAYAHAN", "ORIGINAL\\PRIMARY\\MPR\\"),
        (0x00180015, "CS", "CHEST", "CHEST"),
        (0x00180015, "CS", "KAYAHAN", ""),
        (0x00181210, "SH", "B30f", "B30f"),
        (0x00181210, "SH", "KAYAHAN", ""),
        (0x00181020, "LO", "syngo CT 2012B", "syngo CT 2012B"),
        (0x00181020, "LO", "VB20P 1.2.345", "VB20P 1.2.345"),
        (0x00181020, "LO", "10000000146", ""),
        (0x00181020, "LO", "syngo KAYAHAN", ""),
    ],
)
def test_codes_and_technical_text_stay_as_far_as_their_words_are_known(tag, vr, value, kept):
    ds = identified()
    if tag in ds:
        del ds[tag]
    file = deidentify(received(inserted(encoded(ds), explicit(tag, vr, even(value)))), PATIENT).instance.file
    held = parsed(file).get(tag)
    raw = held.value if held is not None else ""
    assert ("\\".join(raw) if not isinstance(raw, str) else raw) == kept


@pytest.mark.parametrize("text", ["SKULL", "Skull base", "V2 skull", "KURT 4471", "4471", "SKULL_BASE"])
def test_a_value_that_names_the_patient_is_never_passed_on(text):
    ds = identified()
    ds.PatientName, ds.PatientID = "SKULL^Ayşe", "4471"
    data = inserted(encoded(ds), explicit(0x00181020, "LO", even(text.replace("KURT", "V2"))))
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(data), PATIENT)


@pytest.mark.parametrize("text", ["V2.1", "syngo CT 2012B", "skulls", "447"])
def test_a_value_that_only_resembles_the_patients_name_passes(text):
    ds = identified()
    ds.PatientName, ds.PatientID = "SKULL^Ayşe", "4471"
    data = inserted(encoded(ds), explicit(0x00181020, "LO", even(text)))
    assert text in ("skulls", parsed(deidentify(received(data), PATIENT).instance.file).get("SoftwareVersions"))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"0.683593", "0.683593"),
        (b"-175.333333333333333333 ", "-175.33333333333"),
        (b"984647401405.5", None),
        (b"1e5 ", "1e5"),
        (b"12 mm ", None),
    ],
)
def test_a_decimal_stays_if_it_is_one_and_is_rounded_if_it_is_too_long(value, kept):
    ds = cleaned(explicit(0x00181100, "DS", value), BASIC)
    assert (str(ds[0x00181100].value) if 0x00181100 in ds else None) == kept


def test_waveform_samples_stay_and_what_is_behind_them_goes():
    shape = explicit(0x003A0005, "US", b"\2\0") + explicit(0x003A0010, "UL", b"\3\0\0\0")
    samples = explicit(0x54001004, "US", b"\x10\0") + explicit(0x54001010, "OW", bytes(range(12)) + b"GIZLI-4711")
    file = outcome(sequence(0x54000100, shape + samples), BASIC).instance.file
    assert b"GIZLI" not in file
    assert parsed(file).WaveformSequence[0].WaveformData == bytes(range(12))


def test_an_image_whose_bytes_spell_the_patient_is_never_passed_on():
    ds = identified()
    ds.PixelData = b"....PID-4471902.".ljust(32, b"\0")
    with pytest.raises(Quarantine, match="known-identifier"):
        deidentify(received(encoded(ds)), PATIENT)


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW"])
@pytest.mark.parametrize("tag", [0x00180060, 0x00200013, 0x00181150])
def test_bytes_in_the_place_of_a_number_go(tag, vr):
    assert b"GIZLI" not in outcome(explicit(tag, vr, b"GIZLI-4711-KIMLIK-BILGI!"), BASIC).instance.file


@pytest.mark.parametrize("tag", [0x00281201, 0x00283006, 0x7FE00001])
def test_bytes_that_spell_the_patient_are_found_outside_the_image_too(tag):
    vr = {0x7FE00001: "OV"}.get(tag, "OW")
    with suppress(Quarantine):
        assert b"4471902" not in outcome(explicit(tag, vr, b"..PID-4471902..."), BASIC).instance.file


@pytest.mark.parametrize("name", ["王伟", "O\u0308ZGU\u0308R^ALI\u0307", "YIL\u200bMAZ^CAN"])
@pytest.mark.parametrize("text", ["{}", "SIEMENS {}"])
def test_names_in_other_scripts_and_forms_are_never_passed_on(name, text):
    ds = identified()
    ds.PatientName = name
    del ds.Manufacturer
    data = inserted(encoded(ds), explicit(0x00080070, "LO", even(text.format(name.replace("^", " ")))))
    with suppress(Quarantine):
        assert parsed(deidentify(received(data), PATIENT).instance.file).get("Manufacturer") in (None, "")


@pytest.mark.parametrize("entry", [("DEMIR/KAYA", "UCUM"), ("AYSE.DEMIR", "UCUM")])
def test_a_name_is_no_unit(entry):
    code = explicit(0x00080100, "SH", even(entry[0])) + explicit(0x00080102, "SH", even(entry[1]))
    (kept,) = cleaned(explicit(0x00082218, "SQ", item(code)), BASIC).AnatomicRegionSequence
    assert kept.CodeValue == "REMOVED"


@pytest.mark.parametrize("value", ["0532 555 12 34", "12.03.1980", "1980-03-12"])
def test_telephones_and_dates_are_no_versions(value):
    assert not cleaned(explicit(0x00181020, "LO", even(value)), BASIC).get("SoftwareVersions")


def test_a_number_beyond_all_numbers_is_taken_away():
    assert 0x00181100 not in cleaned(explicit(0x00181100, "DS", b"9999999999.99999e999"), BASIC)


@pytest.mark.parametrize("study", ["", "1.2\\3.4", "...."])
def test_an_instance_without_one_sound_study_uid_is_quarantined(study):
    ds = identified()
    del ds.StudyInstanceUID
    data = inserted(encoded(ds), explicit(0x0020000D, "UI", even(study, b"\0")))
    with pytest.raises(Quarantine, match="missing-uid"):
        deidentify(received(data), PATIENT, policy(Option.RETAIN_UIDS))


def test_the_two_bytes_that_nobody_reads_in_a_header_are_not_passed_on():
    element = explicit(0x54001010, "OW", bytes(4))
    shape = explicit(0x003A0005, "US", b"\1\0") + explicit(0x003A0010, "UL", b"\2\0\0\0")
    hidden = element[:6] + b"QZ" + element[8:]
    items = shape + explicit(0x54001004, "US", b"\x10\0") + hidden
    assert b"QZ" not in outcome(sequence(0x54000100, items), BASIC).instance.file
