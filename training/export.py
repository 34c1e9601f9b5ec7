"""Writes a trained network as ONNX with a free batch size, and proves that the file computes what the network does.

Beside it the same model in half precision and in 8-bit integers (static quantisation, calibrated on training images),
each measured against it. The files hold no path, name or date of the machine that made them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from training.errors import ParityError
from training.network import Calibrated

INPUT_NAME = "image"
OUTPUT_NAMES = ("probabilities", "heatmap", "embedding")
OPSET = 17
TOLERANCE = 1e-4  # of a probability or a place of the heatmap
_EMBEDDING_TOLERANCE = 1e-3

Greys = npt.NDArray[np.uint16]
Answers = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a file costs: its size, and the median time of one image on so many threads of this machine's CPU."""

    megabytes: float
    milliseconds: float


def write_onnx(network: Calibrated, size: int, path: Path) -> None:
    """Write `network`, which takes (N, 1, `size`, `size`) uint16, to `path`; N is free."""
    network.eval()
    written = BytesIO()  # to a full disk torch would write with an error that does not say so
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, size, size, dtype=torch.int32),),
        written,  # type: ignore[arg-type]  # this exporter takes it
        input_names=[INPUT_NAME],
        output_names=list(OUTPUT_NAMES),
        dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, *OUTPUT_NAMES)},
        opset_version=OPSET,
        dynamo=False,  # the exporter that folds batch normalisation into the convolutions, and needs no onnxscript
    )
    model = onnx.load_from_string(written.getvalue())
    # The exporter knows no uint16. What takes the input is a cast, which does not mind.
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT16
    for node in model.graph.node:
        node.doc_string = ""  # source lines of this machine
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_float16(source: Path, path: Path) -> None:
    """Write the model of `source` in half precision. Inputs and outputs stay as they are."""
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)  # type: ignore[no-untyped-call]
    onnx.save(model, path)


def write_int8(source: Path, path: Path, calibration: Greys, operators: Sequence[str]) -> None:
    """Write the model of `source` with these operators in 8-bit integers, scaled for each channel of the weights.

    `calibration` are training images: the ranges of the activations are taken from them. All else stays float32, and so
    does the layer that gives the embedding: the limits of the gate hold for this file too.
    """
    model = onnx.load(source)
    heat = _producer(model, "heatmap")
    quantize_static(
        source,
        path,
        _Calibration(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(operators),
        nodes_to_exclude=[*_convolutions_behind(model, heat), _producer(model, "embedding").name],
    )


def run_onnx(path: Path, images: Greys, batch_size: int = 32) -> Answers:
    """Run the file on the CPU: all outputs, by name, of greys (N, 1, size, size)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches = range(0, len(images), batch_size)
    parts = [session.run(list(OUTPUT_NAMES), {INPUT_NAME: images[b : b + batch_size]}) for b in batches]
    return {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(OUTPUT_NAMES)}


def difference(one: Answers, other: Answers) -> dict[str, float]:
    """The largest absolute difference of each output."""
    return {name: float(np.abs(one[name] - other[name]).max()) for name in one}


def check_parity(network: Calibrated, path: Path, images: Tensor) -> float:
    """Return the largest difference of any probability between network and file, one by one and in batches.

    Raises `ParityError` if it exceeds `TOLERANCE`, or another output differs by more than rounding.
    """
    network.eval()
    with torch.inference_mode():
        expected = dict(zip(OUTPUT_NAMES, (value.numpy() for value in network(images)), strict=True))
    alone = difference(run_onnx(path, images.numpy(), batch_size=1), expected)
    together = difference(run_onnx(path, images.numpy()), expected)
    worst = {name: max(alone[name], together[name]) for name in OUTPUT_NAMES}
    for name, value in worst.items():
        allowed = _EMBEDDING_TOLERANCE if name == "embedding" else TOLERANCE * (10 if name == "heatmap" else 1)
        if not value <= allowed:
            raise ParityError(f"the file's {name} differ by {value:.1e} from the network's; {allowed:.0e} is allowed")
    return worst["probabilities"]


def cost(path: Path, size: int, threads: int, runs: int = 30) -> Cost:
    """Measure the file, here and now: what else the machine does is in the figure."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 1 << 16, (1, 1, size, size), dtype=np.uint16)
    times = []
    for _ in range(runs + 3):
        started = time.perf_counter()
        session.run(list(OUTPUT_NAMES), {INPUT_NAME: image})
        times.append(time.perf_counter() - started)
    return Cost(path.stat().st_size / 1e6, 1000 * float(np.median(times[3:])))


class _Calibration(CalibrationDataReader):
    """Hands the calibration images over one by one."""

    def __init__(self, images: Greys) -> None:
        self._images = iter(images[:, np.newaxis])

    def get_next(self) -> Any:
        """The next image, None after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image}


def _producer(model: Any, output: str) -> Any:
    return next(node for node in model.graph.node if output in node.output)


def _convolutions_behind(model: Any, node: Any) -> list[str]:
    """The names of the last convolutions before `node`: of the heatmap, the one that weighs the feature map."""
    found, waiting = [], [node]
    while waiting:
        for name in waiting.pop().input:
            source = next((one for one in model.graph.node if name in one.output), None)
            if source is not None and source.op_type == "Conv":
                found.append(source.name)
            elif source is not None:
                waiting.append(source)
    return found
