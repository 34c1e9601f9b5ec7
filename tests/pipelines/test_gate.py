"""The bundled chest model's gate: radiographs that it has never seen pass, and what is no chest film does not."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from daemon.demo.drawing import HIGHEST
from pipelines.chest_xray import ChestXray
from runtime import LocalRuntime, ModelPackage, Verdict
from runtime.preprocess import to_input
from tests import drawn
from tests.pipelines.images import instance
from tests.pipelines.test_bundled_package import DATA, FOLDER
from tests.runtime import oddities
from training.inputs import load_inputs
from training.radiographs import divide, read_labels

Judge = Callable[[Any], tuple[Verdict, ...]]
MOST_FALSE_REJECTIONS = 0.02


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return ModelPackage.load(FOLDER)


@pytest.fixture(scope="module")
def judge(package: ModelPackage) -> Iterator[Judge]:
    """What the gate says of inputs (samples, 1, rows, columns), asked as any client asks."""
    with LocalRuntime([package], threads=2) as runtime:

        def judged(inputs: np.ndarray[Any, Any]) -> tuple[Verdict, ...]:
            size = package.batch.size
            batches = [np.ascontiguousarray(inputs[first : first + size]) for first in range(0, len(inputs), size)]
            return sum((runtime.infer(package.name, {"image": b}, timeout_seconds=60).gate for b in batches), ())

        yield judged


@pytest.fixture(scope="module")
def unseen(package: ModelPackage) -> np.ndarray[Any, Any]:
    """The radiographs of the test part: no training, no choice and no limit has seen them."""
    said = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))["config"]["split"]
    division = divide(read_labels(DATA), said["seed"], said["validation"], said["test"])
    return load_inputs(DATA, division.test, package.inputs[0].sample_shape[-1])


def refused(verdicts: tuple[Verdict, ...]) -> float:
    return float(np.mean([not verdict.fits for verdict in verdicts]))


@pytest.mark.parametrize("oddity", [oddities.noise, oddities.ct_slice, oddities.hand])
def test_what_is_no_chest_film_is_refused(judge: Judge, package: ModelPackage, oddity: Any) -> None:
    (verdict,) = judge(to_input(oddity(), package.preprocessing)[np.newaxis])
    assert not verdict.fits


def test_a_drawn_lateral_view_is_refused(judge: Judge, package: ModelPackage) -> None:
    film = (drawn.lateral(1) / HIGHEST).astype(np.float32)
    (verdict,) = judge(to_input(film, package.preprocessing)[np.newaxis])
    assert not verdict.fits


def test_the_demonstrations_drawing_passes_and_its_negative_does_not(judge: Judge, package: ModelPackage) -> None:
    (prepared,) = ChestXray().prepare([instance(drawn.phantom_study()[0])], package)
    assert judge(prepared.tensor[np.newaxis]) == (Verdict.FITS,)
    assert judge(65535 - prepared.tensor[np.newaxis]) == (Verdict.UNLIKE,)


@pytest.mark.data
def test_of_radiographs_that_nothing_was_fitted_to_at_most_a_fiftieth_is_refused(judge: Judge, unseen: Any) -> None:
    assert refused(judge(unseen)) <= MOST_FALSE_REJECTIONS


@pytest.mark.data
@pytest.mark.parametrize(
    ("spoil", "at_least"),
    [
        (lambda films: 65535 - films, 0.98),
        (lambda films: np.rot90(films, 1, (2, 3)), 0.98),
        (lambda films: films[:, :, ::-1], 0.8),
        (
            lambda films: np.random.default_rng(0).permuted(films.reshape(len(films), -1), axis=1).reshape(films.shape),
            1,
        ),
        (lambda films: np.rint(0.05 * films + 32768), 1),
    ],
    ids=["inverted", "quarter turn", "upside down", "shuffled pixels", "hardly any contrast"],
)
def test_spoilt_radiographs_are_refused(judge: Judge, unseen: Any, spoil: Any, at_least: float) -> None:
    assert refused(judge(spoil(unseen[::4]).astype(np.uint16))) >= at_least
