"""Runs TorchScript (`.ts`) and torch.export (`.pt2`) models with PyTorch, on the CPU or on CUDA.

Both are programs. `ModelPackage.read` keeps pickles and native code away from PyTorch; but TorchScript can still do
all that PyTorch can, so take it only from those you trust.

In another precision than that of its file, a model runs under PyTorch's autocast, which keeps float32 where it matters.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import torch

from runtime.backends.graphs import CudaGraphs, gpu_answers, read_back
from runtime.backends.recording import working
from runtime.errors import BackendFailure, BackendLost, OutOfMemory, PackageError, RouteUnavailable
from runtime.inference import Array, Device
from runtime.package import Format, ModelPackage, Place, Precision, Variant

_T = TypeVar("_T")
_AUTOCAST: Final = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}
_GPU: Final = "cuda:0"  # with its number: exported programs compare it with that of their tensors
# TorchScript turns PyTorch's error into a plain one, and some libraries have only a status.
_NO_MEMORY: Final = re.compile(r"out of memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)


class TorchBackend:
    """One model. On CUDA it runs as `CudaGraphs` do."""

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
        self._autocast = _AUTOCAST.get(form.precision) if form.precision is not package.precision else None
        self._graphs: CudaGraphs | None = None
        data = package.read(form.file)
        self._model = self._attempt(lambda: _load(package, form, data, self.device), "to load it")
        self._weights_bytes: int = sum(part.nbytes for part in _tensors_of(self._model))
        if self.device is Device.CUDA:
            most = package.batch.size
            self._graphs = CudaGraphs(self._forward, package.inputs, most, name=package.name, threads=threads)

    @property
    def memory_bytes(self) -> int:
        """The weights, and on CUDA what graphs and runs take beside them."""
        return self._weights_bytes + (self._graphs.memory_bytes if self._graphs else 0)

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """See `runtime.backend.Joining`."""
        if self._graphs:
            return self._graphs.join(parts)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the model. The library's own message is left out: it can quote values."""
        samples = len(next(iter(inputs.values())))
        return self._attempt(lambda: self._run(inputs, samples), f"on {samples} samples")

    def close(self) -> None:
        """Unload the model and give its memory back to the device."""
        self._model = None
        if self._graphs:
            self._graphs.close()

    @torch.inference_mode()
    def _run(self, inputs: dict[str, Array], samples: int) -> dict[str, Array]:
        if self._graphs:
            return self._graphs.run(inputs, lambda given: self._named(given, samples))
        return self._named(self._forward([_from_numpy(inputs[spec.name]) for spec in self._package.inputs]), samples)

    def _forward(self, tensors: list[Any]) -> tuple[Any, ...]:
        assert self._model is not None, "the backend is closed"
        with torch.autocast(self.device.value, dtype=self._autocast, enabled=self._autocast is not None):
            given = self._model(*tensors)
        return _in_order(given, [spec.name for spec in self._package.outputs])

    def _named(self, given: tuple[Any, ...], samples: int) -> dict[str, Array]:
        """The outputs as the package declares them; a mixed precision gives other dtypes than the file does."""
        outputs: dict[str, Array] = {}
        for spec, tensor in zip(self._package.outputs, given, strict=True):
            wanted = getattr(torch, spec.dtype.value)
            if self._autocast is not None and tensor.is_floating_point() and wanted.is_floating_point:
                tensor = tensor.to(wanted)
            found = read_back(tensor, samples)
            # On the CPU it can be a view of an input.
            outputs[spec.name] = found if self.device is Device.CUDA else found.copy()
        return outputs

    def _attempt(self, work: Callable[[], _T], doing: str) -> _T:
        try:
            return work()
        except (BackendFailure, PackageError):
            raise
        except Exception as error:  # noqa: BLE001  # a model is a program and can raise whatever it likes
            failure = self._failure(error, doing)
        # Here, where the error is gone: with it go the frames of what failed, and the memory that they held.
        if isinstance(failure, OutOfMemory) and self._graphs:
            self._graphs.release()
        raise failure

    def _failure(self, error: Exception, doing: str) -> BackendFailure:
        reason = f"{self._package.name}: PyTorch failed on {self.device} {doing} ({type(error).__name__})"
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY.search(str(error)):
            return OutOfMemory(f"{reason}: not enough memory")
        if self.device is Device.CUDA and not gpu_answers():
            return BackendLost(reason)
        return BackendFailure(reason)


def _load(package: ModelPackage, form: Variant, data: bytes, device: Device) -> Any:
    load = _script if form.format is Format.TORCHSCRIPT else _exported
    try:
        if device is Device.CPU:
            return load(data, "cpu")
        with working():
            return load(data, _GPU)
    except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # what a broken file makes of the library cannot be foreseen
        problem = str(error).partition("\n")[0] or type(error).__name__
    raise PackageError(package.directory / form.file, "", f"PyTorch cannot load it: {problem}")


def _script(data: bytes, device: str) -> Any:
    if device != "cpu":
        # Else each size has kernels compiled in its first runs, and others when the next size comes; a graph that is
        # recorded would gain little by them.
        torch.jit.set_fusion_strategy([])
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
