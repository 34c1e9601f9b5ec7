from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

import pipelines
from anonymize import DeidentifiedInstance, PatientPseudonym, ReceivedInstance, deidentify, read_header
from daemon.demo.phantom import planted_identifiers
from pipelines.chest_xray import ChestXray
from pipelines.errors import InvalidOutput
from pipelines.pipeline import NotAnalysable, PreparedInput, Technical
from pipelines.results import StudyResult
from runtime import ModelPackage
from tests.drawn import phantom_study
from tests.pipelines.images import UID, code, dx, instance
from tests.planted import search_bytes

PIPELINE = ChestXray()
FILM = (np.indices((400, 360)).sum(axis=0) * 5 % 4096).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}

SMALL_FILE = instance(dx(FILM, ViewCodeSequence=code("SCT", "272479007"), PatientOrientation=["L", "F"], **WINDOW))

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load(Path(pipelines.__file__).parent / "packages" / "chest-xray-3class")


def selected(**attributes) -> tuple[bool, str]:
    selection = PIPELINE.select(Technical.of_data_set(dx(FILM, **attributes)))
    return selection.selected, selection.reason


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"ViewPosition": "AP"},
        {"ViewPosition": "pa"},
        {"SOPClassUID": CR, "Modality": "CR", "PresentationIntentType": None, "ImageType": None},
        {"ViewPosition": "", "ViewCodeSequence": code("SCT", "272479007")},
        {"ViewPosition": None, "ViewCodeSequence": code("SRT", "R-10206")},
        {"ViewPosition": "", "PatientOrientation": ["L", "F"]},
        {"BodyPartExamined": "", "AnatomicRegionSequence": code("SCT", "816094009")},
        {"BodyPartExamined": None, "AnatomicRegionSequence": code("SRT", "T-D3000")},
    ],
)
def test_frontal_chest_images_for_presentation_are_selected(attributes):
    assert selected(**attributes)[0]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"SOPClassUID": FOR_PROCESSING}, "FOR PROCESSING"),
        ({"PresentationIntentType": "FOR FUN"}, "intent"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "SOP class"),
        ({"Modality": "MG"}, "modality"),
        ({"NumberOfFrames": 2}, "frame"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "SECONDARY"),
        ({"BodyPartExamined": "HAND"}, "body part"),
        ({"AnatomicRegionSequence": code("SCT", "85562004")}, "region"),
        ({"BodyPartExamined": ""}, "nothing in the image says which body part"),
        ({"ViewPosition": "LL"}, "not frontal"),
        ({"ViewPosition": "RL"}, "not frontal"),
        ({"ViewPosition": "LATERAL"}, "not frontal"),
        ({"ViewPosition": "LLD"}, "not frontal"),
        ({"ViewCodeSequence": code("SCT", "399173006")}, "View Code"),
        ({"ViewPosition": "", "ViewCodeSequence": code("SRT", "R-10236")}, "View Code"),
        ({"PatientOrientation": ["A", "F"]}, "Patient Orientation"),
        ({"ViewPosition": ""}, "nothing in the image says that the view is frontal"),
    ],
)
def test_everything_else_is_refused_with_its_reason(attributes, reason):
    chosen, said = selected(**attributes)
    assert not chosen
    assert reason in said


def test_a_header_without_a_view_leaves_the_decision_to_the_image_itself(package):
    silent = dx(FILM, ViewPosition="", BodyPartExamined="", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.2")
    silent.PatientID = "X"
    technical = Technical.of_header(read_header(_data_set(silent), str(silent.file_meta.TransferSyntaxUID)))
    assert PIPELINE.select(technical).selected
    (outcome,) = PIPELINE.prepare([instance(silent)], package)
    assert isinstance(outcome, NotAnalysable)
    assert "nothing in the image says" in outcome.reason


@pytest.mark.parametrize("attributes", [{"ViewPosition": "LL"}, {"BodyPartExamined": "HAND"}])
def test_a_header_that_speaks_is_enough_to_refuse(attributes):
    image = dx(FILM, StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.2", PatientID="X", **attributes)
    technical = Technical.of_header(read_header(_data_set(image), str(image.file_meta.TransferSyntaxUID)))
    assert not PIPELINE.select(technical).selected


def _data_set(image) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return buffer.getvalue()


def test_a_selected_image_becomes_the_input_that_the_package_declares(package):
    (prepared,) = PIPELINE.prepare([instance(dx(FILM, **WINDOW))], package)
    assert isinstance(prepared, PreparedInput)
    assert prepared.sop_instance_uid == UID
    assert prepared.tensor.dtype == package.inputs[0].dtype.numpy
    assert prepared.tensor.shape == package.inputs[0].sample_shape
    (again,) = PIPELINE.prepare([instance(dx(FILM, **WINDOW))], package)
    assert again.sha256 == prepared.sha256
    (other,) = PIPELINE.prepare([instance(dx(FILM[::-1], **WINDOW))], package)
    assert other.sha256 != prepared.sha256


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (dx(FILM[:200], **WINDOW), "smaller"),
        (dx(np.tile(FILM, (3, 1)), **WINDOW), "twice"),
        (dx(np.full((300, 300), 7, dtype=np.uint16), **WINDOW), "constant"),
        (dx(FILM, PhotometricInterpretation="RGB"), "MONOCHROME"),
        (dx(FILM, PixelData=b"\0\0"), "decoded"),
        (dx(FILM, ViewPosition="LL"), "not frontal"),
        (dx(FILM, PresentationIntentType="FOR PROCESSING"), "FOR PROCESSING"),
    ],
)
def test_what_cannot_be_a_chest_film_is_not_analysed_and_the_rest_is(package, image, reason):
    first, second = PIPELINE.prepare([instance(image), instance(dx(FILM, **WINDOW))], package)
    assert isinstance(first, NotAnalysable)
    assert reason in first.reason
    assert isinstance(second, PreparedInput)


def test_bytes_that_are_no_dicom_file_are_not_analysed(package):
    (outcome,) = PIPELINE.prepare([DeidentifiedInstance("1", "2.25.9", "2", "3", "4", (b"not DICOM at all",))], package)
    assert outcome == NotAnalysable("2.25.9", "the file cannot be parsed (InvalidDicomError)")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_prepared_or_not_analysable_and_never_an_error(package, data):
    whole = SMALL_FILE
    damaged = bytearray(whole.file)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(128, 1000))] = data.draw(st.integers(0, 255))
    changed = type(whole)(whole.sop_class_uid, "2.25.9", "2.25.1", "2.25.2", whole.transfer_syntax_uid, bytes(damaged))
    (outcome,) = PIPELINE.prepare([changed], package)
    assert isinstance(outcome, PreparedInput | NotAnalysable)


def test_of_the_phantom_study_only_the_frontal_image_is_prepared(package):
    frontal, lateral = PIPELINE.prepare([instance(image) for image in phantom_study()], package)
    assert isinstance(frontal, PreparedInput)
    assert isinstance(lateral, NotAnalysable)


def test_probabilities_become_coded_findings_and_every_instance_is_in_the_result(package):
    prepared = (PreparedInput("2.25.1", np.zeros((1, 2, 2), np.float32), "digest"), NotAnalysable("2.25.2", "why"))
    outputs = {"2.25.1": np.array([0.1, 0.85, 0.05], dtype=np.float32)}
    result = PIPELINE.conclude(prepared, outputs, package, received_instances=3, forced=True)
    first, second = result.outcomes
    assert [(f.label, f.coding.code, f.present) for f in first.findings] == [
        ("Normal", "168733007", False),
        ("Pneumonia", "233604007", True),
        ("COVID-19", "840539006", False),
    ]
    assert first.input_sha256 == "digest"
    assert (second.findings, second.not_analysable) == ((), "why")
    assert (result.received_instances, result.forced, result.analysable) == (3, True, True)
    assert result.model.research_only
    assert result.model.weights_sha256 == package.weights_sha256
    assert StudyResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("output", [None, [0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [np.nan, 0.5, 0.5]])
def test_nothing_is_concluded_from_an_output_that_is_no_set_of_probabilities(package, output):
    prepared = (PreparedInput("2.25.1", np.zeros((1, 2, 2), np.float32), "digest"),)
    outputs = {} if output is None else {"2.25.1": np.array(output, dtype=np.float32)}
    with pytest.raises(InvalidOutput):
        PIPELINE.conclude(prepared, outputs, package, received_instances=1, forced=False)


def test_code_sequences_without_items_say_nothing():
    assert selected(ViewCodeSequence=Sequence([]), AnatomicRegionSequence=Sequence([]))[0]


def test_de_identification_keeps_what_selection_needs_and_nothing_planted(package):
    study = phantom_study()
    pseudonym = PatientPseudonym("P-1", bytes(range(32)), 17)
    clean = []
    for image in study:
        received = ReceivedInstance(
            str(image.SOPClassUID), str(image.SOPInstanceUID), str(ExplicitVRLittleEndian), _data_set(image)
        )
        clean.append(deidentify(received, pseudonym).instance)
    frontal, lateral = PIPELINE.prepare(clean, package)
    (expected,) = PIPELINE.prepare([instance(study[0])], package)
    assert isinstance(frontal, PreparedInput)
    assert frontal.sha256 == expected.sha256
    assert isinstance(lateral, NotAnalysable)
    for one in clean:
        assert search_bytes(one.file, planted_identifiers(study), "the de-identified file") == []
