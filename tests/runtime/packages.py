"""Tiny model packages, made with `onnx.helper`: real files for the real backend."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.package import ModelPackage, write_package

CLASSES = 3
SIDE = 8


def description(**changes: Any) -> dict[str, Any]:
    """The keys of `model.toml` but [files], for a classifier of SIDE × SIDE grey images."""
    labels = [
        {"index": i, "name": f"class {i}", "system": "https://example.org/c", "code": f"c{i}", "display": f"Class {i}"}
        | {"threshold": 0.5}
        for i in range(CLASSES)
    ]
    return {
        "name": "tiny",
        "version": "1.0.0",
        "weights": "model.onnx",
        "intended_use": 'Tests of the "runtime" only.',
        "research_only": True,
        "licence": "Apache-2.0",
        "training_data": "None: random weights.",
        "batch": {"size": 8, "wait_ms": 20},
        "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 1, SIDE, SIDE]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["batch", CLASSES]}],
        "preprocessing": {
            "kind": "grayscale",
            "size": [SIDE, SIDE],
            "resize": "letterbox",
            "mean": 0.5,
            "std": 0.25,
            "channels": 1,
        },
        "labels": labels,
        **changes,
    }


def classifier(*, logarithm: bool = False, batch: str | int = "batch", seed: int = 0) -> onnx.ModelProto:
    """Flatten → linear → softmax. With `logarithm`, the logarithm of the inputs first: NaN for negative ones."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(SIDE * SIDE, CLASSES)).astype(np.float32) * 0.2
    nodes = [helper.make_node("Log", ["image"], ["start"])] if logarithm else []
    nodes += [
        helper.make_node("Flatten", ["start" if logarithm else "image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_package(directory: Path, model: onnx.ModelProto | None = None, **changes: Any) -> ModelPackage:
    """Write the model and its description into `directory` and load them."""
    directory.mkdir(parents=True)
    onnx.save(model or classifier(), directory / "model.onnx")
    return write_package(directory, description(**changes))


def images(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`count` random samples of the classifier's input."""
    return np.random.default_rng(seed).random((count, 1, SIDE, SIDE), dtype=np.float32)
