"""Describes the trained classifier to the runtime (`runtime.package`): what it takes, what it answers, what for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.package import Grayscale, ModelPackage, Resize, write_package
from training.config import TrainingConfig
from training.export import INPUT_NAME, OUTPUT_NAME
from training.radiographs import LABELS

_SNOMED_CT = "http://snomed.info/sct"
_CODES = {
    "Normal": ("168733007", "Standard chest X-ray normal"),
    "Pneumonia": ("233604007", "Pneumonia"),
    "COVID-19": ("840539006", "COVID-19"),
}


def preprocessing(size: int) -> Grayscale:
    """Return the preprocessing to `size` × `size`, in training and in service.

    The centre is cut out, since the images of one label are square and those of another are not: margins or a
    stretched chest would tell the model their source. Mean and spread are taken out inside the network, per image.
    """
    return Grayscale(kind="grayscale", size=(size, size), resize=Resize.CROP, mean=0.0, std=1.0, channels=1)


def write_description(
    directory: Path, config: TrainingConfig, thresholds: Mapping[str, float], training_images: int
) -> ModelPackage:
    """Complete the package in `directory`, which holds model.onnx and all other files already, and load it."""
    package = config.package
    size = package.input_size
    labels: list[dict[str, Any]] = []
    for index, name in enumerate(LABELS):
        code, display = _CODES[name]
        coding = {"system": _SNOMED_CT, "code": code, "display": display}
        labels.append({"index": index, "name": name, **coding, "threshold": thresholds[name]})
    return write_package(
        directory,
        {
            "name": package.name,
            "version": package.version,
            "weights": "model.onnx",
            "intended_use": package.intended_use,
            "research_only": True,
            "licence": package.licence,
            "training_data": (
                f"{training_images} frontal chest radiographs of NIH ChestX-ray8 (Normal, Pneumonia) and of the "
                "COVID-19 Image Data Collection (COVID-19). One label comes from one source only: see MODEL_CARD.md."
            ),
            "batch": {"size": package.batch_size, "wait_ms": package.batch_wait_ms},
            "inputs": [{"name": INPUT_NAME, "dtype": "float32", "shape": ["batch", 1, size, size]}],
            "outputs": [{"name": OUTPUT_NAME, "dtype": "float32", "shape": ["batch", len(LABELS)]}],
            "preprocessing": preprocessing(size).model_dump(mode="json"),
            "labels": labels,
        },
    )
