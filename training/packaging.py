"""Describes the trained classifier to the runtime (`runtime.package`): what it takes, what it answers, what for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.package import Grayscale, ModelPackage, Resize, write_package
from training.config import TrainingConfig
from training.export import INPUT_NAME, OUTPUT_NAMES, Answers, Greys

_SNOMED_CT = "http://snomed.info/sct"
_PROBABILITIES = {"lowest": 0.0, "highest": 1.0, "total": 1.0}


LEVELS = (0.0, 65535.0)  # black and white in the input
CHECK_TOLERANCE = 0.01  # of float32, between CPUs and GPUs


def check_inputs(size: int) -> Greys:
    """Three drawn images, (3, 1, size, size): waves, a bright body with dark lungs, and noise. None is of a person.

    They have 256 greys, as the files that models learn from: so no rounding decides which of two places is brighter.
    """
    rows, columns = (axis / (size - 1) for axis in np.indices((size, size)))
    waves = (np.sin(9 * rows) * np.sin(7 * columns) + 1) / 2
    lungs = sum(np.exp(-(((rows - 0.45) / 0.28) ** 4) - ((columns - centre) / 0.14) ** 4) for centre in (0.3, 0.7))
    noise = np.random.default_rng(0).random((size, size))
    body = np.clip(0.8 - 0.6 * lungs + 0.05 * noise, 0, 1)
    return 257 * np.rint(255 * np.stack([waves, body, noise])[:, np.newaxis]).astype(np.uint16)


def preprocessing(size: int) -> Grayscale:
    """Return the preprocessing to `size` × `size`, in training and in service.

    The centre is cut out, since the images of one label are square and those of another are not: margins or a
    stretched chest would tell the model their source. 16 bits are all that DICOM images have, and half of a float32.
    """
    return Grayscale(kind="grayscale", size=(size, size), resize=Resize.CROP, channels=1, bits=16)


def write_description(
    directory: Path,
    config: TrainingConfig,
    thresholds: Mapping[str, float],
    training_images: int,
    data_sha256: str,
    answers: Answers,
    tolerances: Mapping[str, float],
    metrics: Mapping[str, float],
) -> ModelPackage:
    """Complete the package in `directory`, which holds the models and all other files already, and load it.

    `answers` are the model's to the check's inputs; `tolerances` is by precision of the variants.
    """
    package = config.package
    size = package.input_size
    specification = preprocessing(size)
    batch: dict[str, Any] = {"size": package.batch_size, "wait_ms": package.batch_wait_ms}
    if package.sample_threads:
        batch["sample_threads"] = package.sample_threads
    known = data_sha256 == config.data.sha256
    images = config.data.images if known else "images, which MODEL_CARD.md has the sources of."
    labels: list[dict[str, Any]] = []
    for index, one in enumerate(config.labels):
        coding = {"system": _SNOMED_CT, "code": one.code, "display": one.display}
        labels.append({"index": index, "name": one.name, **coding, "threshold": thresholds[one.name]})
    return write_package(
        directory,
        {
            "name": package.name,
            "version": package.version,
            "weights": "model.onnx",
            "intended_use": package.intended_use,
            "research_only": True,
            "licence": package.licence,
            "training_data": f"{training_images} {images}",
            "batch": batch,
            "inputs": [{"name": INPUT_NAME, "dtype": specification.dtype.value, "shape": ["batch", 1, size, size]}],
            "outputs": [
                {"name": name, "dtype": "float32", "shape": ["batch", *answers[name].shape[1:]], "role": role}
                | (_PROBABILITIES if role == "scores" else {})
                for name, role in zip(OUTPUT_NAMES, ("scores", "heatmap", "embedding"), strict=True)
            ],
            "preprocessing": specification.model_dump(mode="json"),
            "labels": labels,
            "variants": [
                {"file": f"model.{precision}.onnx", "precision": precision, "tolerance": tolerance}
                for precision, tolerance in tolerances.items()
            ],
            "check": {"file": "check.npz", "tolerance": CHECK_TOLERANCE},
            "gate": {"file": "gate.npz"},
            "reference": {"file": "reference.json"},
            "metrics": dict(metrics),
        },
    )
