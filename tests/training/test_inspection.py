"""All images are looked at before anything is learnt: all that cannot be used is told, and so is one image of two."""

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from tests.pipelines.images import dx
from training.errors import DataError
from training.inspection import inspect_images
from training.radiographs import Radiograph

GREYS = (np.indices((300, 260)).sum(axis=0) * 7 % 256).astype(np.uint8)


def save(folder, name, greys=GREYS, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(greys).save(path, **options)


def image(file, label="Normal", patient="p"):
    return Radiograph(file, label, patient, "s")


def test_all_that_cannot_be_used_is_told_at_once(tmp_path):
    save(tmp_path, "whole.png")
    save(tmp_path, "cut.jpg")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "empty.dcm").touch()
    identified = dx(GREYS.astype(np.uint16))
    identified.save_as(tmp_path / "identified.dcm", enforce_file_format=True)
    names = ["whole.png", "cut.jpg", "text.png", "empty.dcm", "identified.dcm", "absent.png"]
    with pytest.raises(DataError) as refused:
        inspect_images(tmp_path, [image(name) for name in names])
    said = str(refused.value).splitlines()
    assert said[0] == "5 of 6 images cannot be used:"
    assert [line.split(":")[0].strip() for line in said[1:]] == names[1:]


def test_an_image_that_shows_next_to_nothing_is_told(tmp_path):
    """As 12 bits do that are stored in 16 without being scaled: all is nearly black, and texture sees only ties."""
    save(tmp_path, "a.png", GREYS.astype(np.uint16) * 16)
    save(tmp_path, "b.png", GREYS.astype(np.uint16) * 257)
    inspect_images(tmp_path, [image("b.png")])
    with pytest.raises(DataError, match=r"a\.png: its greys span 6 % of their range"):
        inspect_images(tmp_path, [image("a.png"), image("b.png", patient="q")])


def test_the_list_of_what_cannot_be_used_ends(tmp_path):
    with pytest.raises(DataError) as refused:
        inspect_images(tmp_path, [image(f"{number}.png") for number in range(50)])
    assert len(str(refused.value).splitlines()) == 22
    assert str(refused.value).endswith("and 30 more")


@pytest.mark.parametrize("other", [image("b.png", patient="q"), image("b.png", label="Pneumonia")])
def test_one_image_under_two_names_is_of_one_patient_and_has_one_label(tmp_path, other):
    save(tmp_path, "a.png")
    save(tmp_path, "b.png", compress_level=0)
    save(tmp_path, "c.png", 255 - GREYS)
    inspect_images(tmp_path, [image("a.png"), image("b.png"), image("c.png", patient="r")])
    with pytest.raises(DataError, match=r"a\.png = b\.png"):
        inspect_images(tmp_path, [image("a.png"), other, image("c.png", patient="r")])


def test_one_image_in_two_formats_is_the_same(tmp_path):
    film = dx(GREYS, PatientIdentityRemoved="YES", WindowCenter=127.5, WindowWidth=255, VOILUTFunction="LINEAR_EXACT")
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    save(tmp_path, "b.png")
    with pytest.raises(DataError, match=r"a\.dcm = b\.png"):
        inspect_images(tmp_path, [image("a.dcm"), image("b.png", patient="q")])
