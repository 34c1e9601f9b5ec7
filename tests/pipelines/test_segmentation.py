"""The DICOM Segmentation of a mask: valid, on the right slices, the same each time, and about nobody."""

import re
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from anonymize import PatientPseudonym
from pipelines.ct_lesion import CtLesion
from pipelines.pipeline import PreparedInput
from pipelines.results import MANUFACTURER, Coding, ModelIdentity
from pipelines.segmentation import Segment, as_instance, make_segmentation
from pipelines.series import Volume
from pipelines.volume import spread
from runtime import ModelPackage
from tests.peers.availability import command
from tests.pipelines.ct_series import ct_series, instances
from tests.pipelines.test_ct_lesion import BUNDLED, PIPELINE, WITH_LESION
from training.ct_phantoms import Phantom, draw_phantom

MODEL = ModelIdentity("ct-lesion-sample", "0.1.0", "ab" * 32, "Sample.", True, "CC0-1.0")
PATIENT = PatientPseudonym("KP-TEST", b"k" * 32, 30)
SHAPE = (30, 70, 90)  # finer than the grid, and no multiple of it
SCT = "http://snomed.info/sct"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(WITH_LESION, SHAPE)


@pytest.fixture(scope="module")
def volume(phantom: Phantom) -> Volume:
    (item,) = PIPELINE.prepare(instances(ct_series(phantom)), ModelPackage.load(BUNDLED))
    assert isinstance(item, PreparedInput)
    assert item.volume is not None
    return item.volume


@pytest.fixture(scope="module")
def segment() -> Segment:
    output = np.stack([np.zeros((24, 64, 64)), draw_phantom(WITH_LESION).lesion]).astype(np.float32)
    (made,) = CtLesion().segments(output)
    return made


def made(volume: Volume, *segments: Segment, model: ModelIdentity = MODEL, patient: Any = PATIENT) -> Dataset:
    return make_segmentation(volume, segments, model, patient)


def opened(data_set: Dataset) -> Any:
    return highdicom.seg.segread(BytesIO(as_instance(data_set).file))


def masks(data_set: Dataset, volume: Volume, number: int = 1) -> np.ndarray:
    """What another program reads, on all slices of the volume."""
    read = opened(data_set)
    return read.get_pixels_by_source_instance(
        list(volume.slices), segment_numbers=[number], assert_missing_frames_are_empty=True
    )[..., 0]


def test_every_slice_has_the_mask_of_its_own_cells(volume: Volume, segment: Segment):
    data_set = made(volume, segment)
    expected = np.stack(list(spread(segment.mask, volume.shape)))
    assert np.array_equal(masks(data_set, volume), expected)
    reached = [uid for uid, plane in zip(volume.slices, expected, strict=True) if plane.any()]
    assert 0 < len(reached) < len(volume.slices)
    references = data_set.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in references] == reached
    at = dict(zip(volume.slices, volume.positions_mm, strict=True))
    placed = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID: tuple(
            map(float, frame.PlanePositionSequence[0].ImagePositionPatient)
        )
        for frame in data_set.PerFrameFunctionalGroupsSequence
    }
    assert placed == {uid: at[uid] for uid in reached}


def test_it_says_what_was_outlined_by_which_model_and_that_nobody_has_reviewed_it(volume: Volume, segment: Segment):
    data_set = made(volume, segment)
    (description,) = data_set.SegmentSequence
    assert description.SegmentLabel == "Lesion"
    (kind,), (category,) = (
        description.SegmentedPropertyTypeCodeSequence,
        description.SegmentedPropertyCategoryCodeSequence,
    )
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "52988006")
    assert (category.CodingSchemeDesignator, category.CodeValue) == ("SCT", "49755003")
    (algorithm,) = description.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ct-lesion-sample", "0.1.0")
    assert MODEL.weights_sha256 in algorithm.AlgorithmParameters
    assert data_set.SegmentationType == "BINARY"
    assert "not reviewed" in data_set.SeriesDescription
    assert "not for diagnosis" in data_set.ContentDescription
    assert data_set.ContentLabel == "AI_UNREVIEWED"
    assert not data_set.ContentCreatorName
    assert data_set.Manufacturer == MANUFACTURER


def test_the_same_outline_is_the_same_file_and_another_has_other_uids(volume: Volume, segment: Segment):
    first, again = as_instance(made(volume, segment)), as_instance(made(volume, segment))
    assert first == again
    smaller = segment.mask.copy()
    smaller[tuple(np.argwhere(smaller)[0])] = False
    others = (
        made(volume, replace(segment, mask=smaller)),
        made(volume, segment, model=replace(MODEL, weights_sha256="cd" * 32)),
        made(volume, segment, patient=replace(PATIENT, uid_key=b"l" * 32)),
    )
    for other in map(as_instance, others):
        assert other.sop_instance_uid != first.sop_instance_uid
        assert other.series_instance_uid != first.series_instance_uid
        assert other.study_instance_uid == first.study_instance_uid


def test_no_moment_is_in_it_nor_any_person_but_the_pseudonym(volume: Volume, segment: Segment):
    """A result is made within minutes of the examination: when it was made would tell when that was."""
    data_set = dcmread(BytesIO(as_instance(made(volume, segment)).file))
    times = {str(e.value) for e in data_set.iterall() if e.VR in ("DA", "TM", "DT") and e.value}
    assert times == {"19000101", "000000"}
    people = {str(e.value) for e in data_set.iterall() if e.VR == "PN" and e.value}
    assert people == {data_set.PatientID} == {PATIENT.pseudonym}
    assert data_set.PatientIdentityRemoved == "YES"


def test_segments_may_overlap(volume: Volume, segment: Segment):
    lung = np.zeros((24, 64, 64), bool)
    lung[2:22, 20:44, 8:56] = True
    around = Segment("Lung", Coding(SCT, "123037004", "Anatomical Structure"), Coding(SCT, "39607008", "Lung"), lung)
    data_set = made(volume, around, segment)
    for number, one in enumerate((around, segment), start=1):
        assert np.array_equal(masks(data_set, volume, number), np.stack(list(spread(one.mask, volume.shape))))


@pytest.mark.dciodvfy
def test_the_verifier_finds_no_error(volume: Volume, segment: Segment, tmp_path: Path):
    program = command("dciodvfy")
    assert program is not None
    file = tmp_path / "seg.dcm"
    file.write_bytes(as_instance(made(volume, segment)).file)
    said = subprocess.run([program, file], capture_output=True).stderr.decode("utf-8", "replace")
    assert re.findall(r"^Error.*", said, re.MULTILINE) == []
    assert "Segmentation" in said
