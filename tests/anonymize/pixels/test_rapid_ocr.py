"""The real detector on drawn text: what a person can read is found, what is no text is let be."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

from anonymize.pixels import Look, PixelElement, RapidOcrDetector, TextPolicy, clean_pixels
from tests import drawn
from tests.anonymize.pixels.pixel_files import grey, sector, write

LINES = ("ORNEK AYSE", "PID-4471902", "12.04.1956 F")


@pytest.fixture(scope="module")
def detector() -> RapidOcrDetector:
    return RapidOcrDetector()


def chest(size: int) -> np.ndarray:
    return np.asarray(Image.fromarray((drawn.frontal(1) / 4095 * 255).astype(np.uint8)).resize((size, size)))


def words(detector: RapidOcrDetector, picture: np.ndarray) -> set[str]:
    return {found.text.replace(" ", "") for found in detector.find(picture)}


@pytest.mark.parametrize("height", [10, 14, 24, 48])
@pytest.mark.parametrize("fill", [255, 0])
def test_bright_and_dark_text_of_every_size_is_found_in_a_chest_film(detector, height: int, fill: int) -> None:
    picture = chest(640)
    places = [(20, 20), (320, 320), (200, 560)]
    for text, (x, y) in zip(LINES, places, strict=True):
        picture = write(picture, text, x, y, height, fill)
    regions = [found.region for found in detector.find(picture)]
    for x, y in places:
        if fill == 0 and (x, y) == places[0]:
            continue  # black on the black beside the neck
        assert any(region.x < x + height and region.y < y + height < region.bottom + height for region in regions)


@pytest.mark.soak
def test_small_text_is_found_in_a_large_film_and_large_text_too(detector) -> None:
    picture = write(write(chest(2048), "ORNEK AYSE", 1500, 1990, 14), "PID 447", 700, 700, 200)
    read = words(detector, picture)
    assert "ORNEKAYSE" in read
    assert any("447" in text for text in read)


def lateral_chest() -> np.ndarray:
    return (drawn.lateral(1) // 16).astype(np.uint8)


@pytest.mark.parametrize("picture", [partial(chest, 640), lateral_chest, sector, partial(sector, seed=3)])
def test_nothing_is_read_where_nothing_is_written(detector, picture: Callable[[], np.ndarray]) -> None:
    assert [found for found in detector.find(picture()) if found.text] == []


def test_turkish_letters_and_upright_text_are_found(detector) -> None:
    picture = write(sector(), "DOĞUM YERİ: ŞIRNAK", 10, 8, 20)
    turned = np.rot90(write(np.rot90(picture, 3).copy(), "ORNEK AYSE", 40, 8, 20)).copy()
    assert len(detector.find(turned)) >= 2


def test_uniform_pictures_are_not_looked_at() -> None:
    detector = RapidOcrDetector()
    assert detector.find(np.full((2000, 2000), 7, np.uint8)) == []
    assert "_engine" not in vars(detector)


def test_the_header_of_an_ultrasound_image_is_blanked_and_its_sector_stays(detector) -> None:
    picture = sector()
    spoken = write(write(picture, "ORNEK^AYSE  4471902", 8, 4), "12.04.1956 Ornek Hastanesi", 380, 4, 16)
    spoken = write(spoken, "L", 600, 440, 24)
    outcome = clean_pixels(PixelElement(memoryview(spoken.tobytes())), grey(), TextPolicy(), detector=detector)
    assert outcome.reason is None
    clean = np.frombuffer(b"".join(outcome.pieces), np.uint8).reshape(480, 640)
    assert not clean[:26].any()
    assert np.array_equal(clean[60:430], picture[60:430])
    assert clean[440:, 595:620].max() > 200, "the marker is gone"


def test_text_in_every_frame_of_a_clip_is_blanked(detector) -> None:
    clip = np.stack([write(sector(seed=seed), "ORNEK AYSE 4471902", 8, 4) for seed in range(4)])
    clip[3] = write(clip[3], "PID-4471902", 420, 450)
    pixels = PixelElement(memoryview(clip.tobytes()))
    outcome = clean_pixels(pixels, grey(frames=4), TextPolicy(), detector=detector)
    assert outcome.reason is None
    clean = np.frombuffer(b"".join(outcome.pieces), np.uint8).reshape(clip.shape)
    assert not clean[:, :26].any()
    assert not clean[3, 450:, 420:].any()


def test_text_of_twelve_bits_is_found_within_and_beyond_the_window(detector) -> None:
    film = drawn.frontal(1).astype("<u2")
    high = write(np.zeros(film.shape, np.uint8), "ORNEK AYSE", 30, 30, 24) > 127
    faint = write(np.zeros(film.shape, np.uint8), "PID-4471902", 30, 900, 24) > 127
    film[high], film[faint] = 4095, film[faint] + 300
    stored = {"bits_allocated": 16, "bits_stored": 12, "high_bit": 11, "window": (1500.0, 2000.0), "modality": "DX"}
    outcome = clean_pixels(
        PixelElement(memoryview(film.tobytes())), grey(1024, 1024, **stored), TextPolicy(), detector=detector
    )
    assert outcome.reason is None
    clean = np.frombuffer(b"".join(outcome.pieces), "<u2").reshape(film.shape)
    assert not clean[high].any()
    assert not clean[faint].any()
    assert (clean != film).mean() < 0.06, "it takes some of the noise in this drawing for text, too"


def test_a_declared_name_that_covers_everything_is_held_rather_than_passed(detector) -> None:
    picture = np.full((480, 640), 90, np.uint8)
    outcome = clean_pixels(
        PixelElement(memoryview(picture.tobytes())), grey(burned_in_annotation="YES"), TextPolicy(Look.ALWAYS),
        detector=detector,
    )  # fmt: skip
    assert outcome.reason is not None


def test_only_one_onnxruntime_is_installed_and_the_detector_prints_nothing() -> None:
    names = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    assert "onnxruntime" not in names
    assert "opencv-python" not in names
    program = (
        "import numpy as np; from anonymize.pixels import RapidOcrDetector;"
        "RapidOcrDetector().find(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
