"""The out-of-distribution gate: its file, its verdicts, and what becomes of an answer that must not be believed."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import PackageError
from runtime.gate import Embeddings, Gate, Images, fit_gate, shrunk_covariance, withhold
from runtime.traits import Trait, measure
from runtime.verdict import Verdict

FILE = Path("gate.npz")


def usual(count: int, seed: int = 0, side: int = 32) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A dark and a bright half each time, with a little of everything else."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 0.8, side)[None, None, None, :]
    scale = random.uniform(0.9, 1.1, (count, 1, 1, 1))
    return np.clip(ramp * scale + random.normal(0, 0.02, (count, 1, side, side)), 0, 1).astype(np.float32)


def clouds(count: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Embeddings of two classes, and the classes."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, count)
    centres = np.array([[0, 0, 0, 0], [10, 0, 0, 0]])
    return (centres[classes] + random.normal(size=(count, 4)) @ np.diag([1, 2, 3, 0.5])).astype(np.float32), classes


def test_what_is_usual_fits() -> None:
    gate = fit_gate(usual(400))
    verdicts = gate.judge(usual(200, seed=1), None)
    assert sum(not verdict.fits for verdict in verdicts) <= 4


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda x: np.random.default_rng(2).random(x.shape, dtype=np.float32), Verdict.TOO_FINE),
        (lambda x: 0.3 * x, Verdict.TOO_DARK),
        (lambda x: 0.3 * x + 0.7, Verdict.TOO_BRIGHT),
        (lambda x: np.where(x < 0.5, 0, x), Verdict.TOO_MUCH_BLACK),
        (lambda x: np.where(x > 0.6, 1, x), Verdict.TOO_MUCH_WHITE),
        (lambda x: 0.6 * x + 0.2, Verdict.TOO_FLAT),
    ],
)
def test_what_is_unusual_is_told_with_its_reason(change: Any, verdict: Verdict) -> None:
    fitted = fit_gate(usual(400)).images
    assert fitted is not None
    judged_before = (Trait.COARSENESS,) if verdict is not Verdict.TOO_FINE else ()
    limits = {trait: limits for trait, limits in fitted.limits.items() if trait not in judged_before}
    gate = Gate(replace(fitted, template=None, limits=limits))
    assert set(gate.judge(change(usual(3, seed=1)).astype(np.float32), None)) == {verdict}
    assert verdict.sentence.startswith("unlike what the model was made for: ")


@pytest.mark.parametrize("change", [lambda x: 1 - x, lambda x: x[..., ::-1], lambda x: np.swapaxes(x, 2, 3)])
def test_what_has_light_and_dark_elsewhere_is_unlike_whatever_its_traits(change: Any) -> None:
    assert set(fit_gate(usual(400)).judge(change(usual(3, seed=1)), None)) == {Verdict.UNLIKE}


def test_each_verdict_has_a_sentence_without_numbers() -> None:
    sentences = {verdict.sentence for verdict in Verdict}
    assert len(sentences) == len(Verdict)
    assert not any(character.isdigit() for sentence in sentences for character in sentence)


def test_a_strange_embedding_is_refused_though_the_image_is_usual() -> None:
    training, classes = clouds(600)
    held, _ = clouds(300, seed=1)
    gate = fit_gate(usual(100), embeddings=training, classes=classes, held_embeddings=held)
    fresh, _ = clouds(300, seed=2)
    between = np.array([[5, 0, 0, 8]], np.float32)  # near no class, though within the range of each feature but one
    images = usual(301, seed=3)
    verdicts = gate.judge(images, np.concatenate([fresh, between]))
    assert verdicts[-1] is Verdict.STRANGE
    assert sum(not verdict.fits for verdict in verdicts) <= 0.03 * len(verdicts)


def test_an_embedding_that_is_not_a_number_is_strange() -> None:
    training, classes = clouds(100)
    gate = fit_gate(usual(50), embeddings=training, classes=classes, held_embeddings=training)
    assert gate.judge(usual(1, seed=1), np.full((1, 4), np.nan)) == (Verdict.STRANGE,)


def test_distances_are_those_of_the_definition() -> None:
    rows, classes = clouds(200)
    centres = np.stack([rows[classes == one].mean(axis=0) for one in (0, 1)]).astype(np.float64)
    precision = np.linalg.inv(np.cov(rows.T.astype(np.float64)))
    found = Embeddings(centres, precision, np.inf).distances(rows[:20])
    for row, distance in zip(rows[:20].astype(np.float64), found, strict=True):
        wanted = min(np.sqrt((row - centre) @ precision @ (row - centre)) for centre in centres)
        assert distance == pytest.approx(wanted, rel=1e-9)


def test_the_covariance_of_few_samples_can_be_inverted_and_that_of_many_is_the_usual_one() -> None:
    random = np.random.default_rng(0)
    few = shrunk_covariance(random.normal(size=(5, 40)))
    assert np.linalg.eigvalsh(few).min() > 0
    mixing = random.normal(size=(6, 6))
    many = random.normal(size=(50_000, 6)) @ mixing
    assert np.allclose(shrunk_covariance(many), mixing.T @ mixing, rtol=0.05, atol=0.05)
    assert np.linalg.eigvalsh(shrunk_covariance(np.zeros((4, 3)))).min() > 0


def test_the_file_holds_the_whole_gate() -> None:
    training, classes = clouds(100)
    gate = fit_gate(usual(50), embeddings=training, classes=classes, held_embeddings=training)
    again = Gate.read(FILE, gate.to_bytes())
    assert again.to_bytes() == gate.to_bytes()
    images, embeddings = np.concatenate([usual(20, seed=1), 1 - usual(20, seed=1)]), clouds(40, seed=1)[0]
    assert again.judge(images, embeddings) == gate.judge(images, embeddings)


@pytest.mark.parametrize(
    ("arrays", "key"),
    [
        ({}, "format"),
        ({"format": np.int64(2)}, "format"),
        ({"levels": np.array([1.0, 0.0])}, "levels"),
        ({"levels": np.array([1.0, 1.0])}, "levels"),
        ({"levels": np.array([0.0, np.inf])}, "levels"),
        ({"levels": np.array([0.0, 1.0]), "template": np.zeros((4, 4))}, "limits:likeness"),
        ({"centres": np.zeros((2, 3)), "precision": np.eye(4)}, "precision"),
        ({"centres": np.zeros((2, 3)), "precision": -np.eye(3), "limits:distance": np.float64(1)}, "precision"),
        ({"centres": np.zeros((0, 3)), "precision": np.eye(3), "limits:distance": np.float64(1)}, "precision"),
        ({"limits:mean": np.array([0.0, 1.0])}, ""),
        ({"other": np.zeros(1)}, ""),
    ],
)
def test_a_wrong_file_is_refused_by_name(arrays: dict[str, Any], key: str) -> None:
    made = io.BytesIO()
    np.savez(made, **({"format": np.int64(1)} if arrays else {}) | arrays)
    with pytest.raises(PackageError) as refused:
        Gate.read(FILE, made.getvalue())
    assert refused.value.key == key


@given(st.binary(max_size=200))
def test_bytes_that_are_no_gate_are_refused(data: bytes) -> None:
    with pytest.raises(PackageError):
        Gate.read(FILE, data)


def test_what_was_answered_about_a_refused_sample_is_taken_back() -> None:
    outputs = {"scores": np.ones((3, 2), np.float32), "mask": np.ones((3, 4), np.uint8)}
    kept = withhold(outputs, (Verdict.FITS, Verdict.UNLIKE, Verdict.FITS))
    assert np.isnan(kept["scores"][1]).all()
    assert not kept["mask"][1].any()
    assert (kept["scores"][[0, 2]] == 1).all()
    assert (outputs["scores"] == 1).all()  # the batch of others is not touched


def test_what_is_measured_is_what_it_is_called() -> None:
    image = np.zeros((1, 1, 64, 64), np.float32)
    image[..., 32:] = 1
    traits, thumbnails = measure(image, 0.0, 1.0)
    assert thumbnails.shape == (1, 16, 16)
    assert [float(traits[trait][0]) for trait in Trait] == pytest.approx([0.5, 0.5, 0.5, 0.5, 1.0])
    normalised, _ = measure((image - 0.5) / 0.25, -2.0, 2.0)
    assert all(normalised[trait] == pytest.approx(traits[trait]) for trait in Trait)


@pytest.mark.parametrize("shape", [(3, 1, 7, 5), (2, 3, 40, 33), (1, 1, 4, 20, 20), (2, 9, 9)])
def test_inputs_of_any_size_can_be_measured(shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).random(shape, dtype=np.float32)
    traits, thumbnails = measure(samples, 0.0, 1.0)
    assert thumbnails.shape == (shape[0], min(16, shape[-2]), min(16, shape[-1]))
    assert thumbnails.mean() == pytest.approx(samples.mean(), abs=0.05)
    assert all(len(values) == shape[0] for values in traits.values())


def test_a_gate_without_parts_lets_everything_through() -> None:
    assert Gate().judge(usual(2), None) == (Verdict.FITS, Verdict.FITS)
    assert Gate(Images(0.0, 1.0, {})).judge(usual(2), None) == (Verdict.FITS, Verdict.FITS)
