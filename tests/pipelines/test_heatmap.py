"""The picture of what a model says its answer comes from: it says what it is, and shows neither more nor less."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import pipelines
from daemon.demo.phantom import planted_identifiers
from pipelines import heatmap
from pipelines.chest_xray import ChestXray
from pipelines.heatmap import MAX_BYTES, RESEARCH, UNREVIEWED, Explained, draw, marking
from pipelines.results import Coding, Finding, ModelIdentity
from runtime import ModelPackage
from runtime.package import Grayscale, NoPreprocessing, Resize, Role
from tests.drawn import phantom_study
from tests.pipelines.images import instance
from tests.planted import search_bytes

FOLDER = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"
MODEL = ModelIdentity("chest", "1.0.0", "ab" * 32, "Research.", True, "CC0-1.0")
FINDING = Finding("Pneumonia", Coding("http://snomed.info/sct", "233604007", "Pneumonia"), 0.8765, 0.5)
GREY = np.full((1, 192, 192), 0.5, np.float32)
NONE = NoPreprocessing()


def one_field(row: int, column: int) -> np.ndarray:
    heat = np.zeros((6, 6), np.float32)
    heat[row, column] = 1
    return heat


def panels(picture: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The two images within the picture of a square input: (400, 400, 3) each."""
    pixels = np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)
    top = heatmap._BAND + heatmap._HEAD + heatmap._CAPTION
    side, gap = heatmap._SIDE, heatmap._GAP
    return pixels[top : top + side, gap : gap + side], pixels[top : top + side, 2 * gap + side : 2 * (gap + side)]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is written into pictures."""
    written: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(brush, place, said, *arguments, **named):
        written.append(" ".join(said.split()))  # gaps may be wider than one space
        return original(brush, place, said, *arguments, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written


def test_the_bundled_model_explains_the_phantom(words):
    package = ModelPackage.load(FOLDER)
    study = phantom_study()
    (prepared,) = ChestXray().prepare([instance(study[0])], package)
    spec = package.output(Role.HEATMAP)
    assert spec is not None
    session = onnxruntime.InferenceSession(package.read_weights(), providers=["CPUExecutionProvider"])
    scores, heat = session.run([package.outputs[0].name, spec.name], {"image": prepared.tensor[np.newaxis]})
    assert heat[0].shape == spec.sample_shape
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1)
    concluded = ChestXray().conclude(
        [prepared], {prepared.sop_instance_uid: scores[0]}, package, received_instances=1, forced=False
    )
    finding = max(concluded.outcomes[0].findings, key=lambda f: f.probability)
    explained = Explained(prepared.tensor, heat[0][int(scores[0].argmax())], finding, concluded.model)
    picture = draw(explained, package.preprocessing)
    assert words.count(RESEARCH) == 2
    assert finding.label in words
    planted = planted_identifiers(study)
    assert not search_bytes(picture, planted, "the picture")
    assert not search_bytes("\n".join(words).encode(), planted, "what is written in it")


def test_that_nobody_has_reviewed_it_is_burnt_in_twice(words):
    draw(Explained(GREY, one_field(2, 3), FINDING, MODEL), NONE)
    assert words.count("AI, not reviewed, research only, not for diagnosis") == 2
    words.clear()
    draw(Explained(GREY, one_field(2, 3), FINDING, replace(MODEL, research_only=False)), NONE)
    assert words.count(UNREVIEWED) == 2
    assert not any("research" in said for said in words)


def test_the_burnt_in_words_are_in_the_heated_image_itself():
    plain, heated = panels(draw(Explained(GREY, np.zeros((6, 6), np.float32), FINDING, MODEL), NONE))
    assert np.ptp(plain) == 0
    assert (heated[:370] == plain[:370]).all()
    assert (heated[370:] != plain[370:]).any()


def test_what_nothing_speaks_for_stays_grey_and_the_strongest_place_is_the_most_coloured():
    plain, heated = panels(draw(Explained(GREY, one_field(1, 4), FINDING, MODEL), NONE))
    change = np.abs(heated - plain).sum(axis=2)[:370]
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert (row * 6 // 400, column * 6 // 400) == (1, 4)
    assert change[200:370, :200].max() == 0


def test_the_image_is_shown_as_the_model_saw_it_before_it_was_normalised():
    spec = Grayscale(kind="grayscale", size=(192, 192), resize=Resize.CROP, mean=0.5, std=0.25, channels=3)
    tensor = np.full((3, 192, 192), (0.2 - 0.5) / 0.25, np.float32)
    plain, _ = panels(draw(Explained(tensor, one_field(0, 0), FINDING, MODEL), spec))
    assert np.unique(plain).tolist() == [round(0.2 * 255)]


def test_a_probability_below_its_threshold_is_never_shown_as_reaching_it(words):
    draw(Explained(GREY, one_field(0, 0), replace(FINDING, probability=0.49999), MODEL), NONE)
    assert "probability 49.9 %, below the threshold 50.0 %" in words


def test_the_scale_gets_lighter_in_even_steps():
    linear = (heatmap._SCALE / 255) ** 2.2
    lab = np.cbrt(linear @ heatmap._TO_CONES.T) @ heatmap._TO_OKLAB.T
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert (np.diff(lab[:, 0]) > 0).all()
    assert steps.max() < 1.5 * steps.min()


def test_letters_that_the_font_lacks_are_shown_as_their_nearest(words):
    draw(Explained(GREY, one_field(0, 0), replace(FINDING, label="Zatürre şüphesi, sıvı 肺"), MODEL), NONE)
    assert "Zaturre suphesi, sivi ?" in words


@settings(max_examples=15, deadline=None)
@given(
    label=st.text(max_size=300),
    rows=st.integers(1, 700),
    columns=st.integers(1, 700),
    fields=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_label_and_shape_gives_a_picture_of_bounded_size_without_metadata(label, rows, columns, fields):
    noise = np.random.default_rng(1)
    tensor, heat = noise.random((1, rows, columns), np.float32), noise.random(fields, np.float32)
    picture = draw(Explained(tensor, heat, replace(FINDING, label=label), MODEL), NONE)
    assert len(picture) <= MAX_BYTES
    opened = Image.open(BytesIO(picture))
    opened.load()
    assert (opened.format, opened.info) == ("PNG", {})
    assert draw(Explained(tensor, heat, replace(FINDING, label=label), MODEL), NONE) == picture


def test_the_marking_follows_the_package():
    assert marking(MODEL) == RESEARCH
    assert marking(replace(MODEL, research_only=False)) == UNREVIEWED
