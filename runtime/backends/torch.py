"""Runs TorchScript (`.ts`) and torch.export (`.pt2`) models with PyTorch, on the CPU or on CUDA.

Both are programs. `ModelPackage.read` keeps pickles and native code away from PyTorch; but TorchScript can still do
all that PyTorch can, so take it only from those you trust.

In another precision than that of its file, a model runs under PyTorch's autocast, which keeps float32 where it matters.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
import torch

from runtime.backends.batches import filled, fitting, run_sizes
from runtime.errors import BackendFailure, BackendLost, OutOfMemory, PackageError, RouteUnavailable
from runtime.inference import Array, Device
from runtime.package import Format, ModelPackage, Place, Precision, Variant

_log = structlog.get_logger(__name__)

_WARM_UP_RUNS: Final = 3  # what PyTorch asks for before a capture
_AUTOCAST: Final = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


class TorchBackend:
    """One model. On CUDA each batch size is captured once as a CUDA graph, if the model allows it."""

    def __init__(self, package: ModelPackage, form: Variant, place: Place, *, threads: int) -> None:
        """Load the file of `form`; `threads` share one run on the CPU, of all PyTorch models of this process."""
        if place is Place.CUDA and not torch.cuda.is_available():
            raise RouteUnavailable(f"{package.name}: {place} is demanded, but PyTorch cannot use it here")
        self._package = package
        self.device = Device.CUDA if place is Place.CUDA else Device.CPU
        self.precision = form.precision
        self.tolerance = form.tolerance
        torch.set_num_threads(threads)
        if self.device is Device.CUDA:  # with TF32, float32 would be no float32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        data = package.read(form.file)
        with self._failures_said("to load it"):
            self._model = _load(package, form, data, self.device)
        self._weights_bytes: int = sum(part.nbytes for part in _tensors_of(self._model))
        self._working_bytes: int = 0
        self._sizes = run_sizes(package.batch.size)
        self._captured: dict[int, _Captured | None] = {}
        self._autocast = _AUTOCAST.get(form.precision) if form.precision is not package.precision else None

    @property
    def memory_bytes(self) -> int:
        """The weights, and on CUDA the most that a run took beside them."""
        return self._weights_bytes + self._working_bytes

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the model. The library's own message is left out: it can quote values."""
        samples = len(next(iter(inputs.values())))
        with self._failures_said(f"on {samples} samples"), torch.inference_mode():
            if self.device is Device.CPU:
                given = self._forward([_from_numpy(inputs[spec.name]) for spec in self._package.inputs])
                return self._named(given, samples)
            size = fitting(self._sizes, samples)
            return self._on_gpu({name: filled(array, size) for name, array in inputs.items()}, size, samples)

    def close(self) -> None:
        """Unload the model and give its memory back to the device."""
        self._captured.clear()
        self._model = None
        if self.device is Device.CUDA:
            torch.cuda.empty_cache()

    def _forward(self, tensors: list[Any]) -> tuple[Any, ...]:
        assert self._model is not None, "the backend is closed"
        with torch.autocast(self.device.value, dtype=self._autocast, enabled=self._autocast is not None):
            given = self._model(*tensors)
        return _in_order(given, [spec.name for spec in self._package.outputs])

    def _on_gpu(self, inputs: Mapping[str, Array], size: int, samples: int) -> dict[str, Array]:
        tensors = [_from_numpy(inputs[spec.name]) for spec in self._package.inputs]
        if size not in self._captured:
            self._captured[size] = self._capture(tensors, size)
        captured = self._captured[size]
        if captured is None:
            return self._named(self._forward([tensor.to("cuda") for tensor in tensors]), samples)
        for kept, tensor in zip(captured.inputs, tensors, strict=True):
            kept.copy_(tensor)
        captured.graph.replay()
        return self._named(captured.outputs, samples)

    def _capture(self, tensors: list[Any], size: int) -> "_Captured | None":
        """Run the model on tensors that stay, and record it; None if it cannot be recorded: then it runs as it is."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        inputs = [tensor.to("cuda") for tensor in tensors]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call,unused-ignore]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                self._forward(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self._working_bytes = max(self._working_bytes, torch.cuda.max_memory_allocated() - before)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs = self._forward(inputs)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            _log.info("cuda_graph_not_captured", model=self._package.name, size=size, reason=type(error).__name__)
            return None
        return _Captured(graph, inputs, outputs)

    def _named(self, given: tuple[Any, ...], samples: int) -> dict[str, Array]:
        """The outputs as the package declares them; a mixed precision gives other dtypes than the file does."""
        outputs: dict[str, Array] = {}
        for spec, tensor in zip(self._package.outputs, given, strict=True):
            wanted = getattr(torch, spec.dtype.value)
            if self._autocast is not None and tensor.is_floating_point() and wanted.is_floating_point:
                tensor = tensor.to(wanted)
            # A copy: on the GPU the next run writes over it, on the CPU it can be a view of an input.
            outputs[spec.name] = np.array(tensor[:samples].cpu().numpy(), order="C")
        return outputs

    @contextlib.contextmanager
    def _failures_said(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (BackendFailure, PackageError):
            raise
        except Exception as error:  # noqa: BLE001  # a model is a program and can raise whatever it likes
            raise self._failure(error, doing) from None

    def _failure(self, error: Exception, doing: str) -> BackendFailure:
        reason = f"{self._package.name}: PyTorch failed on {self.device} {doing} ({type(error).__name__})"
        message = str(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in message:
            self._captured_released()
            return OutOfMemory(f"{reason}: not enough memory")
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in message:
            return BackendLost(reason)
        return BackendFailure(reason)

    def _captured_released(self) -> None:
        if self.device is Device.CUDA:
            self._captured.clear()
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: Any
    inputs: list[Any]
    outputs: tuple[Any, ...]


def _load(package: ModelPackage, form: Variant, data: bytes, device: Device) -> Any:
    file = package.directory / form.file
    try:
        return (_script if form.format is Format.TORCHSCRIPT else _exported)(data, device.value)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # noqa: BLE001  # what a broken file makes of the library cannot be foreseen
        problem = str(error).partition("\n")[0] or type(error).__name__
        raise PackageError(file, "", f"PyTorch cannot load it: {problem}") from None


def _script(data: bytes, device: str) -> Any:
    return torch.jit.load(io.BytesIO(data), map_location=device).eval()  # type: ignore[no-untyped-call,unused-ignore]


def _exported(data: bytes, device: str) -> Any:
    program = torch.export.load(io.BytesIO(data))
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def _tensors_of(model: Any) -> Iterator[Any]:
    yield from model.parameters()
    yield from model.buffers()


def _from_numpy(array: Array) -> Any:
    """A tensor over the same memory, or over a copy where that cannot be written to; models may not write to it."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _in_order(given: Any, names: list[str]) -> tuple[Any, ...]:
    """A tensor, a sequence in the declared order, or a dictionary by name."""
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise BackendFailure(f"the model gave no output {missing[0]!r}, only {sorted(map(str, given))}")
        return tuple(given[name] for name in names)
    everything = tuple(given) if isinstance(given, tuple | list) else (given,)
    if len(everything) < len(names):
        raise BackendFailure(f"the model gave {len(everything)} outputs, not {len(names)}")
    return everything[: len(names)]
