"""The bundled chest radiograph network as a PyTorch program, made out of its ONNX file: the same weights, and the same
`[check]`, so that a runtime that serves it has proven that it answers alike.
"""

import io
import shutil
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

import training
from runtime import ModelPackage, write_package
from training.config import read_config
from training.network import Calibrated
from training.texture import TextureNetwork

_FILE = "model.pt2"


def write_chest_program(package: ModelPackage, folder: Path, batch: int) -> ModelPackage:
    """A package in `folder`, which is made, that runs batches of `batch` with PyTorch."""
    folder.mkdir()
    (folder / _FILE).write_bytes(_program(package))
    assert package.check is not None
    shutil.copy(package.directory / package.check.file, folder)
    left_out = {"files", "gate", "reference", "variants", "routes", "remote"}
    description = package.description.model_dump(mode="json", exclude=left_out, exclude_none=True)
    name = f"{package.name}.pytorch"
    return write_package(
        folder, {**description, "name": name, "weights": _FILE, "batch": {"size": batch, "wait_ms": 5.0}}
    )


def _program(package: ModelPackage) -> bytes:
    graph = onnx.load_from_string(package.read_weights()).graph
    known = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    config = read_config(Path(training.__file__).with_name("chest_xray.toml"))
    size = package.inputs[0].sample_shape[-1]
    network = Calibrated(TextureNetwork(config.texture, len(package.labels), size), 1.0).eval()
    # The exporter keeps the names, but turns the one matrix that has no bias and calls it by a number.
    (turned,) = (tensor for name, tensor in known.items() if name.startswith("onnx::MatMul"))
    state = network.state_dict()
    given = {name: known[name] for name in state if name in known}
    network.load_state_dict({**state, **given, "network.projection.linear.weight": turned.T.contiguous()})
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    spec = package.inputs[0]
    example = torch.zeros((2, *spec.sample_shape), dtype=getattr(torch, spec.dtype.value))
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=(batch,))
    made = io.BytesIO()
    torch.export.save(program, made)
    return made.getvalue()
