"""The gate of a texture network: what it refuses, and that its limits come from images judged without themselves."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install kopru[torch]")

import torch

from runtime.gate import Gate
from runtime.traits import likeness, measure
from runtime.verdict import Verdict
from training.config import TextureConfig
from training.gating import fit_texture_gate, upright_template
from training.inputs import Part
from training.radiographs import Radiograph
from training.texture import TextureNetwork, features_of

SIZE = 32


def films(count: int, seed: int) -> np.ndarray:
    """Bright above and to the left, each to its own degree, with noise and faint stripes: there is an upright one."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices((SIZE, SIZE)) / (SIZE - 1)
    slopes = generator.uniform(0.6, 1.4, (count, 2, 1, 1))
    drawn = 0.5 - 0.25 * slopes[:, 0] * (rows - 0.5) - 0.1 * slopes[:, 1] * (columns - 0.5)
    stripes = generator.uniform(0, 0.02, (count, 1, 1)) * (np.arange(SIZE) % 2)[:, None]
    noisy = drawn + stripes + generator.normal(0, 0.02, drawn.shape)
    return np.round(255 * np.clip(noisy, 0, 1)[:, None]).astype(np.float32) / np.float32(255)


def striped(images: np.ndarray) -> np.ndarray:
    return np.where(np.arange(SIZE)[:, None] % 2, images + np.float32(0.06), images)


def greys(images: np.ndarray) -> np.ndarray:
    return np.rint(65535 * images).astype(np.uint16)


def part(name: str, count: int, seed: int) -> Part:
    known = tuple(Radiograph(f"{name}{number}", "Normal", f"{name}-{number // 2}", "drawn") for number in range(count))
    return Part(known, greys(films(count, seed)), np.zeros(count, np.int64))


@pytest.fixture(scope="module")
def network() -> TextureNetwork:
    made = TextureNetwork(TextureConfig(grids=(1, 2), penalties=(1.0, 1.0), embedding=4), 3, SIZE).eval()
    made.fit_embedding(features_of(made, torch.from_numpy(films(240, 0))))
    return made


@pytest.fixture(scope="module")
def gate(network: TextureNetwork) -> Gate:
    return fit_texture_gate(network, part("t", 240, 0), part("v", 60, 1), seed=7)


def judged(gate: Gate, network: TextureNetwork, images: np.ndarray) -> list[Verdict]:
    drawn = torch.from_numpy(np.ascontiguousarray(images))
    with torch.no_grad():
        embedding = network.projection(features_of(network, drawn)).numpy()
    return list(gate.judge(greys(images), embedding))


def test_what_it_has_not_seen_but_is_like_it_passes(gate: Gate, network: TextureNetwork) -> None:
    assert sum(not verdict.fits for verdict in judged(gate, network, films(200, 2))) <= 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda films: 1 - films,
        lambda films: np.rot90(films, 1, (2, 3)),
        lambda films: np.rot90(films, 3, (2, 3)),
        lambda films: films[:, :, ::-1],
    ],
    ids=["inverted", "turned left", "turned right", "upside down"],
)
def test_what_is_not_upright_is_unlike(gate: Gate, network: TextureNetwork, spoil) -> None:
    assert set(judged(gate, network, spoil(films(20, 3)))) == {Verdict.UNLIKE}


def test_another_texture_is_refused(gate: Gate, network: TextureNetwork) -> None:
    assert not any(verdict.fits for verdict in judged(gate, network, striped(films(20, 3))))


def test_the_limit_of_distance_is_that_of_images_judged_by_what_was_fitted_without_them(
    gate: Gate, network: TextureNetwork
) -> None:
    """One may lie beyond it. So it takes two odd ones, which their own fold has never seen, to move it to them."""
    validation = part("v", 60, 1)
    odd = validation.inputs.copy()
    odd[:2] = greys(striped(films(60, 1)[:2]))
    moved = fit_texture_gate(network, part("t", 240, 0), replace(validation, inputs=odd), seed=7)
    assert moved.embeddings.limit > 1.5 * gate.embeddings.limit


def test_the_network_is_given_back_as_it_was(network: TextureNetwork) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit_texture_gate(network, part("t", 40, 0), part("v", 20, 1), seed=7)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_template_tells_an_upright_film_from_a_turned_one() -> None:
    template = upright_template(films(240, 0))
    upright, turned = (measure(images, 0.0, 1.0)[1] for images in (films(20, 3), np.rot90(films(20, 3), 1, (2, 3))))
    assert likeness(upright, template).min() > likeness(turned, template).max()
