"""A tiny convolutional network as ONNX, TorchScript and torch.export, and packages around them: the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.package import ModelPackage, write_package

CLASSES, MAPS, SIDE = 3, 4, 12
DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64")
TOLERANCE = 1e-5


def weights() -> dict[str, np.ndarray]:
    """The network's weights: kernels, bias and linear layer."""
    random = np.random.default_rng(20)
    return {
        "kernels": random.normal(size=(MAPS, 1, 3, 3)).astype(np.float32),
        "bias": random.normal(size=MAPS).astype(np.float32),
        "linear": (random.normal(size=(CLASSES, MAPS)) * 2).astype(np.float32),
    }


def images(count: int, seed: int = 1) -> np.ndarray:
    """`count` random samples of the network's input."""
    return np.random.default_rng(seed).random((count, 1, SIDE, SIDE), dtype=np.float32)


def answers(image: np.ndarray) -> np.ndarray:
    """What the network must give, by numpy alone."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (3, 3), axis=(2, 3))
    known = weights()
    maps = np.einsum("nchwij,ocij->nohw", windows, known["kernels"]) + known["bias"][:, None, None]
    scores = np.maximum(maps, 0).mean(axis=(2, 3)) @ known["linear"].T
    powers = np.exp(scores)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def description(**changes: Any) -> dict[str, Any]:
    """The keys of `model.toml` but [files]."""
    return {
        "name": "network",
        "version": "1.0.0",
        "weights": "model.onnx",
        "intended_use": "Tests of the backends only.",
        "research_only": True,
        "licence": "Apache-2.0",
        "training_data": "None: random weights.",
        "batch": {"size": 8, "wait_ms": 0.0},
        "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 1, SIDE, SIDE]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["batch", CLASSES]}],
        "check": {"file": "check.npz", "tolerance": TOLERANCE},
        **changes,
    }


def echo_description(**changes: Any) -> dict[str, Any]:
    """A model that gives back one tensor of each dtype."""
    shape = ["batch", 2, 3]
    return description(
        name="echo",
        inputs=[{"name": f"in_{dtype}", "dtype": dtype, "shape": shape} for dtype in DTYPES],
        outputs=[{"name": f"out_{dtype}", "dtype": dtype, "shape": shape} for dtype in DTYPES],
        **changes,
    )


def write_check(folder: Path, count: int = 3, error: float = 0.0) -> None:
    """The check of the network; `error` is added to its answers."""
    given = images(count, seed=7)
    np.savez(folder / "check.npz", **{"input:image": given, "output:probabilities": answers(given) + np.float32(error)})


def onnx_model(batch: str | int = "batch") -> onnx.ModelProto:
    """The network as ONNX."""
    nodes = [
        helper.make_node("Conv", ["image", "kernels", "bias"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["rectified"]),
        helper.make_node("ReduceMean", ["rectified"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["means", "linear"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights().items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def torch_module() -> Any:
    """The network as a PyTorch module."""
    import torch

    known = {name: torch.from_numpy(array) for name, array in weights().items()}

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, MAPS, 3)
            self.linear = torch.nn.Linear(MAPS, CLASSES, bias=False)
            with torch.no_grad():
                self.convolution.weight.copy_(known["kernels"])
                self.convolution.bias.copy_(known["bias"])
                self.linear.weight.copy_(known["linear"])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.linear(self.convolution(image).relu().mean(dim=(2, 3))).softmax(dim=1)

    return Network().eval()


def save(file: Path, module: Any = None, batch: str | int = "batch") -> None:
    """Write the network into `file`, in the format of its suffix."""
    if file.suffix == ".onnx":
        onnx.save(onnx_model(batch), file)
        return
    import torch

    network = module or torch_module()
    if file.suffix == ".ts":
        torch.jit.trace(network, torch.from_numpy(images(2))).save(str(file))
    else:
        sizes = {0: torch.export.Dim("batch", min=1, max=1024)}
        torch.export.save(torch.export.export(network, (torch.from_numpy(images(2)),), dynamic_shapes=(sizes,)), file)


def make_package(directory: Path, weights_file: str = "model.onnx", **changes: Any) -> ModelPackage:
    """The network, its check and its description in `directory`, loaded."""
    directory.mkdir(parents=True)
    save(directory / weights_file)
    write_check(directory)
    return write_package(directory, description(weights=weights_file, **changes))
