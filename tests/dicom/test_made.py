"""What is made for a PACS: whose it is stands in it byte for byte, and its UID follows from its content."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from adapters.dicom import MadeInstance, Picture, StudyContext, secondary_capture
from anonymize import ReceivedInstance
from anonymize.elements import Encoding, Kind, walk
from anonymize.encoding import encode

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
IMAGE_UID = "1.2.3.4"
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
NAME = 0x00100010
STUDY_UID = encode(0x0020000D, "UI", b"1.2.3", Encoding.EXPLICIT_LITTLE)


def received(data_set: bytes, syntax: str = ExplicitVRLittleEndian) -> ReceivedInstance:
    return ReceivedInstance(DigitalXRayImageStorageForPresentation, IMAGE_UID, syntax, data_set)


def image(**changes: Any) -> Dataset:
    """What a modality says of a patient who does not exist, in Turkish."""
    qualifiers, issuer = Dataset(), Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.3.5", "ISO"
    issuer.LocalNamespaceEntityID = "ÇANKAYA"
    data_set = Dataset()
    values = {
        "SpecificCharacterSet": "ISO_IR 148",
        "PatientName": "ŞAHİN^AYŞE",
        "PatientID": "4711",
        "IssuerOfPatientIDQualifiersSequence": [qualifiers],
        "IssuerOfAccessionNumberSequence": [issuer],
        "StudyInstanceUID": "1.2.3",
        "StudyDate": "20260110",
        "Rows": 1,
    }
    for keyword, value in (values | changes).items():
        setattr(data_set, keyword, value)
    return data_set


def encoded(data_set: Dataset, syntax: Any = ExplicitVRLittleEndian) -> ReceivedInstance:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, data_set)
    data: bytes = buffer.getvalue()
    if syntax.is_deflated:
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflating.compress(data) + deflating.flush()
    return received(data, syntax)


def a_picture(colour: int = 0, **changes: Any) -> Picture:
    file = BytesIO()
    Image.new("RGB", (3, 3), (colour, 0, 0)).save(file, "PNG")
    said = Picture(file.getvalue(), "2.25.9", "AI, not reviewed", 1, "", "", "model 1", datetime(2026, 1, 10, 8))
    return replace(said, **changes)


def make(study: StudyContext, picture: Picture | None = None, key: bytes = KEY) -> MadeInstance:
    return MadeInstance.make(secondary_capture(picture or a_picture(), study), study, key, "2.25.1")


def raw(made: MadeInstance, tag: int) -> bytes:
    """The bytes of one value as they are in the file."""
    data = made.file[made.file.index(b"DICM") + 4 :]
    meta = 12 + int.from_bytes(data[8:12], "little")
    steps = walk(data[meta:], Encoding.IMPLICIT_LITTLE)
    return next(data[meta:][s.value : s.value + s.length] for s in steps if s.tag == tag and s.kind is Kind.VALUE)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_patient_and_study_are_the_same_whatever_the_image_is_encoded_in(syntax: Any):
    made = dcmread(BytesIO(make(StudyContext.of(encoded(image(), syntax))).file))
    assert (made.PatientName, made.PatientID, made.StudyDate) == ("ŞAHİN^AYŞE", "4711", "20260110")
    assert made.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3.5"
    assert made.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "ÇANKAYA"
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == IMAGE_UID
    assert (made.Rows, made.pixel_array.shape) == (3, (3, 3, 3)), "of the picture, not of the image"


def test_the_uid_does_not_turn_on_the_encoding_of_the_image():
    assert len({make(StudyContext.of(encoded(image(), syntax))).sop_instance_uid for syntax in SYNTAXES}) == 1


@given(st.binary(max_size=64), st.sampled_from([b"PN", b"LO", b"UN"]))
def test_a_name_keeps_its_bytes_whatever_they_mean(name: bytes, vr: bytes):
    """As many devices send it: without a character set, in a wrong one, under another VR."""
    name += b" " * (len(name) % 2)
    head = b"\x10\x00\x10\x00" + vr
    length = b"\0\0" + len(name).to_bytes(4, "little") if vr == b"UN" else len(name).to_bytes(2, "little")
    made = make(StudyContext.of(received(head + length + name + STUDY_UID)))
    assert raw(made, NAME) == name


def test_what_the_image_lacks_is_there_without_a_value_or_not_there_at_all():
    made = dcmread(BytesIO(make(StudyContext.of(received(STUDY_UID))).file))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        assert made[keyword].value in ("", None), keyword
    assert "IssuerOfPatientID" not in made
    assert "SpecificCharacterSet" not in made


@pytest.mark.parametrize(("said", "kept"), [("01", True), ("00", False)])
def test_what_comes_of_a_lossy_image_is_lossy(said: str, kept: bool):
    lossy = image(
        LossyImageCompression=said, LossyImageCompressionRatio="10", LossyImageCompressionMethod="ISO_10918_1"
    )
    made = dcmread(BytesIO(make(StudyContext.of(encoded(lossy))).file))
    assert ("LossyImageCompression" in made) == ("LossyImageCompressionRatio" in made) == kept


@pytest.mark.parametrize(
    "other",
    [
        lambda study: make(study, a_picture(colour=1)),
        lambda study: make(study, a_picture(software="model 2")),
        lambda study: make(study, a_picture(series_uid="2.25.8")),
        lambda study: make(study, key=OTHER_KEY),
        lambda _study: make(StudyContext.of(encoded(image(PatientID="4712")))),
        lambda _study: make(StudyContext.of(encoded(image(AccessionNumber="A1")))),
    ],
    ids=["picture", "model", "series", "key", "patient", "order"],
)
def test_whatever_differs_has_another_uid(other: Callable[[StudyContext], MadeInstance]):
    study = StudyContext.of(encoded(image()))
    assert other(study).sop_instance_uid != make(study).sop_instance_uid


def test_the_same_made_later_has_the_same_uid():
    study = StudyContext.of(encoded(image()))
    later = make(study, a_picture(number=2, made_at=datetime(2026, 1, 11, 9)))
    assert later.sop_instance_uid == make(study).sop_instance_uid
    assert later.file != make(study).file


def test_nobody_is_named_where_it_is_shown():
    study = StudyContext.of(encoded(image()))
    for shown in (repr(study), repr(make(study)), repr(a_picture())):
        assert "4711" not in shown
        assert make(study).sop_instance_uid not in shown
