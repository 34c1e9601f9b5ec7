"""`to_input`: its sizes, margins and numbers, which training relies on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime import InvalidInput, read_grey, to_input
from runtime.package import Grayscale, NoPreprocessing, Resize
from runtime.preprocess import to_grey


def _spec(size: tuple[int, int], resize: Resize, **changes: float) -> Grayscale:
    values = {"mean": 0.0, "std": 1.0, "channels": 1} | changes
    return Grayscale(kind="grayscale", size=size, resize=resize, **values)  # type: ignore[arg-type]


_SIDES = st.integers(1, 40)


@settings(deadline=None)
@given(
    rows=_SIDES, columns=_SIDES, size=st.tuples(_SIDES, _SIDES), resize=st.sampled_from(Resize), seed=st.integers(0, 9)
)
def test_any_image_becomes_the_declared_shape_and_stays_within_its_range(
    rows: int, columns: int, size: tuple[int, int], resize: Resize, seed: int
) -> None:
    image = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    result = to_input(image, _spec(size, resize, channels=2))
    assert result.shape == (2, *size)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("resize", Resize)
def test_an_image_of_the_right_size_is_only_normalised(resize: Resize) -> None:
    image = np.random.default_rng(0).random((7, 5), dtype=np.float32)
    result = to_input(image, _spec((7, 5), resize, mean=0.5, std=0.25, channels=3))
    expected = (image - np.float32(0.5)) / np.float32(0.25)
    assert np.array_equal(result, np.stack([expected] * 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("resize", Resize)
def test_greys_are_kept_where_they_are_taken_as_they_are(resize: Resize, dtype: Any) -> None:
    white = np.iinfo(dtype).max
    greys = np.random.default_rng(0).integers(0, white, (300, 5), dtype, endpoint=True)
    greys[0, :2] = 0, white
    bits = np.iinfo(dtype).bits
    spec = Grayscale.model_validate(
        {"kind": "grayscale", "size": (300, 5), "resize": resize, "channels": 2, "bits": bits}
    )
    result = to_input(greys.astype(np.float32) / np.float32(white), spec)
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    assert np.array_equal(result, np.stack([greys] * 2))


def test_what_lies_between_two_greys_is_rounded_to_the_nearer() -> None:
    image = np.float32([[0, 0.4, 0.6, 254.6, 255]]) / np.float32(255)
    spec = Grayscale(kind="grayscale", size=(1, 5), resize=Resize.STRETCH, channels=1, bits=8)
    assert to_input(image, spec).tolist() == [[[0, 0, 1, 255, 255]]]


@pytest.mark.parametrize(
    "spec",
    [
        Grayscale(kind="grayscale", size=(7, 5), resize=Resize.CROP, mean=0.4, std=0.2, channels=3),
        Grayscale(kind="grayscale", size=(7, 5), resize=Resize.CROP, channels=3, bits=8),
        Grayscale(kind="grayscale", size=(7, 5), resize=Resize.CROP, channels=3, bits=16),
        NoPreprocessing(),
    ],
)
def test_the_image_can_be_made_of_the_input_again(spec: Grayscale | NoPreprocessing) -> None:
    image = np.random.default_rng(0).random((7, 5), dtype=np.float32)
    assert np.allclose(to_grey(to_input(image, spec), spec), image, atol=0.51 / 255)


def test_letterbox_keeps_the_whole_image_between_black_margins() -> None:
    result = to_input(np.ones((20, 10), np.float32), _spec((8, 9), Resize.LETTERBOX, mean=0.5, std=0.5))[0]
    assert (result[:, 2:6] == 1).all()  # 8 × 4, the odd column of margin is on the right
    assert (result[:, :2] == -1).all()
    assert (result[:, 6:] == -1).all()


def test_crop_keeps_the_middle() -> None:
    image = np.zeros((4, 9), np.float32)
    image[:, 2:6] = 1  # the odd column is cut from the right
    assert (to_input(image, _spec((4, 4), Resize.CROP)) == 1).all()


def test_stretch_uses_every_pixel() -> None:
    image = np.zeros((4, 8), np.float32)
    image[:, 4:] = 1
    assert np.array_equal(to_input(image, _spec((1, 2), Resize.STRETCH)).round(), [[[0, 1]]])


def test_making_smaller_averages() -> None:
    checkers = np.indices((64, 64)).sum(0).astype(np.float32) % 2
    assert np.allclose(to_input(checkers, _spec((8, 8), Resize.STRETCH)), 0.5, atol=0.05)


def test_numbers_worked_out_by_hand() -> None:
    """3 × 4 becomes 2 × 3: down at rows 0.375 and 1.625, across at columns 0.3, 1.5 and 2.7."""
    image = (np.arange(12, dtype=np.float32) / 11).reshape(3, 4)
    result = to_input(image, _spec((2, 4), Resize.LETTERBOX))[0]
    expected = [[(4 * row + column) / 11 for column in (0.3, 1.5, 2.7)] + [0] for row in (0.375, 1.625)]
    assert np.allclose(result, expected, atol=1e-6)


def test_no_preprocessing_leaves_the_image_as_one_channel() -> None:
    image = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    assert np.array_equal(to_input(image, NoPreprocessing()), image[np.newaxis])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2, 1), np.float32),
        np.zeros((0, 2), np.float32),
        np.full((2, 2), np.nan, np.float32),
        np.full((2, 2), np.inf, np.float32),
        np.full((2, 2), 255, np.float32),
        np.full((2, 2), -0.1, np.float32),
    ],
    ids=["float64", "3 dimensions", "empty", "nan", "infinite", "above 1", "below 0"],
)
def test_what_is_no_grey_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InvalidInput):
        to_input(image, _spec((2, 2), Resize.STRETCH))


def test_an_image_of_more_pixels_than_any_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(InvalidInput, match="pixels"):
        read_grey(tmp_path / "bomb.png")
