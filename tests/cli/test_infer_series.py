"""`kopru infer` on CT series: one object for each, and the outline as a file that lies on the very slices given."""

import json
from pathlib import Path
from typing import Any

import highdicom
import pytest
from pydicom import dcmread

from tests.cli.conftest import Answer, Run
from tests.pipelines.ct_series import ct_series
from tests.pipelines.test_ct_lesion import WITH_LESION, WITHOUT
from training.ct_phantoms import draw_phantom


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series with a localizer, and one that lacks a slice."""
    made = tmp_path_factory.mktemp("series")
    for series, seed in ((1, WITH_LESION), (2, WITHOUT), (3, WITH_LESION)):
        for number, image in enumerate(ct_series(draw_phantom(seed), series)):
            if (series, number) == (1, 0):
                image.save_as(made / "1-localizer.dcm", enforce_file_format=True)
                localizer = dcmread(made / "1-localizer.dcm")
                localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
                localizer.save_as(made / "1-localizer.dcm")
            if (series, number) != (3, 9):
                image.save_as(made / f"{series}-{number:02}.dcm", enforce_file_format=True)
    return made


def objects(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.splitlines()]


def test_each_series_is_measured_and_what_is_none_says_why(run: Run, folder: Path):
    answer = run("infer", "ct-lesion-sample", folder)
    assert answer.code == 3
    localizer, first, second, third = objects(answer)
    assert localizer["not_analysable"] == "the image is a localizer"
    assert localizer["file"].endswith("1-localizer.dcm")
    assert first["slices"] == second["slices"] == 24
    assert [said["series_number"] for said in (first, second)] == [1, 2]
    assert first["millilitres"]["Lesion"] == pytest.approx(74.6, rel=0.1)
    assert first["probabilities"]["Lesion"] > 0.5 > second["probabilities"]["Lesion"]
    assert second["millilitres"] == {"Lesion": 0.0}
    assert third["not_analysable"] == "a slice is missing"
    assert "Planted" not in answer.out + answer.err


def test_the_outline_is_written_to_a_new_file_about_the_slices_given(run: Run, folder: Path, tmp_path: Path):
    out = tmp_path / "outline.dcm"
    given = sorted(folder.glob("1-[0-9]*.dcm"))
    (said,) = objects(run("infer", "ct-lesion-sample", "--seg", out, *given))
    assert said["segmentation"] == str(out)
    seg = highdicom.seg.segread(out)
    slices = {dcmread(path).SOPInstanceUID for path in given}
    named = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named
    assert named <= slices
    assert b"Planted" not in out.read_bytes()
    before = out.read_bytes()
    again = run("infer", "ct-lesion-sample", "--seg", out, *given)
    assert again.code == 1
    assert "File exists" in objects(again)[0]["error"]
    assert out.read_bytes() == before


def test_what_no_series_is_and_what_outlines_nothing_is_said(run: Run, folder: Path, tmp_path: Path):
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"none")
    answer = run("infer", "ct-lesion-sample", junk)
    assert answer.code == 1
    assert objects(answer)[0]["error"] == "NotDicom: not a DICOM Part 10 file"
    refused = run("infer", "chest-xray-3class", "--seg", tmp_path / "x.dcm", folder)
    assert refused.code == 2
    assert "outlines nothing" in refused.err


def test_a_file_that_cannot_be_proven_clean_spoils_its_series(run: Run, tmp_path: Path):
    """At the end of a series nobody would miss it."""
    slices = ct_series(draw_phantom(WITH_LESION, (26, 64, 64)))
    slices[-1].PixelData = b"\0" * 7
    for number, image in enumerate(slices):
        image.save_as(tmp_path / f"{number:02}.dcm", enforce_file_format=True)
    answer = run("infer", "ct-lesion-sample", tmp_path)
    assert answer.code == 3
    (said,) = objects(answer)
    assert "cannot be" in said["not_analysable"]


def test_slices_of_two_patients_are_no_series(run: Run, tmp_path: Path):
    slices = ct_series(draw_phantom(WITH_LESION, (26, 64, 64)))
    slices[7].PatientID = "PLANTID2"
    for number, image in enumerate(slices):
        image.save_as(tmp_path / f"{number:02}.dcm", enforce_file_format=True)
    answer = run("infer", "ct-lesion-sample", tmp_path)
    assert answer.code == 3
    (said,) = objects(answer)
    assert said["not_analysable"] == "the files of the series are of different patients"
