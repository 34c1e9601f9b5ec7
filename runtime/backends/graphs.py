"""Runs a PyTorch model on CUDA: each batch size is recorded once as a CUDA graph, if the model allows it, and replayed.

A run copies its samples out of memory that stays (`Staging`, locked, so that the device reads it at full speed), runs,
and reads its answers; each copy is waited for, so nothing is written over that is still read. All of it happens on a
stream of its own.
"""

import contextlib
import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import structlog
import torch

from runtime.backends.batches import Staging, fitting, run_sizes
from runtime.backends.recording import recording, working
from runtime.inference import Array
from runtime.package import TensorSpec

_log = structlog.get_logger(__name__)

_WARM_UP_RUNS: Final = 3  # what PyTorch asks for before a recording
_DEVICE: Final = "cuda:0"  # with its number: programs compare it with that of their tensors, which have one
_given_up: list[Any] = []


class CudaGraphs:
    """One model, as `forward`, on the first GPU. Used by one thread."""

    def __init__(
        self,
        forward: Callable[[list[Any]], tuple[Any, ...]],
        inputs: Sequence[TensorSpec],
        most_samples: int,
        *,
        name: str,
        threads: int,
    ) -> None:
        """Nothing is recorded yet. `threads` share the copying of a batch."""
        self._forward = forward
        self._specs = inputs
        self._name = name
        self._sizes = run_sizes(most_samples)
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call,unused-ignore]
        self._staging = Staging(inputs, self._sizes, _locked, threads=threads)
        self._prepared: dict[int, _Prepared] = {}
        self._records = True
        self._recorded_bytes = self._most_bytes = 0

    @property
    def memory_bytes(self) -> int:
        """What recorded graphs keep, and the most that a run took that is not recorded."""
        return self._recorded_bytes + self._most_bytes

    def join(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """One batch of these inputs, where the next run takes it from."""
        return self._staging.join(parts)

    def run(self, inputs: Mapping[str, Array], read: Callable[[tuple[Any, ...]], dict[str, Array]]) -> dict[str, Array]:
        """Run, and return what `read` copies of the outputs. It may get more samples than there are inputs."""
        staged = inputs if self._staging.holds(inputs) else self._staging.join([inputs])
        samples = len(next(iter(staged.values())))
        prepared = self._for(fitting(self._sizes, samples))
        with working(), torch.cuda.stream(self._stream):
            for spec, tensor in zip(self._specs, prepared.inputs, strict=True):
                tensor[:samples].copy_(torch.from_numpy(staged[spec.name]))
                tensor[samples:].zero_()
            if prepared.graph is None:
                return read(self._forward(prepared.inputs))
            prepared.graph.replay()
            return read(prepared.outputs)

    def release(self) -> None:
        """Give the device what no graph and no run needs."""
        with working():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Let go of everything."""
        self._staging.close()
        prepared, self._prepared = self._prepared, {}
        if not gpu_answers():
            # Not even when the interpreter ends: the end of a graph on a lost device is an abort of the process.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(prepared))
            return
        with working():
            prepared.clear()
            torch.cuda.empty_cache()

    def _for(self, size: int) -> "_Prepared":
        """What is kept for a size: its inputs, warmed up, and its graph if it can be recorded."""
        if size in self._prepared:
            return self._prepared[size]
        with working(), torch.cuda.stream(self._stream):
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            inputs = [_zeros(spec, size) for spec in self._specs]
            for _ in range(_WARM_UP_RUNS):
                self._forward(inputs)
            self._stream.synchronize()
            taken = torch.cuda.max_memory_allocated() - before
        recorded = self._record(inputs, size) if self._records else None
        if recorded is None:
            self._records = False  # what one size cannot, none can
            self._most_bytes = max(self._most_bytes, taken)
        self._prepared[size] = recorded or _Prepared(inputs)
        return self._prepared[size]

    def _record(self, inputs: list[Any], size: int) -> "_Prepared | None":
        """The model recorded on `inputs`; None if it cannot be, as one that reads a number back."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call,unused-ignore]
        with recording(), torch.cuda.stream(self._stream):
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved()
            try:
                with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                    outputs = self._forward(inputs)
            except RuntimeError as error:
                reason = type(error).__name__
            else:
                self._recorded_bytes += torch.cuda.memory_reserved() - before + sum(each.nbytes for each in inputs)
                return _Prepared(inputs, graph, outputs)
            _give_up(graph, pool)
        _log.info("cuda_graph_not_recorded", model=self._name, size=size, reason=reason)
        return None


def gpu_answers() -> bool:
    """Whether the device can still be used by this process: a fault stays, whoever asks next hears of it."""
    with working():
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Prepared:
    inputs: list[Any]
    graph: Any | None = None
    outputs: tuple[Any, ...] = ()


def _give_up(graph: Any, pool: Any) -> None:
    """PyTorch forgets to tell its memory of the end of a recording that failed: from then on nothing would be given
    back. It also asks the graph's object at each later recording, so that stays.
    """
    _given_up.append(graph)
    with contextlib.suppress(RuntimeError):  # it had come as far as that
        torch._C._cuda_endAllocateToPool(0, pool)
        torch._C._cuda_releasePool(0, pool)


def _locked(spec: TensorSpec, samples: int) -> Array:
    """Memory that the device can read while the processor goes on."""
    with working():
        tensor = torch.empty((samples, *spec.sample_shape), dtype=getattr(torch, spec.dtype.value), pin_memory=True)
    array: Array = tensor.numpy()
    return array


def _zeros(spec: TensorSpec, samples: int) -> Any:
    return torch.zeros((samples, *spec.sample_shape), dtype=getattr(torch, spec.dtype.value), device=_DEVICE)


def read_back(tensor: Any, samples: int) -> Array:
    """Its first samples, copied to the host once all that was asked of the stream is done."""
    array: Array = np.ascontiguousarray(tensor[:samples].cpu().numpy())
    return array
