"""CT series: measured where they are plainly one volume, refused with a reason where they are not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.multival import MultiValue

import pipelines
from anonymize import DeidentifiedInstance
from pipelines.ct_lesion import CtLesion
from pipelines.errors import InvalidOutput
from pipelines.pipeline import NotAnalysable, PreparedInput, Technical
from pipelines.results import Finding, Quantity, StudyResult
from pipelines.volume import cells, millilitres, millilitres_of_cells, spread
from runtime import ModelPackage
from tests.pipelines.ct_series import SERIES, blank, change, coarse, ct_series, decimals, instances
from training.ct_phantoms import Phantom, draw_phantom

PIPELINE = CtLesion()
BUNDLED = Path(pipelines.__file__).parent / "packages" / "ct-lesion-sample"
WITH_LESION, WITHOUT = 10_001, 10_004  # seeds that the model was not trained on
SHORT = coarse(draw_phantom(WITH_LESION), slice(0, 8))


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return ModelPackage.load(BUNDLED)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(WITH_LESION)


@pytest.fixture(scope="module")
def model(package: ModelPackage) -> Callable[[PreparedInput], np.ndarray]:
    session = onnxruntime.InferenceSession(package.read_weights(), providers=["CPUExecutionProvider"])
    return lambda item: session.run(["mask"], {"volume": item.tensor[np.newaxis]})[0][0]


def prepared(slices: list[Dataset], package: ModelPackage) -> PreparedInput | NotAnalysable:
    (item,) = PIPELINE.prepare(instances(slices), package)
    return item


def concluded(items: Any, outputs: Any, package: ModelPackage) -> StudyResult:
    return PIPELINE.conclude(items, outputs, package, received_instances=100, forced=False)


def test_slices_in_any_order_become_the_volume_that_the_model_was_trained_on(phantom: Phantom, package: ModelPackage):
    slices = ct_series(phantom)
    shuffled = [slices[n] for n in np.random.default_rng(0).permutation(len(slices))]
    item = prepared(shuffled, package)
    assert isinstance(item, PreparedInput)
    assert np.array_equal(item.tensor[0], phantom.hounsfield)
    assert item.volume is not None
    assert item.volume.slices == tuple(s.SOPInstanceUID for s in slices)
    assert item.sop_instance_uid == slices[0].SOPInstanceUID
    assert item.volume.spacing_mm == pytest.approx(phantom.spacing_mm, rel=1e-4)
    assert item.sha256 == getattr(prepared(slices, package), "sha256", None)


@pytest.mark.parametrize("shape", [(24, 64, 64), (50, 130, 96)])
def test_millilitres_are_about_those_drawn(shape: Any, package: ModelPackage, model: Any):
    for seed in (WITH_LESION, WITHOUT):
        drawn = draw_phantom(seed, shape)
        item = prepared(ct_series(drawn), package)
        assert isinstance(item, PreparedInput)
        (outcome,) = concluded((item,), {item.sop_instance_uid: model(item)}, package).outcomes
        (finding,) = outcome.findings
        assert finding.measured is not None
        assert finding.measured.unit == "mL"
        truth = millilitres(drawn.lesion, drawn.spacing_mm)
        assert finding.measured.value == pytest.approx(truth, rel=0.2, abs=0.5)
        assert finding.present == (truth > 0)
        assert outcome.slices == shape[0]
        assert outcome.series_number == 1


def test_padding_is_air(phantom: Phantom, package: ModelPackage):
    slices = ct_series(phantom, PixelPaddingValue=2000)
    pixels = np.frombuffer(slices[12].PixelData, "<u2").copy()
    pixels[:640] = 2000
    slices[12].PixelData = pixels.tobytes()
    item = prepared(slices, package)
    assert isinstance(item, PreparedInput)
    assert (item.tensor[0, 12].ravel()[:640] == -1024).all()
    assert np.array_equal(item.tensor[0, 12].ravel()[640:], phantom.hounsfield[12].ravel()[640:])


@pytest.mark.parametrize(
    "changed",
    [
        {"inputs": {"shape": ("batch", 24, 64, 64)}},
        {"inputs": {"shape": ("batch", 3, 24, 64, 64)}},
        {"outputs": {"shape": ("batch", 1, 24, 64, 64)}},
        {"outputs": {"shape": ("batch", 2, 12, 64, 64)}},
    ],
)
def test_a_package_of_another_form_is_refused_before_it_is_asked(changed: dict[str, Any], package: ModelPackage):
    ((key, values),) = changed.items()
    other = package.model_copy(update={key: (getattr(package, key)[0].model_copy(update=values),)})
    assert PIPELINE.flaw(package) == ""
    assert "the first" in PIPELINE.flaw(other)


def without(slices: list[Dataset], number: int) -> list[Dataset]:
    return slices[:number] + slices[number + 1 :]


def with_change(number: int, **attributes: Any) -> Callable[[list[Dataset]], list[Dataset]]:
    def changed(slices: list[Dataset]) -> list[Dataset]:
        change(slices[number], **attributes)
        return slices

    return changed


def tilted(slices: list[Dataset]) -> list[Dataset]:
    """As a gantry leaves them: each slice a little lower than the one before, the orientation unchanged."""
    for number, image in enumerate(slices):
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = decimals(x, y + number, z)
    return slices


def twice(slices: list[Dataset]) -> list[Dataset]:
    """Two phases in one series."""
    again = ct_series(SHORT)
    for image in again:
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.2"
    return slices + again


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda s: without(s, 4), "a slice is missing"),
        (lambda s: [*s, s[5]], "two slices lie at the same place"),
        (twice, "two slices lie at the same place"),
        (with_change(7, ImagePositionPatient=decimals(-175, -175, 73.0)), "the slices are not equally spaced"),
        (with_change(7, ImagePositionPatient=decimals(-175, -172, 71.02)), "shifted against each other"),
        (with_change(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "different orientations"),
        (with_change(3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "the image is a localizer"),
        (with_change(3, FrameOfReferenceUID="2.25.9"), "different frames of reference"),
        (with_change(3, FrameOfReferenceUID=None), "Frame of Reference"),
        (with_change(3, PixelSpacing=["5", "5"]), "different pixel spacings"),
        (with_change(3, PixelSpacing=["0", "0"]), "not between 0.05 and 50 mm"),
        (with_change(3, PixelSpacing=None), "lacks 2 finite numbers in Pixel Spacing"),
        (with_change(3, ImagePositionPatient=None), "lacks 3 finite numbers in Image Position"),
        (with_change(3, ImagePositionPatient=["0", "0"]), "lacks 3 finite numbers in Image Position"),
        (with_change(3, ImagePositionPatient=["0", "0", "1e300"]), "further than 10 m"),
        (with_change(3, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "perpendicular"),
        (with_change(3, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "perpendicular"),
        (with_change(3, GantryDetectorTilt="12"), "the gantry was tilted"),
        (tilted, "as by a tilted gantry"),
        (with_change(3, RescaleType="US"), "is not HU"),
        (with_change(3, RescaleIntercept=None), "no Rescale Slope and Intercept"),
        (with_change(3, RescaleSlope="0"), "Rescale Slope (0028,1053) is zero"),
        (with_change(3, PhotometricInterpretation="MONOCHROME1"), "is not MONOCHROME2"),
        (with_change(3, Rows=60000, Columns=60000), "more than"),
        (with_change(3, Rows=32), "fewer rows or columns"),
        (with_change(3, PixelData=b"\0\0"), "cannot be decoded"),
        (with_change(3, NumberOfFrames="2"), "more than one frame"),
        (with_change(3, BodyPartExamined="HEAD"), "the body part is not the chest"),
        (lambda s: s, "fewer slices than the model's grid"),
        (lambda s: s[:1], "a single slice"),
    ],
)
def test_what_is_not_plainly_one_volume_gets_a_reason_and_no_mask(
    spoilt: Callable[[list[Dataset]], list[Dataset]], reason: str, package: ModelPackage
):
    slices = spoilt(ct_series(SHORT))
    number = len(slices)
    item = prepared(slices, package)
    assert isinstance(item, NotAnalysable)
    assert reason in item.reason
    assert item.slices == number
    (outcome,) = concluded((item,), {}, package).outcomes
    assert outcome.findings == ()
    assert outcome.instances == number


@pytest.mark.parametrize(
    ("shape", "spacing", "attributes", "reason"),
    [
        ((30, 64, 64), (4.0, 5.5, 5.5), {}, "much longer or shorter"),  # half as long as a chest
        ((24, 64, 64), (10.0, 5.5, 5.5), {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}, "not axial"),
        ((24, 64, 64), (60.0, 5.5, 5.5), {}, "more than 50 mm apart"),
    ],
)
def test_a_volume_unlike_those_of_the_model_is_refused(
    shape: Any, spacing: Any, attributes: dict[str, Any], reason: str, package: ModelPackage
):
    item = prepared(ct_series(blank(shape, spacing), **attributes), package)
    assert isinstance(item, NotAnalysable)
    assert reason in item.reason


def test_a_number_that_is_none_is_refused(package: ModelPackage, phantom: Phantom):
    """pydicom writes no NaN as a decimal string, so it is put into what was read."""
    data_set = ct_series(phantom)[0]
    position = MultiValue(float, [0.0, 0.0, float("nan")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.ct_lesion.read_data_set", lambda _: _with(data_set, position))
        (refused,) = PIPELINE.prepare(instances([data_set]), package)
    assert isinstance(refused, NotAnalysable)
    assert "lacks 3 finite numbers" in refused.reason


def _with(data_set: Dataset, position: Any) -> Dataset:
    class Spoilt(Dataset):
        def get(self, key: Any, default: Any = None) -> Any:
            return position if key == "ImagePositionPatient" else super().get(key, default)

    return Spoilt(data_set)


def test_more_voxels_than_may_be_are_refused_before_they_are_stacked(phantom: Phantom, package: ModelPackage):
    """600 slices claim a detector that none has: what counts is what they claim together."""
    (read,) = [PIPELINE.read(one, package) for one in instances(ct_series(coarse(phantom, slice(0, 1))))]
    claimed = [replace(read, shape=(1024, 1024), sop_instance_uid=str(number)) for number in range(600)]
    (item,) = PIPELINE.combine(claimed, package)
    assert isinstance(item, NotAnalysable)
    assert "voxels" in item.reason
    assert item.slices == 600


def test_what_is_read_of_a_slice_is_small_whatever_its_size(package: ModelPackage):
    """600 slices of 512 x 512 leave 10 MB to be stacked, not 315."""
    big = ct_series(blank((1, 512, 512), (10.0, 0.7, 0.7)))
    read = PIPELINE.read(instances(big)[0], package)
    assert read.values.shape == (64, 64)
    assert read.values.nbytes == 16384


def test_each_series_of_a_study_is_an_outcome_of_its_own(phantom: Phantom, package: ModelPackage, model: Any):
    """Two that are sound and a broken one, mixed as they came."""
    parts = [*ct_series(phantom, 3), *without(ct_series(phantom, 7), 4), *ct_series(draw_phantom(WITHOUT), 2)]
    mixed = [parts[n] for n in np.random.default_rng(1).permutation(len(parts))]
    items = PIPELINE.prepare(instances(mixed), package)
    outputs = {item.sop_instance_uid: model(item) for item in items if isinstance(item, PreparedInput)}
    outcomes = concluded(items, outputs, package).outcomes
    assert [outcome.series_number for outcome in outcomes] == [2, 3, 7]
    assert [bool(outcome.findings) for outcome in outcomes] == [True, True, False]
    assert [outcome.findings[0].present for outcome in outcomes[:2]] == [False, True]
    assert outcomes[2].not_analysable == "a slice is missing"
    assert sum(outcome.instances for outcome in outcomes) == len(parts)


def test_an_output_that_is_no_mask_concludes_nothing(phantom: Phantom, package: ModelPackage):
    item = prepared(ct_series(phantom), package)
    for output in ({}, np.zeros((1, 24, 64, 64)), np.full((2, 24, 64, 64), np.nan), np.full((2, 24, 64, 64), 1.5)):
        outputs = {} if isinstance(output, dict) else {item.sop_instance_uid: output.astype(np.float32)}
        with pytest.raises(InvalidOutput):
            concluded((item,), outputs, package)


def test_what_is_not_of_a_chest_ct_is_not_selected():
    chest = Technical("1.2.840.10008.5.1.4.1.1.2", "CT", ("ORIGINAL", "PRIMARY", "AXIAL"), "", "", "CHEST", 1)
    assert PIPELINE.select(chest).selected
    for change_of in (
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2.1"},
        {"modality": "PT"},
        {"number_of_frames": 40},
        {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
        {"image_type": ("DERIVED", "SECONDARY", "AXIAL")},
        {"body_part": "ABDOMEN"},
    ):
        assert not PIPELINE.select(replace(chest, **change_of)).selected


def test_a_result_with_a_measure_is_read_back_and_one_without_is_as_it_was(phantom: Phantom, package: ModelPackage):
    item = prepared(ct_series(phantom), package)
    result = concluded((item,), {item.sop_instance_uid: np.zeros((2, 24, 64, 64), np.float32)}, package)
    assert StudyResult.from_json(result.to_json()) == result
    assert result.outcomes[0].findings[0].measured == Quantity(0.0, "mL")
    (outcome,) = result.outcomes
    plain = Finding(*(getattr(outcome.findings[0], name) for name in ("label", "coding", "probability", "threshold")))
    earlier = replace(result, outcomes=(replace(outcome, findings=(plain,), slices=None, series_number=None),))
    for field in (b"measured", b"slices", b"series_number", b"outlines"):
        assert field not in earlier.to_json()
    assert StudyResult.from_json(earlier.to_json()) == earlier


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), more=st.tuples(*[st.integers(0, 17)] * 3), seed=st.integers(0, 99))
def test_millilitres_are_counted_as_on_the_mask_that_is_spread(shape: Any, more: Any, seed: int):
    mask = np.random.default_rng(seed).random(shape) < 0.5
    larger = tuple(size + extra for size, extra in zip(shape, more, strict=True))
    made = np.stack(list(spread(mask, larger)))
    assert made.shape == larger
    spacing = (2.0, 0.7, 0.8)
    assert millilitres_of_cells(mask, larger, spacing) == pytest.approx(millilitres(made, spacing))
    assert made.any() == mask.any()


@given(count=st.integers(1, 50), more=st.integers(0, 700))
def test_each_voxel_belongs_to_the_cell_that_its_centre_lies_in(count: int, more: int):
    of = cells(count + more, count)
    assert (np.diff(of) >= 0).all()
    assert set(of) == set(range(count))
    assert np.array_equal(of, np.floor((np.arange(count + more) + 0.5) * count / (count + more) + 1e-9).astype(int))


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300), start=st.integers(0, 900))
def test_a_damaged_slice_is_refused_and_never_raises(data: bytes, start: int):
    package = ModelPackage.load(BUNDLED)
    (one,) = instances(ct_series(blank((1, 64, 64), (10.0, 5.5, 5.5))))
    file = bytearray(one.file)
    file[300 + start : 300 + start + len(data)] = data
    spoilt = DeidentifiedInstance(one.sop_class_uid, one.sop_instance_uid, "2", SERIES, "4", (bytes(file),))
    (item,) = PIPELINE.prepare([spoilt], package)
    assert isinstance(item, NotAnalysable)
