"""The bundled model is what its card says: known answers, and the card's accuracy on the real test part."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import pipelines
from daemon.demo.phantom import phantom_study
from pipelines.chest_xray import ChestXray
from runtime import ModelPackage
from tests.pipelines.images import dx, instance
from training.radiographs import LABELS, divide, read_labels

FOLDER = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"
DATA = Path(os.environ.get("KOPRU_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "chest-xray"


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load(FOLDER)


@pytest.fixture(scope="module")
def session(package):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(package.read_weights(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def phantom(package):
    (prepared,) = ChestXray().prepare([instance(phantom_study()[0])], package)
    return prepared.tensor


def probabilities(session, tensors: list[np.ndarray]) -> np.ndarray:
    return session.run(["probabilities"], {"image": np.stack(tensors)})[0]


def test_the_package_is_small_and_says_what_it_is_for(package):
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 15_000_000
    assert package.research_only
    assert "not for diagnosis" in package.intended_use
    assert tuple(label.name for label in package.labels) == LABELS
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "can tell the source" in card


def test_the_known_answer_on_a_synthetic_image(package, session):
    # A horizontal and a vertical wave: no libm-dependent drawing, so the input is the same everywhere.
    rows, columns = np.indices((512, 512))
    film = (((rows * 7) % 256) * 8 + ((columns * 3) % 256) * 8).astype(np.uint16)
    (prepared,) = ChestXray().prepare([instance(dx(film, WindowCenter=2048, WindowWidth=4096))], package)
    (answer,) = probabilities(session, [prepared.tensor])
    assert answer == pytest.approx([1.0, 0.0, 0.0], abs=2e-3)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(session, phantom):
    noise = np.random.default_rng(0).integers(0, 1 << 16, (1, 512, 512), np.uint16)
    alone = probabilities(session, [phantom])[0]
    crowded = probabilities(session, [noise, phantom, noise])[1]
    assert alone == pytest.approx(crowded, abs=1e-5)
    assert alone.sum() == pytest.approx(1, abs=1e-5)


def test_brightness_and_contrast_of_the_rendering_do_not_change_the_answer(session, phantom):
    plain, dimmed = probabilities(session, [phantom, np.rint(phantom * 0.6 + 6554).astype(np.uint16)])
    assert plain == pytest.approx(dimmed, abs=2e-3)


@pytest.mark.data
def test_real_radiographs_wrapped_as_dx_get_the_accuracy_of_the_card(package, session):
    said = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    split, numbers = said["config"]["split"], said["numbers"]["test"]
    held_back = divide(read_labels(DATA), split["seed"], split["validation"], split["test"]).test
    assert len(held_back) == numbers["accuracy"]["total"]
    films = [instance(_wrapped(DATA / "images" / radiograph.file)) for radiograph in held_back]
    prepared = ChestXray().prepare(films, package)
    answers = probabilities(session, [item.tensor for item in prepared])
    right = sum(
        LABELS[int(answer.argmax())] == radiograph.label for answer, radiograph in zip(answers, held_back, strict=True)
    )
    # The card's figures come from the very same tensors; one image on the edge may fall to the other side elsewhere.
    assert abs(right - numbers["accuracy"]["hits"]) <= 1
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"({numbers['accuracy']['hits']}/{numbers['accuracy']['total']};" in card


def _wrapped(path: Path):
    pixels = np.asarray(Image.open(BytesIO(path.read_bytes())).convert("L"))
    return dx(pixels, WindowCenter=127.5, WindowWidth=255, VOILUTFunction="LINEAR_EXACT")
