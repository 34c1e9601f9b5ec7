"""What an IOD demands is there after de-identification, with nothing of what was there before."""

import io
from importlib.resources import files

import pydicom
import pytest
from PIL import ImageCms
from pydicom.dataset import Dataset

from anonymize import BASIC, Option, Policy, Quarantine, ReceivedInstance, deidentify
from anonymize.attribute_types import TABLE
from anonymize.uids import SOP_CLASSES, map_uid
from tests.anonymize.encoded import EXPLICIT, INSTANCE, PATIENT, SERIES, STUDY, encoded, identified

STORAGE = "1.2.840.10008.5.1.4.1.1."
GRAYSCALE_PRESENTATION_STATE, COLOR_PRESENTATION_STATE = STORAGE + "11.1", STORAGE + "11.2"
COMPREHENSIVE_3D_SR, ENCAPSULATED_PDF = STORAGE + "88.34", STORAGE + "104.1"
WHOLE_SLIDE, LABEL_MAP, CT = STORAGE + "77.1.6", STORAGE + "66.7", STORAGE + "2"
CONTENT = Policy(frozenset({Option.CLEAN_STRUCTURED_CONTENT}))


def instance(sop_class_uid: str, **attributes: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, INSTANCE
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.PatientName, ds.PatientID = "ORNEK^AYSE", "PID-4471902"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def entry(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def cleaned(ds: Dataset, policy: Policy = BASIC) -> Dataset:
    made = deidentify(ReceivedInstance(str(ds.SOPClassUID), INSTANCE, EXPLICIT, encoded(ds)), PATIENT, policy)
    return pydicom.dcmread(io.BytesIO(made.instance.file))


def sop_classes_of_the_standard() -> list[str]:
    lines = files("anonymize.tables").joinpath(TABLE).read_text("utf-8").splitlines()
    return [line.split(" ")[1] for line in lines if line.startswith("class ")]


@pytest.mark.parametrize("sop_class_uid", sop_classes_of_the_standard())
def test_every_class_with_an_iod_is_known_and_stays(sop_class_uid: str) -> None:
    assert sop_class_uid in SOP_CLASSES
    assert map_uid(PATIENT.uid_key, sop_class_uid) == sop_class_uid


def test_a_label_map_segmentation_is_no_unknown_class() -> None:
    ds = identified()
    ds.SOPClassUID = LABEL_MAP
    assert cleaned(ds).SOPClassUID == LABEL_MAP
    ds.SOPClassUID = LABEL_MAP + ".4471902"
    with pytest.raises(Quarantine):
        cleaned(ds)


def test_a_presentation_state_has_a_dummy_for_when_it_was_made() -> None:
    made = instance(
        GRAYSCALE_PRESENTATION_STATE, PresentationCreationDate="20240611", PresentationCreationTime="101112"
    )
    out = cleaned(made)
    assert (out.PresentationCreationDate, out.PresentationCreationTime) == ("19000101", "000000")
    made.SOPClassUID = CT
    assert "PresentationCreationDate" not in cleaned(made)


def test_the_request_of_a_report_keeps_an_empty_procedure_id() -> None:
    request = entry(StudyInstanceUID=STUDY, RequestedProcedureID="RP-558123")
    out = cleaned(instance(COMPREHENSIVE_3D_SR, ReferencedRequestSequence=[request]))
    assert out.ReferencedRequestSequence[0]["RequestedProcedureID"].is_empty


def test_an_encapsulated_document_says_that_nothing_is_burned_in() -> None:
    ds = instance(ENCAPSULATED_PDF, EncapsulatedDocument=b"%PDF-1.4 ORNEK AYSE ", BurnedInAnnotation="YES")
    out = cleaned(ds)
    assert (out.EncapsulatedDocument, out.BurnedInAnnotation) == (bytes(2), "NO")


@pytest.mark.parametrize("value_type", ["SCOORD", "SCOORD3D", "TCOORD", "TABLE", "UIDREF", "WAVEFORM", "COMPOSITE"])
def test_value_types_of_content_items_stay(value_type: str) -> None:
    ds = instance(COMPREHENSIVE_3D_SR, ContentSequence=[entry(RelationshipType="CONTAINS", ValueType=value_type)])
    assert cleaned(ds, CONTENT).ContentSequence[0].ValueType == value_type


@pytest.mark.parametrize("said", ["35CMX43CM", "10INX12IN", "3D_REBINNED"])
def test_code_strings_of_digits_and_letters_stay(said: str) -> None:
    ds = instance(CT, CassetteSize=said)
    assert cleaned(ds).CassetteSize == said


@pytest.mark.parametrize("said", ["34AYS123", "HEAD4471902", "35CMX4471902", "A1B2C3D4E5", "ORNEK3D"])
def test_what_only_looks_like_such_code_strings_goes(said: str) -> None:
    assert cleaned(instance(CT, CassetteSize=said)).get("CassetteSize") != said


def test_a_colour_profile_that_is_demanded_becomes_one_of_srgb() -> None:
    paths = [entry(OpticalPathIdentifier="1", ICCProfile=b"ORNEK AYSE 4471902")]
    for ds in (
        instance(COLOR_PRESENTATION_STATE, ICCProfile=b"ORNEK AYSE 4471902"),
        instance(WHOLE_SLIDE, OpticalPathSequence=paths),
    ):
        out = cleaned(ds)
        kept = (out if "ICCProfile" in out else out.OpticalPathSequence[0]).ICCProfile
        assert b"4471902" not in kept
        assert ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(kept))).strip() == "sRGB"


def test_a_colour_profile_that_is_not_demanded_goes() -> None:
    assert "ICCProfile" not in cleaned(instance(CT, ICCProfile=b"ORNEK AYSE 4471902"))
