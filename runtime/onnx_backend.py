"""Runs ONNX models with ONNX Runtime, on CUDA if it works here, else on the CPU.

The bytes that run are the bytes whose digest was checked; a graph whose inputs and outputs differ from the package's is
refused when it is loaded.
"""

from pathlib import Path
from typing import Any, Final

import onnxruntime
import structlog

from runtime.errors import BackendFailure, BackendLost, PackageError
from runtime.inference import Array, Device
from runtime.package import DType, ModelPackage, TensorSpec

_log = structlog.get_logger(__name__)

_GPU_DEVICES: Final = Path("/dev/nvidiactl")  # without it, only asking for the provider prints errors
_ERRORS_ONLY: Final = 3
_ELEMENT_TYPES: Final = {
    DType.FLOAT16: "tensor(float16)",
    DType.FLOAT32: "tensor(float)",
    DType.FLOAT64: "tensor(double)",
    DType.INT8: "tensor(int8)",
    DType.UINT8: "tensor(uint8)",
    DType.INT32: "tensor(int32)",
    DType.INT64: "tensor(int64)",
}


class OnnxBackend:
    """One ONNX Runtime session."""

    def __init__(self, package: ModelPackage, *, threads: int, device: Device) -> None:
        """Load the weights; `threads` share one run on the CPU."""
        self._name = package.name
        self._outputs = [spec.name for spec in package.outputs]
        self._session = _open_session(package, threads, device)
        on_gpu = "CUDAExecutionProvider" in self._session.get_providers()
        self._device = Device.CUDA if on_gpu else Device.CPU
        if device is Device.CUDA and not on_gpu:
            raise BackendFailure(f"{package.name}: CUDA is demanded, but ONNX Runtime cannot use it here")
        _check_graph(package, self._session)

    @property
    def device(self) -> Device:
        """Where the session runs."""
        return self._device

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the session. The library's own message is left out: it can quote values."""
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as error:  # noqa: BLE001  # its errors share no base class
            reason = f"{self._name}: ONNX Runtime failed on {self._device} ({type(error).__name__})"
            if self._device is Device.CUDA and _is_device_fault(str(error)):
                raise BackendLost(reason) from None
            raise BackendFailure(reason) from None
        return dict(zip(self._outputs, values, strict=True))


def _is_device_fault(message: str) -> bool:
    """A CUDA error other than a lack of memory leaves the context unusable."""
    text = message.lower()
    return "cuda" in text and "out of memory" not in text and "failed to allocate" not in text


def session_options(threads: int) -> Any:
    """How every session is run. Its threads sleep when they have nothing to do: spinning would gain little on an idle
    machine, and take the cores away from the host's other processes on a busy one.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open_session(package: ModelPackage, threads: int, device: Device) -> Any:
    options = session_options(threads)
    weights = package.read_weights()
    try:
        return onnxruntime.InferenceSession(weights, options, providers=_providers(device))
    except Exception as error:  # noqa: BLE001  # its errors share no base class
        file = package.directory / (package.weights or "")
        raise PackageError(file, "", f"ONNX Runtime cannot load it: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _providers(device: Device) -> list[Any]:
    wanted: list[Any] = ["CPUExecutionProvider"]
    there = _GPU_DEVICES.exists() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device is not Device.CPU and there:
        onnxruntime.preload_dlls()
        # An exhaustive search would run again for every new batch size.
        wanted.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    return wanted


def _check_graph(package: ModelPackage, session: Any) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    unfed = {node.name for node in inputs} - {spec.name for spec in package.inputs}
    if unfed:
        raise PackageError(package.directory, "inputs", f"the graph also needs {sorted(unfed)}")
    for key, specs, nodes in (("inputs", package.inputs, inputs), ("outputs", package.outputs, outputs)):
        found = {node.name: node for node in nodes}
        for position, spec in enumerate(specs):
            where = f"{key}.{position}"
            node = found.get(spec.name)
            if node is None:
                raise PackageError(package.directory, where, f"the graph has no {spec.name!r}, only {sorted(found)}")
            _check_node(package, where, spec, node)


def _check_node(package: ModelPackage, where: str, spec: TensorSpec, node: Any) -> None:
    """Compare type and shape; the graph may leave a dimension open, the package not."""
    if node.type != _ELEMENT_TYPES[spec.dtype]:
        raise PackageError(package.directory, f"{where}.dtype", f"is {spec.dtype}, but the graph has {node.type}")
    batch, *rest = node.shape or [1]
    fixed = isinstance(batch, int) and (batch, package.batch.size) != (1, 1)
    same = len(rest) == len(spec.sample_shape) and all(
        not isinstance(size, int) or size == declared for size, declared in zip(rest, spec.sample_shape, strict=True)
    )
    if fixed or not same:
        raise PackageError(
            package.directory,
            f"{where}.shape",
            f"is {list(spec.shape)}, but the graph has {node.shape} (its first dimension must be open, or 1 with a "
            "batch size of 1)",
        )
