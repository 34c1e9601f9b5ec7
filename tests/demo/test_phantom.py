from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

from daemon.demo.drawing import HIGHEST, draw_frontal
from daemon.demo.phantom import phantom_study, planted_identifiers


@pytest.fixture(scope="module")
def study():
    return phantom_study()


def encoded(image) -> bytes:
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_study_is_a_frontal_and_a_lateral_of_one_patient(study):
    frontal, lateral = study
    assert (frontal.ViewPosition, lateral.ViewPosition) == ("PA", "LL")
    for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber"):
        assert frontal[keyword].value == lateral[keyword].value
    assert frontal.SeriesInstanceUID != lateral.SeriesInstanceUID
    assert frontal.SOPInstanceUID != lateral.SOPInstanceUID


@pytest.mark.filterwarnings("error")  # pydicom warns of values that their VR does not allow
def test_the_files_are_valid_and_read_back_as_they_were(study):
    for image in study:
        again = dcmread(BytesIO(encoded(image)))
        assert again == image
        assert (again.pixel_array.shape, again.pixel_array.dtype) == ((1024, 1024), np.uint16)
        for element in again.iterall():
            if element.VR == "UI":
                assert UID(element.value).is_valid


# PS3.3 A.26, attributes of type 1 in the DX modules; those of type 2 must be there, if only empty.
DX_TYPE_1 = """
    Modality PresentationIntentType ImageType PixelIntensityRelationship PixelIntensityRelationshipSign RescaleIntercept
    RescaleSlope RescaleType PresentationLUTShape LossyImageCompression BurnedInAnnotation ImageLaterality
    AnatomicRegionSequence ImagerPixelSpacing ViewCodeSequence AcquisitionContextSequence WindowCenter WindowWidth
    PatientOrientation InstanceNumber
"""


@pytest.mark.parametrize("keyword", DX_TYPE_1.split())
def test_what_a_dx_image_must_have_is_there(study, keyword):
    for image in study:
        assert keyword in image
        assert image[keyword].value not in ("", None) or keyword == "AcquisitionContextSequence"


def test_every_planted_identifier_is_in_the_study_and_none_is_in_the_pixels(study):
    identifiers = planted_identifiers(study)
    assert len(set(identifiers)) == len(identifiers) > 25
    whole = b"".join(encoded(image) for image in study)
    pixels = b"".join(image.PixelData for image in study)
    for identifier in identifiers:
        assert identifier.encode() in whole, identifier
        assert identifier.encode() not in pixels


def test_identifiers_are_nested_and_private_too(study):
    frontal = study[0]
    assert frontal.RequestAttributesSequence[0].AccessionNumber == frontal.AccessionNumber
    assert frontal.private_block(0x0029, "FANTOM UYDURMA 1.0")[2].value[0].PatientID


def test_the_national_number_belongs_to_nobody():
    # The tenth digit of a T.C. kimlik number is (7 * (d1+d3+d5+d7+d9) - (d2+d4+d6+d8)) mod 10.
    from daemon.demo.phantom import NATIONAL_ID

    digits = [int(d) for d in NATIONAL_ID]
    assert len(digits) == 11
    assert (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10 != digits[9]


def test_a_seed_gives_the_same_bytes_and_another_seed_another_study(study):
    assert [encoded(image) for image in phantom_study()] == [encoded(image) for image in study]
    other = phantom_study(2)
    assert other[0].StudyInstanceUID != study[0].StudyInstanceUID
    assert other[0].PixelData != study[0].PixelData


def test_the_drawing_has_a_chest_in_it():
    film = draw_frontal(3).astype(float) / HIGHEST
    height, width = film.shape

    def grey(x: float, y: float) -> float:  # mean of a small square around a place, from -1 to 1
        column, row = int((x + 1) / 2 * width), int((y + 1) / 2 * height)
        return float(film[row - 12 : row + 12, column - 12 : column + 12].mean())

    air, right_lung, left_lung, heart, belly = (
        grey(-0.97, -0.97),
        grey(-0.45, 0.1),
        grey(0.5, 0.1),
        grey(0.1, 0.3),
        grey(-0.4, 0.7),
    )
    assert air < 0.03
    assert air < right_lung < 0.5 * belly
    assert left_lung < 0.5 * belly
    assert heart > belly
    assert film.std() > 0.2
