"""De-identified means: none of the planted identifiers is anywhere in the bytes, and the instance is still DICOM."""

import logging
import pickle
import struct
import warnings
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from pydicom.data import get_testdata_files
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from anonymize import (
    Action,
    DeidentifiedInstance,
    PatientPseudonym,
    Quarantine,
    QuarantineReason,
    Rule,
    deidentify,
    map_uid,
    read_header,
)
from anonymize.attribute_types import Type, types_of
from anonymize.profile import PRIVATE_PATTERN, load_profile
from tests.anonymize.encoded import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    INSTANCE,
    ITEM_END,
    JPEG,
    PATIENT,
    SEQUENCE_END,
    SERIES,
    STUDY,
    UNDEFINED,
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
    split_part10,
    uid,
)
from tests.anonymize.test_elements import mutated
from tests.planted import search_bytes

IDENTIFIERS = (
    "ÖRNEK",
    "AYŞE",
    "ÖRNEK^AYŞE",
    "PID-4471902",
    "ACC-558123",
    "19560412",
    "19990817",
    STUDY,
    SERIES,
    INSTANCE,
)
IDENTIFIERS = tuple(text for text in IDENTIFIERS if len(text) >= 6)
PLANTED = "GİZLİ-4711-KİMLİK"
MARK = PLANTED.encode()


def clean(data_set: bytes, transfer_syntax_uid: str = EXPLICIT) -> DeidentifiedInstance:
    return deidentify(received(data_set, transfer_syntax_uid), PATIENT).instance


def with_elements(elements: bytes, before: int = 0x7FE00010) -> bytes:
    return inserted(encoded(identified()), elements, before)


def reason(data_set: bytes, transfer_syntax_uid: str = EXPLICIT, **changes: str) -> QuarantineReason:
    with pytest.raises(Quarantine) as caught:
        deidentify(replace(received(data_set, transfer_syntax_uid), **changes), PATIENT)
    assert not search_bytes(str(caught.value).encode(), IDENTIFIERS, "the message")
    return caught.value.reason


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_an_instance_keeps_its_image_and_loses_its_patient(syntax):
    data = encoded(identified(), syntax)
    assert search_bytes(data, IDENTIFIERS, "the received data set"), "the search must be able to find"
    instance = clean(data, syntax)
    assert not search_bytes(instance.file, IDENTIFIERS, "the output")
    ds = parsed(instance.file)
    assert ds.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid == syntax
    assert (ds.PatientName, ds.PatientID) == (PATIENT.pseudonym, PATIENT.pseudonym)
    assert (ds.PatientBirthDate, ds.PatientSex, ds.StudyDate, ds.AccessionNumber) == ("", "", "", "")
    assert ds.PixelData == identified().PixelData
    assert (ds.Rows, ds.BitsStored, ds.RescaleIntercept, ds.Modality) == (4, 16, -1024, "CT")
    assert ds.Manufacturer == "Philips Medical Systems"


def test_the_output_says_what_was_done_to_it():
    ds = parsed(clean(encoded(identified())).file)
    assert ds.PatientIdentityRemoved == "YES"
    method, claim = ds.DeidentificationMethod
    assert "2026d" in method
    assert claim.startswith("HIPAA Safe Harbor")
    assert ds.BurnedInAnnotation == "NO"
    (code,) = ds.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"


def test_preamble_and_file_meta_information_are_our_own():
    instance = clean(encoded(identified()))
    assert instance.file[:132] == bytes(128) + b"DICM"
    meta = parsed(instance.file).file_meta
    assert meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid == map_uid(PATIENT.uid_key, INSTANCE)
    assert meta.MediaStorageSOPClassUID == CT
    assert "SourceApplicationEntityTitle" not in meta
    length = struct.unpack_from("<I", instance.file, 140)[0]
    assert instance.file[144 + length :][:4] == b"\x08\x00\x05\x00"  # the data set begins where the group ends


def test_the_same_instance_gives_the_same_bytes_and_another_patient_others():
    data = encoded(identified())
    assert clean(data).file == clean(data).file
    other = deidentify(received(data), PatientPseudonym("KPR-9", b"\x12" * 32, 3)).instance
    assert other.study_instance_uid != clean(data).study_instance_uid


def test_a_deflated_instance_comes_out_as_explicit_vr_little_endian():
    compressor = zlib.compressobj(wbits=-15)
    stream = compressor.compress(encoded(identified())) + compressor.flush()
    instance = clean(stream, DEFLATED)
    assert instance.transfer_syntax_uid == EXPLICIT
    assert parsed(instance.file).PixelData == identified().PixelData


def test_encapsulated_pixel_data_stays_as_it_is():
    ds = identified()
    del ds.PixelData
    pixels = explicit(0x7FE00010, "OB", item(b"") + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END, UNDEFINED)
    assert clean(encoded(ds) + pixels, JPEG).file.endswith(pixels)


def test_elements_out_of_order_come_out_in_order():
    data = encoded(identified())
    moved = explicit(0x00080068, "CS", even("FOR PRESENTATION"))
    assert [e.tag for e in parsed(clean(data + moved).file)] == sorted(
        e.tag for e in parsed(clean(with_elements(moved)).file)
    )


# --- every row of the table -------------------------------------------------------------------------------------------

ROWS = [*load_profile().rows.values(), *(row for _, _, row in load_profile().patterns), load_profile().private]
DEEP = 0x00540016  # Radiopharmaceutical Information Sequence: not in the table, so gone into


def tag_of(pattern: str) -> int:
    if pattern == PRIVATE_PATTERN:
        return 0x00291010
    if pattern == "50xxxxxx":
        return 0x50023000
    return int(pattern.replace("x", "0"), 16)


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[-1]
    except KeyError:
        return "UT"  # private, or newer than the dictionary


def planted_value(tag: int, vr: str) -> bytes:
    if vr == "SQ":
        return item(explicit(0x00081155, "UI", uid(INSTANCE)) + explicit(0x00100010, "PN", MARK + b" "))
    if vr == "UI":
        return uid(INSTANCE)
    return MARK + b" " * (-len(MARK) % 8)


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.pattern)
def test_every_row_of_the_table_is_obeyed_at_every_depth(row, depth):
    tag = tag_of(row.pattern)
    vr = vr_of(tag)
    element = explicit(tag, vr, planted_value(tag, vr))
    for _ in range(depth):
        element = explicit(DEEP, "SQ", item(element))
    ds = identified()
    if depth == 0 and tag in ds:
        del ds[tag]
    mandatory = {0x00080018: INSTANCE, 0x0020000D: STUDY, 0x0020000E: SERIES}
    data = inserted(encoded(ds), element)
    if tag >> 16 == 0:
        assert reason(data) is QuarantineReason.MALFORMED_DATA_SET
        return
    if depth == 0 and tag in mandatory:
        data = data.replace(element, explicit(tag, "UI", uid(mandatory[tag])))
    file = clean(data).file
    assert MARK not in file
    assert MARK[:12] not in file
    assert uid(INSTANCE)[:-1] not in file
    type_ = types_of(CT).of(tag, DEEP if depth else 0)
    _check_outcome(row.basic.value, tag, vr, _at_depth(parsed(file), depth), type_)


def _at_depth(ds: Dataset, depth: int) -> Dataset:
    for _ in range(depth):
        (ds,) = ds[DEEP].value
    return ds


def _check_outcome(action: str, tag: int, vr: str, ds: Dataset, type_: Type | None) -> None:
    if tag in (0x00100010, 0x00100020):
        assert ds[tag].value == PATIENT.pseudonym
        return
    if "/" in action and action != "X/Z/U*":
        action = _resolved(action, vr, type_)
    if action == "X" or tag >> 16 in (0x0002, 0x0004):
        assert tag not in ds
    elif action == "Z":
        assert ds[tag].is_empty
    elif action == "U" or (action == "D" and vr == "UI"):
        assert ds[tag].value.startswith("2.25.")
    elif action == "X/Z/U*":
        (reference,) = ds[tag].value
        assert reference.ReferencedSOPInstanceUID == map_uid(PATIENT.uid_key, INSTANCE)
        assert reference.PatientName == PATIENT.pseudonym
    else:
        assert action == "D"
        assert not ds[tag].is_empty


def _resolved(action: str, vr: str, type_: Type | None) -> str:
    """As the legend of Table E.1-1 resolves a compound action: the least that the Type allows."""
    if type_ is None:  # valid whatever the Type; a sequence's dummy item would say less than none
        return {"X/D": "X", "X/Z/D": "Z"}.get(action, "Z") if vr == "SQ" else {"X/Z": "Z"}.get(action, "D")
    if type_ is Type.NOTHING:
        return action[0]
    if type_ is Type.PRESENCE:
        return "Z" if "Z" in action else "D"
    return "D"


# --- hiding places ----------------------------------------------------------------------------------------------------

PIXELS_WITHIN = explicit(0x7FE00010, "OB", item(b"") + item(MARK) + SEQUENCE_END, UNDEFINED)
UN_ITEMS = item(implicit(0x00100010, MARK) + implicit(0x00280010, b"\4\0"))

HIDING_PLACES = {
    "private element": explicit(0x00290010, "LO", b"ACME") + explicit(0x00291001, "LT", MARK),
    "private creator": explicit(0x00290010, "LO", MARK),
    "orphan private element": explicit(0x00291001, "UN", MARK),
    "private sequence": sequence(0x00291001, explicit(0x00280010, "US", b"ab") + explicit(0x00291001, "LO", MARK)),
    "private sequence as UN": explicit(0x00291001, "UN", UN_ITEMS + SEQUENCE_END, UNDEFINED),
    "private element in a standard sequence": sequence(DEEP, explicit(0x00091001, "LO", MARK)),
    "unknown standard element": explicit(0x00289998, "LO", MARK),
    "unknown standard sequence": sequence(0x00289998, explicit(0x00080104, "LO", MARK)),
    "standard name as UN": sequence(DEEP, explicit(0x00100010, "UN", MARK)),
    "standard sequence as UN of undefined length": explicit(DEEP, "UN", UN_ITEMS + SEQUENCE_END, UNDEFINED),
    "standard sequence as UN of known length": explicit(DEEP, "UN", UN_ITEMS),
    "standard sequence as UN that is none": explicit(DEEP, "UN", MARK),
    "text in Rows": sequence(DEEP, explicit(0x00280010, "LT", MARK)),
    "bytes in Rows": sequence(DEEP, explicit(0x00280010, "US", MARK + b" " * (len(MARK) & 1))),
    "sequence in Rows": sequence(DEEP, sequence(0x00280010, explicit(0x00080104, "LO", MARK))),
    "text in a decimal string": explicit(0x00181100, "DS", MARK[:16]),
    "text in an integer string": explicit(0x00189004, "IS", MARK[:12]),
    "text in a code string": explicit(0x00185100, "CS", MARK),
    "after the NUL of a code string": explicit(0x00185100, "CS", b"HFS\0" + MARK),
    "after the NUL of a text": explicit(0x00181020, "LO", b"1.0\0" + MARK),
    "after the NUL of a UID": explicit(0x00200052, "UI", b"1.2\0" + MARK),
    "in a UID": explicit(0x00200052, "UI", b"1.2." + MARK),
    "in one of several UIDs": explicit(0x00081197, "UI", b"1.2\\" + MARK) + explicit(0x00080062, "UI", b"1.2\\" + MARK),
    "name that the table lacks": explicit(0x0040A067, "PN", MARK),
    "date that the table lacks": explicit(0x00141020, "DA", MARK),
    "text that the table lacks": explicit(0x00181040, "LO", MARK),
    "required text that the table lacks": explicit(0x00620005, "LO", MARK),
    "text in a character set that it is not": explicit(0x00181020, "LO", MARK + b"\xff"),
    "bytes that the table lacks": explicit(0x00282000, "OB", MARK),
    "URL": explicit(0x00081190, "UR", MARK),
    "overlay": explicit(0x60000022, "LO", MARK) + explicit(0x60003000, "OW", MARK),
    "overlay in a high group": explicit(0x60FE1500, "LO", MARK),
    "curve": explicit(0x50000022, "LO", MARK) + explicit(0x50003000, "OW", MARK),
    "group length": explicit(0x00320000, "LO", MARK),
    "file meta in the data set": explicit(0x00020016, "AE", MARK),
    "icon image": sequence(0x00880200, explicit(0x00280010, "US", b"ab") + explicit(0x7FE00010, "OB", MARK)),
    "fragments of a nested image": explicit(DEEP, "SQ", item(PIXELS_WITHIN + ITEM_END, UNDEFINED)),
    "fragments where no pixel data is": explicit(0x54001010, "OB", item(b"") + item(MARK) + SEQUENCE_END, UNDEFINED),
    "original attributes": sequence(0x04000561, explicit(0x00080104, "LO", MARK)),
    "encrypted attributes": sequence(0x04000500, explicit(0x04000520, "OB", MARK)),
    "digital signature": sequence(0xFFFAFFFA, explicit(0x04000120, "OB", MARK)),
    "MAC parameters": sequence(0x4FFE0001, explicit(0x04000020, "AT", MARK)),
    "trailing padding": explicit(0xFFFCFFFC, "OB", MARK),
    "content of a report": sequence(0x0040A730, explicit(0x0040A160, "UT", MARK) + explicit(0x0040A123, "PN", MARK)),
    "text annotation": sequence(0x00700001, explicit(0x00700006, "ST", MARK)),
    "earlier record of de-identification": explicit(0x00120063, "LO", MARK),
}  # fmt: skip


@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("depth", [0, 3])
def test_what_is_hidden_is_not_in_the_output(place, depth):
    element = HIDING_PLACES[place]
    for _ in range(depth):
        element = explicit(0x00540300, "SQ", item(element))
    data = with_elements(element)
    assert MARK[:10] in data
    outcome = deidentify(received(data), PATIENT)
    assert MARK[:10] not in outcome.instance.file
    parsed(outcome.instance.file)
    assert PLANTED[:8] not in "".join(map(str, outcome.trail))


def test_bytes_after_the_last_element_are_not_in_the_output():
    data = encoded(identified())
    assert clean(data + bytes(64)).file == clean(data).file


def test_a_sequence_encoded_as_un_comes_out_with_its_vr_and_its_clean_values():
    for element in (
        explicit(DEEP, "UN", UN_ITEMS + SEQUENCE_END, UNDEFINED),
        explicit(DEEP, "UN", UN_ITEMS),
    ):
        ds = parsed(clean(with_elements(element)).file)
        assert ds[DEEP].VR == "SQ"
        (inner,) = ds[DEEP].value
        assert (inner.Rows, inner.PatientName) == (4, PATIENT.pseudonym)


def coded(value: str, scheme: str, meaning: str) -> bytes:
    return (
        explicit(0x00080100, "SH", even(value))
        + explicit(0x00080102, "SH", even(scheme))
        + explicit(0x00080104, "LO", even(meaning))
    )


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        (("399162004", "SCT", "cranio-caudal"), ("399162004", "SCT", "cranio-caudal")),
        (("T-11170", "SRT", "Maxilla"), ("T-11170", "SRT", "Maxilla")),
        (("399162004", "SCT", "ÖRNEK AYŞE"), ("399162004", "SCT", "REMOVED")),  # a meaning that nobody published
        (("12345678901", "SCT", "x"), ("REMOVED", "99KOPRU", "REMOVED")),  # no SNOMED CT identifier: an ID number
        (("AYSE", "DCM", "AYSE"), ("REMOVED", "99KOPRU", "REMOVED")),
        (("PID-4711", "99HIS", "Röntgen"), ("REMOVED", "99KOPRU", "REMOVED")),
    ],
)
def test_a_coded_entry_stays_as_far_as_its_terminology_vouches_for_it(entry, kept):
    data = with_elements(explicit(0x00082218, "SQ", item(coded(*entry))))
    (code,) = parsed(clean(data).file).AnatomicRegionSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == kept


def test_technical_text_and_codes_survive():
    code = coded("T-11170", "SRT", "Maxilla")
    data = with_elements(explicit(0x00082218, "SQ", item(code)) + explicit(0x00181210, "SH", b"B30f"))
    ds = parsed(clean(data).file)
    assert (ds.ConvolutionKernel, ds.AnatomicRegionSequence[0].CodeMeaning) == ("B30f", "Maxilla")


# --- UIDs -------------------------------------------------------------------------------------------------------------


def test_references_between_the_instances_of_a_study_hold_after_mapping():
    frame_of_reference = "1.2.826.0.1.3680043.8.498.777"
    first, second = identified(), identified()
    second.SOPInstanceUID = INSTANCE + "0"
    for ds in (first, second):
        ds.FrameOfReferenceUID = frame_of_reference
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, INSTANCE
    second.ReferencedImageSequence = [reference]
    outputs = [
        parsed(deidentify(replace(received(encoded(ds)), sop_instance_uid=ds.SOPInstanceUID), PATIENT).instance.file)
        for ds in (first, second)
    ]
    assert outputs[0].StudyInstanceUID == outputs[1].StudyInstanceUID
    assert outputs[0].SeriesInstanceUID == outputs[1].SeriesInstanceUID
    assert outputs[0].FrameOfReferenceUID == outputs[1].FrameOfReferenceUID != frame_of_reference
    assert outputs[0].SOPInstanceUID != outputs[1].SOPInstanceUID
    (kept,) = outputs[1].ReferencedImageSequence
    assert (kept.ReferencedSOPInstanceUID, kept.ReferencedSOPClassUID) == (outputs[0].SOPInstanceUID, CT)


def test_mapped_uids_are_valid_keyed_and_leave_the_standards_own_alone():
    key = b"\x42" * 32
    assert map_uid(key, "1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert map_uid(key, "1.2.840.10008.4471902") != "1.2.840.10008.4471902"
    assert map_uid(key, "1.2.3") == map_uid(key, "1.2.3\0") != map_uid(b"\x43" * 32, "1.2.3")
    for text in ("1.2.3", "../../etc/passwd", ""):
        assert pydicom.uid.UID(map_uid(key, text)).is_valid


# --- quarantine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", ["CS", "LO", "UN"])
@pytest.mark.parametrize("value", ["YES ", "yes ", "Y ", "UNKNOWN "])
def test_an_image_that_may_hold_burned_in_text_is_quarantined_in_whatever_form_it_says_so(vr, value):
    data = with_elements(explicit(0x00280301, vr, even(value)))
    assert reason(data) is QuarantineReason.BURNED_IN_ANNOTATION


@pytest.mark.parametrize("value", ["NO", ""])
def test_an_image_without_burned_in_text_passes_and_says_so(value):
    ds = parsed(clean(with_elements(explicit(0x00280301, "CS", even(value)))).file)
    assert ds.BurnedInAnnotation == "NO"


def test_what_cannot_be_proven_is_quarantined_with_its_reason():
    data = encoded(identified())
    without_study = identified()
    del without_study.StudyInstanceUID
    assert reason(data[:-3]) is QuarantineReason.MALFORMED_DATA_SET
    assert reason(data, "1.3.6.1.4.1.99999.1") is QuarantineReason.UNKNOWN_TRANSFER_SYNTAX
    assert reason(data, "1.2.840.10008.1.2.4.94") is QuarantineReason.REMOTE_PIXEL_DATA
    assert reason(data, sop_class_uid="1.3.6.1.4.1.99999.2") is QuarantineReason.UNKNOWN_SOP_CLASS
    assert reason(data, sop_instance_uid="1.2.3") is QuarantineReason.IDENTITY_MISMATCH
    assert reason(encoded(without_study)) is QuarantineReason.MISSING_UID
    assert reason(b"") is QuarantineReason.MISSING_UID


def test_fragments_in_a_native_transfer_syntax_are_quarantined():
    ds = identified()
    del ds.PixelData
    pixels = explicit(0x7FE00010, "OB", item(b"") + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END, UNDEFINED)
    assert reason(encoded(ds) + pixels) is QuarantineReason.MALFORMED_DATA_SET


def test_quarantine_comes_back_whole_from_a_worker_process():
    error = pickle.loads(pickle.dumps(Quarantine(QuarantineReason.MISSING_UID)))
    assert error.reason is QuarantineReason.MISSING_UID


@pytest.mark.parametrize("pseudonym", ["", "ÖRNEK^AYŞE", "a" * 65, "a\\b"])
def test_a_pseudonym_that_is_no_plain_token_is_refused(pseudonym):
    with pytest.raises(ValueError, match="pseudonym") as caught:
        deidentify(received(encoded(identified())), replace(PATIENT, pseudonym=pseudonym))
    assert not pseudonym or pseudonym not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(data=mutated())
def test_damaged_instances_are_deidentified_or_quarantined_and_the_output_parses(data):
    try:
        instance = clean(data)
    except Quarantine:
        return
    read_header(instance.file[_data_set_start(instance.file) :], EXPLICIT)


def _data_set_start(file: bytes) -> int:
    return 144 + struct.unpack_from("<I", file, 140)[0]


# --- the trail --------------------------------------------------------------------------------------------------------


def test_the_trail_names_each_element_its_action_and_its_rule():
    nested = explicit(DEEP, "SQ", item(b"") + item(explicit(0x00100010, "PN", MARK)))
    trail = deidentify(received(with_elements(nested)), PATIENT).trail
    decided = {str(decision): decision for decision in trail}
    assert "(0008,0050) empty (table-e.1-1)" in decided
    assert "(0054,0016)[2].(0010,0010) pseudonym (identity)" in decided
    assert "(7FE0,0010) keep (pixel-data)" in decided
    assert all(isinstance(d.action, Action) and isinstance(d.rule, Rule) for d in trail)
    assert len(trail) == len({d.path for d in trail}) == len(identified()) + 2


@pytest.mark.parametrize(
    ("element", "decision"),
    [
        (explicit(0x00320000, "UL", bytes(4)), "(0032,0000) remove (structure)"),
        (explicit(0x00041130, "CS", b"DISC"), "(0004,1130) remove (structure)"),
        (explicit(0x00120063, "LO", b"none"), "(0012,0063) remove (record)"),
        (explicit(0x00291010, "US", b"\0\0"), "(0029,1010) remove (private)"),
        (explicit(0x60020010, "US", b"\0\0"), "(6002,0010) remove (graphics)"),
        (explicit(0x50020010, "US", b"\0\0"), "(5002,0010) remove (graphics)"),
        (explicit(0x00081030, "LO", b"text"), "(0008,1030) remove (table-e.1-1)"),
        (explicit(0x00181000, "LO", b"text"), "(0018,1000) remove (table-e.1-1)"),
        (explicit(0x00080023, "DA", b"20200102"), "(0008,0023) empty (table-e.1-1)"),
        (explicit(0x00101022, "DS", b"24.1"), "(0010,1022) remove (sealed)"),
        (sequence(0x04000500, explicit(0x04000510, "UI", b"1.2\0")), "(0400,0500) remove (sealed)"),
        (explicit(0x00289998, "US", b"\0\0"), "(0028,9998) remove (unknown)"),
        (explicit(0x00181100, "LT", b"12"), "(0018,1100) remove (vr-conflict)"),
        (sequence(0x00181100, b""), "(0018,1100) remove (vr-conflict)"),
        (explicit(0x00280120, "UN", b"\0\0"), "(0028,0120) remove (vr-conflict)"),
        (explicit(DEEP, "UN", item(implicit(0x00280120, b"\0\0"))), "(0054,0016)[1].(0028,0120) remove (vr-conflict)"),
        (explicit(0x00141020, "DA", b"20200102"), "(0014,1020) remove (value-representation)"),
        (explicit(0x00282000, "OB", b"\0\0"), "(0028,2000) remove (value-representation)"),
        (
            sequence(0x00620002, explicit(0x00620005, "LO", b"text")),
            "(0062,0002)[1].(0062,0005) dummy (value-representation)",
        ),
        (explicit(0x00181040, "LO", b"text"), "(0018,1040) empty (value-representation)"),
        (explicit(0x00181020, "LO", b"text"), "(0018,1020) keep (value-representation)"),
        (explicit(0x00181100, "DS", b"12.5"), "(0018,1100) keep (value-representation)"),
        (explicit(0x00181100, "DS", b"wide"), "(0018,1100) remove (unsound-value)"),
        (explicit(0x00080062, "UI", b"1.2\0"), "(0008,0062) map-uid (value-representation)"),
        (explicit(DEEP, "UN", b"no item!"), "(0054,0016) remove (unsound-value)"),
        (sequence(DEEP, explicit(0x7FE00010, "OW", bytes(2))), "(0054,0016)[1].(7FE0,0010) remove (pixel-data)"),
    ],
)
def test_each_rule_covers_what_it_says(element, decision):
    assert decision in map(str, deidentify(received(with_elements(element)), PATIENT).trail)


# --- real files -------------------------------------------------------------------------------------------------------

FILES = sorted(path for path in map(Path, get_testdata_files()) if path.is_file())


def _own_words(path: Path) -> list[str]:
    """Names, IDs and UIDs of a file, as far as they are long enough not to turn up by chance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        found = set()
        for element in ds.iterall():
            if element.tag.is_private or not element.value:
                continue
            if element.VR == "PN" or element.keyword in ("PatientID", "AccessionNumber", "StudyID"):
                found.add(str(element.value))
            elif element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
                found.update(map(str, element.value if element.VM > 1 else [element.value]))
    return sorted(word for word in found if len(word) >= 6)


def test_every_file_that_pydicom_ships_is_deidentified_or_quarantined():
    logging.disable(logging.CRITICAL)
    outcomes: Counter[str] = Counter()
    try:
        for path in FILES:
            parts = split_part10(path)
            if parts is None:
                continue
            outcomes[_outcome(path, *parts)] += 1
    finally:
        logging.disable(logging.NOTSET)
    assert outcomes["clean"] >= 50
    assert sum(outcomes.values()) - outcomes["clean"] <= outcomes["clean"] / 4


def _outcome(path: Path, syntax: str, data: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    instance = replace(
        received(data, syntax),
        sop_class_uid=str(source.get("SOPClassUID", "")),
        sop_instance_uid=str(source.get("SOPInstanceUID", "")),
    )
    try:
        outcome = deidentify(instance, PATIENT)
    except Quarantine as error:
        return error.reason.value
    file = outcome.instance.file
    parsed(file)
    leaks = [word for word in _own_words(path) if word.encode() in file]
    assert not leaks, f"{path.name}: {len(leaks)} of its identifiers are in the output"
    return "clean"
