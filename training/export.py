"""Writes a trained network as ONNX with a free batch size, and proves that the file computes what the network does.

The file holds no path, name or date of the machine that made it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from training.errors import ParityError

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
OPSET = 17
TOLERANCE = 1e-4  # of a probability


def write_onnx(network: nn.Module, size: int, path: Path) -> None:
    """Write `network`, (N, 1, `size`, `size`) float32 to (N, classes) float32, to `path`; N is free."""
    network.eval()
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, size, size),),
        str(path),
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,  # the exporter that folds batch normalisation into the convolutions, and needs no onnxscript
    )
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""  # source lines of this machine
    onnx.checker.check_model(model)
    onnx.save(model, path)


def run_onnx(path: Path, images: npt.NDArray[np.float32], batch_size: int = 32) -> npt.NDArray[np.float32]:
    """Run the file on the CPU: probabilities (N, classes) of images (N, 1, size, size)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches = range(0, len(images), batch_size)
    return np.concatenate([session.run([OUTPUT_NAME], {INPUT_NAME: images[b : b + batch_size]})[0] for b in batches])


def check_parity(network: nn.Module, path: Path, images: Tensor) -> float:
    """Return the largest difference of any probability between network and file, one by one and in batches.

    Raises `ParityError` if it exceeds `TOLERANCE`.
    """
    network.eval()
    with torch.inference_mode():
        expected = network(images).numpy()
    single, together = run_onnx(path, images.numpy(), batch_size=1), run_onnx(path, images.numpy())
    difference = float(max(np.abs(single - expected).max(), np.abs(together - expected).max()))
    if difference > TOLERANCE:
        raise ParityError(
            f"the file's answers differ by {difference:.1e} from the network's; {TOLERANCE:.0e} is allowed"
        )
    return difference
