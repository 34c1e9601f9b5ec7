"""Reading images: what training sees of a DICOM file is what the daemon's pipeline would make of it."""

import numpy as np
import pytest
from PIL import Image

from anonymize import DeidentifiedInstance
from pipelines.image import render
from tests.pipelines.images import dx
from training.errors import DataError
from training.radiographs import digest, read_image, read_labels

FILM = (np.indices((300, 260)).sum(axis=0) * 7 % 4096).astype(np.uint16)


def save(path, **attributes):
    image = dx(FILM, **{"PatientIdentityRemoved": "YES", "WindowCenter": 2048, "WindowWidth": 4096, **attributes})
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def table(folder, *rows):
    (folder / "labels.csv").write_text("\n".join(["file,label,patient,source", *rows]) + "\n")
    return folder


def test_a_dicom_file_is_rendered_as_in_service(tmp_path):
    path = save(tmp_path / "one.dcm", PhotometricInterpretation="MONOCHROME1")
    (radiograph,) = read_labels(table(tmp_path, "one.dcm,Normal,p,s"))
    expected = render(DeidentifiedInstance("", "", "", "", "", (path.read_bytes(),)))
    assert np.array_equal(read_image(tmp_path, radiograph), expected)


def test_of_a_folder_the_frontal_images_are_taken(tmp_path):
    save(tmp_path / "study" / "series" / "a")
    save(tmp_path / "study" / "series" / "b", ViewPosition="LL")
    (tmp_path / "study" / "notes.txt").write_text("none")
    (radiograph,) = read_labels(table(tmp_path, "study,Pneumonia,p,s"))
    assert (radiograph.file, radiograph.label, radiograph.patient) == ("study/series/a", "Pneumonia", "p")
    assert read_image(tmp_path, radiograph).shape == FILM.shape


def test_nothing_is_learnt_from_an_image_that_does_not_say_it_was_deidentified(tmp_path):
    save(tmp_path / "one.dcm", PatientIdentityRemoved="NO")
    (radiograph,) = read_labels(table(tmp_path, "one.dcm,Normal,p,s"))
    with pytest.raises(DataError, match="Patient Identity Removed"):
        read_image(tmp_path, radiograph)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ViewPosition": "LL"}, "the view is not frontal"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"NumberOfFrames": 2}, "more than one frame"),
        ({"BodyPartExamined": "HAND"}, "body part"),
    ],
)
def test_nothing_is_learnt_from_a_file_that_the_pipeline_would_not_take(tmp_path, attributes, reason):
    save(tmp_path / "one.dcm", **attributes)
    (radiograph,) = read_labels(table(tmp_path, "one.dcm,Normal,p,s"))
    with pytest.raises(DataError, match=rf"one\.dcm: .*{reason}"):
        read_image(tmp_path, radiograph)


@pytest.mark.parametrize("name", ["../one.png", "/etc/hostname"])
def test_the_table_cannot_name_a_file_outside_the_data_set(tmp_path, name):
    with pytest.raises(DataError, match="must lie in"):
        read_labels(table(tmp_path, f"{name},Normal,p,s"))


def test_a_file_that_is_missing_or_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "text.png").write_text("text")
    for row in read_labels(table(tmp_path, "none.png,Normal,p,s", "text.png,Normal,p,s")):
        with pytest.raises(DataError, match=row.file):
            read_image(tmp_path, row)


def test_the_digest_changes_with_a_pixel_and_with_a_label(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    before = digest(tmp_path, read_labels(table(tmp_path, "a.png,Normal,p,s")))
    assert before != digest(tmp_path, read_labels(table(tmp_path, "a.png,Pneumonia,p,s")))
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    assert before != digest(tmp_path, read_labels(table(tmp_path, "a.png,Normal,p,s")))


def test_an_image_of_16_bits_is_read_as_the_same_one_of_8(tmp_path):
    greys = (np.indices((20, 30)).sum(axis=0) * 5).astype(np.uint16)
    Image.fromarray(greys.astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(greys * 257).save(tmp_path / "16.png")
    deep, shallow = read_labels(table(tmp_path, "16.png,Normal,p,s", "8.png,Normal,p,s"))
    np.testing.assert_allclose(read_image(tmp_path, deep), read_image(tmp_path, shallow), atol=1e-6)


def test_greys_that_no_file_says_the_white_of_are_refused(tmp_path):
    Image.fromarray(np.full((20, 30), 0.5, np.float32)).save(tmp_path / "real.tiff")
    (row,) = read_labels(table(tmp_path, "real.tiff,Normal,p,s"))
    with pytest.raises(DataError, match=r"real\.tiff"):
        read_image(tmp_path, row)
