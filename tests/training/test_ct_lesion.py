"""The sample of a segmentation: it can be trained anew, and the bundled one finds what was drawn, in millilitres."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import pipelines
from pipelines.volume import millilitres
from runtime import ModelPackage
from runtime.gate import Gate
from runtime.package import Role
from training.ct_phantoms import draw_phantom

BUNDLED = Path(pipelines.__file__).parent / "packages" / "ct-lesion-sample"
UNSEEN = range(10_000, 10_012)  # far from the seeds of training


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load(BUNDLED)


@pytest.fixture(scope="module")
def answers(package):
    session = onnxruntime.InferenceSession(package.read_weights(), providers=["CPUExecutionProvider"])

    def answered(phantom):
        return session.run(["mask"], {"volume": phantom.hounsfield[None, None]})[0][0]

    return [(phantom, answered(phantom)) for phantom in map(draw_phantom, UNSEEN)]


def test_the_package_is_small_and_says_that_it_is_a_sample(package):
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 3_000_000
    assert package.research_only
    assert package.intended_use.startswith("Sample trained on phantoms, not a medical device")
    assert "No image of a person" in package.training_data
    assert package.output(Role.MASK) is not None
    card = (BUNDLED / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "say nothing about people" in card
    for name, value in package.metrics.items():
        assert name.startswith("Dice")
        assert f"{value:.3f}" in card


def test_it_finds_lesions_that_it_has_not_seen(answers):
    found = [(phantom.lesion, masks[1] >= 0.5) for phantom, masks in answers if phantom.lesion.any()]
    coefficients = [2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in found]
    assert np.mean(coefficients) > 0.8


def test_the_millilitres_of_its_masks_are_about_those_drawn(answers):
    """Only about: where a lesion touches the wall of the chest, nothing shows where the lung ended."""
    drawn, found = (
        np.array([millilitres(mask, phantom.spacing_mm) for phantom, mask in masks])
        for masks in (
            [(phantom, phantom.lesion) for phantom, _ in answers],
            [(phantom, masks[1] >= 0.5) for phantom, masks in answers],
        )
    )
    assert found.sum() == pytest.approx(drawn.sum(), rel=0.25)
    assert (drawn == 0).any()
    assert (found[drawn == 0] < 1).all()


def test_its_gate_lets_phantoms_pass_and_refuses_what_is_none(package, answers):
    gate = Gate.of(package)
    volumes = np.stack([phantom.hounsfield for phantom, _ in answers])[:, None]
    assert all(verdict.fits for verdict in gate.judge(volumes, None))
    water, inverted, turned = np.zeros_like(volumes[0]), -volumes[0], volumes[0].swapaxes(2, 3)
    assert not any(verdict.fits for verdict in gate.judge(np.stack([water, inverted, turned]), None))


def test_it_can_be_made_anew(tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs the extra: pip install kopru[torch]")
    from training.ct_lesion import main

    settings = ("phantoms.train=8", "phantoms.test=4", "fitting.epochs=1", "unet.channels=[4,8]", "fitting.threads=1")
    options = ["--out", str(tmp_path), *(word for setting in settings for word in ("--set", setting))]
    assert main(options) == 0
    assert "Dice of lesions" in capsys.readouterr().out
    made = ModelPackage.load(tmp_path / "ct-lesion-sample")
    assert made.outputs[0].sample_shape[0] == 2
    assert main([*options, "--set", "unet.depth=3"]) == 1
    assert "depth: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("unet.channels=[8]", "channels must be at least two"),
        ("phantoms.test=0", "test must be at least 1"),
        ("fitting.epochs=0", "epochs must be at least 1"),
        ("fitting.learning_rate=nan", "not finite"),
        ("phantoms.seed=1", "File exists"),
    ],
)
def test_what_cannot_be_ends_the_run_with_a_message(tmp_path, capsys, setting, said):
    pytest.importorskip("torch", reason="training needs the extra: pip install kopru[torch]")
    from training.ct_lesion import main

    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file"), "--set", setting]) == 1
    assert said in capsys.readouterr().err
