"""The classifier of texture: patterns counted as their definition says, a fit with one solution, an exact heatmap."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install kopru[torch]")

import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from runtime import ModelPackage
from runtime.gate import Gate
from training.chest_xray import main
from training.config import TextureConfig
from training.errors import ConfigError
from training.export import run_onnx
from training.fitting import Examples
from training.network import Calibrated
from training.radiographs import LABELS
from training.texture import Shares, TextureNetwork, fit_texture

SETTINGS = TextureConfig(grids=(1, 2), penalties=(0.5, 0.1), embedding=4)
SIZE = 16


class Settings:
    """What of the configuration the fit reads."""

    texture = SETTINGS


def stripes(count: int, seed: int) -> Examples:
    """Images that differ in nothing but the direction of their finest stripes; the third label has none."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows, columns = np.indices((SIZE, SIZE))
    drawn = np.stack([(rows % 2, columns % 2, rows * 0)[label] for label in labels])
    images = np.clip(0.5 + 0.1 * drawn + generator.normal(0, 0.03, drawn.shape), 0, 1)[:, None]
    return Examples(torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels))


@pytest.fixture(scope="module")
def fitted():
    return fit_texture(stripes(60, 0), stripes(30, 1), 3, Settings())


def counted(image: np.ndarray, cells: int) -> np.ndarray:
    """By the definition, pixel by pixel: patterns, then cells."""
    grey = np.pad(image, 1, mode="edge")
    side = len(image) // cells
    shares = np.zeros((256, cells, cells))
    for row, column in np.ndindex(image.shape):
        around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
        bits = [grey[row + down, column + right] >= grey[row + 1, column + 1] - 0.5 / 255 for down, right in around]
        shares[sum(1 << bit for bit, one in enumerate(bits) if one), row // side, column // side] += 1
    return np.sqrt(shares / side**2).ravel()


def test_patterns_are_counted_as_their_definition_says():
    images = np.random.default_rng(0).random((2, 1, SIZE, SIZE), dtype=np.float32)
    images[1] = np.round(images[1] * 4) / 4  # many neighbours are equal
    found = Shares((1, 2, 4), SIZE)(torch.from_numpy(images)).numpy()
    for image, features in zip(images[:, 0], found, strict=True):
        assert features == pytest.approx(np.concatenate([counted(image, cells) for cells in (1, 2, 4)]), abs=1e-6)


def test_rounding_brightness_and_contrast_of_the_rendering_change_nothing():
    greys = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE)).astype(np.float32) / np.float32(255)
    shares = Shares((1, 2), SIZE)
    plain = shares(torch.from_numpy(greys))
    for other in (np.nextafter(greys, np.float32(0)), greys * np.float32(0.6) + np.float32(0.1)):
        assert torch.equal(plain, shares(torch.from_numpy(other)))


def test_it_tells_textures_apart_that_it_has_not_seen(fitted):
    held = stripes(30, 2)
    for network in (fitted.network, fitted.trial):
        assert (network(held.images).argmax(dim=1) == held.labels).all()


def test_the_fit_is_the_minimum_and_the_same_again(fitted):
    again = fit_texture(stripes(60, 0), stripes(30, 1), 3, Settings())
    assert all(
        torch.equal(value, again.network.state_dict()[name]) for name, value in fitted.network.state_dict().items()
    )
    train, head = stripes(60, 0), fitted.trial.head
    standardised = head.standardise(fitted.trial.shares(train.images)).detach().double()
    squared = standardised.square().sum(dim=1).mean()
    contrasts = torch.tensor([[-1 / 2, -1 / 3], [1 / 2, -1 / 3], [0, 2 / 3]], dtype=torch.float64)
    weight = (torch.linalg.pinv(contrasts) @ head.linear.weight.detach().double()).requires_grad_()
    assert torch.allclose(contrasts @ weight, head.linear.weight.double(), atol=1e-6)
    loss = cross_entropy(
        standardised @ (contrasts @ weight).T + head.linear.bias.detach(), train.labels, reduction="sum"
    )
    # Weights of the features themselves are shorter by the length to which features were scaled.
    loss = loss + squared / 2 * (torch.tensor(SETTINGS.penalties) * weight.square().sum(dim=1)).sum()
    (slope,) = torch.autograd.grad(loss, weight)
    assert slope.abs().max() / math.sqrt(squared) < 1e-3


def test_the_kept_network_has_learnt_from_validation_but_its_embedding_has_not(fitted):
    kept, trial = fitted.network.state_dict(), fitted.trial.state_dict()
    same = {name for name in kept if torch.equal(kept[name], trial[name])}
    assert {"projection.mean", "projection.gain", "projection.linear.weight"} <= same
    assert "head.linear.weight" not in same


def test_what_places_add_is_the_logit(fitted):
    images = stripes(6, 3).images
    logits, places, embedding = fitted.network.explain(images)
    assert (places.shape, embedding.shape) == ((6, 3, 2, 2), (6, 4))
    bias = fitted.network.head.linear.bias
    expected = logits - logits.mean(dim=1, keepdim=True) - (bias - bias.mean())
    assert torch.allclose(places.sum(dim=(2, 3)), expected, atol=1e-5)


def test_the_heatmap_lies_where_the_texture_is():
    """Stripes in one corner only: the label of stripes is spoken for there."""
    fitted = fit_texture(stripes(60, 0), stripes(30, 1), 3, Settings())
    image = stripes(3, 4).images[2:]
    image[:, :, :8, :8] = stripes(3, 4).images[:1, :, :8, :8]
    _, heat, _ = Calibrated(fitted.network, 1.0)((65535 * image).round().to(torch.uint16))
    assert heat[0, 0].argmax() == 0
    assert 0 <= heat.min() < heat.max() <= 1


@pytest.mark.parametrize("grids", [(1, 3, 4), (5,)])
def test_grids_that_do_not_fit_into_each_other_or_the_image_are_refused(grids):
    with pytest.raises(ConfigError, match="divide"):
        TextureNetwork(TextureConfig(grids=grids, penalties=(1.0, 1.0), embedding=2), 3, SIZE)


def test_a_whole_run_packages_what_it_learnt(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    drawn = stripes(90, 5)
    lines = ["file,label,patient,source"]
    for number, (image, label) in enumerate(zip(drawn.images.numpy(), drawn.labels.tolist(), strict=True)):
        file = f"{number:03}.png"
        Image.fromarray(np.round(image[0] * 255).astype(np.uint8)).save(tmp_path / "data" / "images" / file)
        lines.append(f"{file},{LABELS[label]},p{label}-{number // 3 // 2},drawn")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    settings = ("texture.grids=[1,2]", "texture.embedding=4", f"package.input_size={SIZE}", "device.threads=1")
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    options += [word for setting in settings for word in ("--set", setting)]
    assert main([*options, "--folds", "3"]) == 0
    assert main(options) == 0
    folder = tmp_path / "out" / "chest-xray-3class"
    package = ModelPackage.load(folder)
    assert Gate.of(package) is not None
    assert package.metrics["accuracy (3 folds by patient)"] > 0.9
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| all | " in card
    assert f"| {LABELS[2]} | drawn |" in card  # and no word of the bundled model's images
    assert "NIH" not in card + package.training_data
    numbers = json.loads((folder / "training.json").read_text(encoding="utf-8"))["numbers"]
    assert numbers["test"]["accuracy"]["hits"] >= 0.9 * numbers["test"]["accuracy"]["total"]
    with np.load(folder / "check.npz", allow_pickle=False) as check:
        (variant,) = package.variants
        for file, tolerance in (("model.onnx", package.check.tolerance), (variant.file, variant.tolerance)):
            for name, answer in run_onnx(folder / file, check["input:image"]).items():
                assert np.abs(answer - check[f"output:{name}"]).max() <= tolerance
    # Another penalty is another model: its card must not carry these folds.
    assert main([*options, "--set", "texture.penalties=[2.0, 1.0]"]) == 1
