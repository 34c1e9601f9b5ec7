"""A Segmentation for a PACS: every UID in it is of the received images, of the standard, or new."""

from datetime import datetime
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SegmentationStorage

from adapters.dicom import DanglingReference, StudyContext, referenced_images, segmentation_on
from tests.dicom.test_made import encoded, image

RECEIVED = {"2.25.1": "1.2.1", "2.25.2": "1.2.2", "2.25.10": "1.2.10", "2.25.20": "1.2.20", "2.25.30": "1.2.30"}


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def reference(uid: str) -> Dataset:
    return item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid)


def segmentation() -> Dataset:
    """As much of one as matters here, on two images."""
    frames = [
        item(DerivationImageSequence=[item(SourceImageSequence=[reference(uid)])]) for uid in ("2.25.2", "2.25.1")
    ]
    return item(
        SOPClassUID=SegmentationStorage,
        SOPInstanceUID="2.25.70",
        SeriesInstanceUID="2.25.71",
        StudyInstanceUID="2.25.20",
        FrameOfReferenceUID="2.25.30",
        PatientName="KP-1",
        PatientID="KP-1",
        PatientIdentityRemoved="YES",
        DeidentificationMethod="Made",
        DeidentificationMethodCodeSequence=[item(CodeValue="113100")],
        LongitudinalTemporalInformationModified="REMOVED",
        ContentDate="19000101",
        ReferencedSeriesSequence=[
            item(
                SeriesInstanceUID="2.25.10",
                ReferencedInstanceSequence=[reference("2.25.1"), reference("2.25.2")],
            )
        ],
        DimensionOrganizationSequence=[item(DimensionOrganizationUID="2.25.72")],
        DimensionIndexSequence=[item(DimensionOrganizationUID="2.25.72")],
        SegmentLabel="Lesion",
        PerFrameFunctionalGroupsSequence=frames,
    )


def placed(given: Dataset, received: dict[str, str] = RECEIVED) -> Dataset:
    at = datetime(2026, 1, 10, 8, 30)
    return segmentation_on(given, received, series_uid="2.25.9", dimensions_uid="2.25.8", number=2, made_at=at)


def test_the_images_are_named_once_in_the_order_in_which_they_come():
    assert referenced_images(segmentation()) == ("2.25.1", "2.25.2")


def test_each_reference_is_that_to_the_received_image_and_nothing_says_that_it_was_another():
    frames = [item(DerivationImageSequence=[item(SourceImageSequence=[reference(uid)])]) for uid in ("1.2.2", "1.2.1")]
    assert placed(segmentation()) == item(
        SOPClassUID=SegmentationStorage,
        SeriesInstanceUID="2.25.9",
        StudyInstanceUID="1.2.20",
        FrameOfReferenceUID="1.2.30",
        InstanceNumber=2,
        ContentDate="20260110",
        ContentTime="083000",
        ReferencedSeriesSequence=[
            item(SeriesInstanceUID="1.2.10", ReferencedInstanceSequence=[reference("1.2.1"), reference("1.2.2")])
        ],
        DimensionOrganizationSequence=[item(DimensionOrganizationUID="2.25.8")],
        DimensionIndexSequence=[item(DimensionOrganizationUID="2.25.8")],
        SegmentLabel="Lesion",
        PerFrameFunctionalGroupsSequence=frames,
    )


@pytest.mark.parametrize("unknown", RECEIVED)
def test_a_reference_to_anything_else_is_refused(unknown: str):
    with pytest.raises(DanglingReference, match="reprocess"):
        placed(segmentation(), {known: uid for known, uid in RECEIVED.items() if known != unknown})


def test_a_reference_at_a_place_that_nobody_thought_of_is_refused_too():
    given = segmentation()
    given.SegmentSequence = [item(TrackingUID="2.25.99")]
    with pytest.raises(DanglingReference):
        placed(given)


def test_a_frame_of_reference_of_the_standard_stays_what_it_is():
    given = segmentation()
    given.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # Talairach Brain Atlas
    assert placed(given).FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_only_what_lies_in_the_images_frame_of_reference_says_which_that_is():
    study = StudyContext.of(encoded(image(FrameOfReferenceUID="1.2.30", PositionReferenceIndicator="KÖPRÜ")))
    beside, within = study.elements, study.in_its_frame().elements
    assert within.keys() - beside.keys() == {0x00200052, 0x00201040}
    assert "KÖPRÜ".encode("iso-8859-9") in within[0x00201040]
