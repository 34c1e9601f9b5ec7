"""How a model runs on CUDA, on a machine without: PyTorch's calls are stood in for, the rest is real.

A recording is stood in for by what the model leaves to be done again on the same tensors, as a graph does it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from runtime.backends import graphs  # noqa: E402  # needs PyTorch
from runtime.backends.recording import Turns  # noqa: E402
from runtime.package import DType, TensorSpec  # noqa: E402

pytestmark = pytest.mark.torch
SPEC = TensorSpec(name="image", dtype=DType.FLOAT32, shape=("batch", 2))


class Device:
    """The calls of `torch.cuda`, and what came of them."""

    def __init__(self) -> None:
        self.present: Any = None
        self.recorded: list[int] = []
        self.replays = 0
        self.refuses = False
        self.lost = False
        self.given_up = 0
        self.emptied = 0

    def forward(self, tensors: list[Any]) -> tuple[Any, ...]:
        """The model: each sample's sum, and the sum of the whole batch for each sample."""
        (image,) = tensors

        def compute() -> tuple[Any, Any]:
            return image.sum(dim=1), image.sum().expand(len(image)).clone()

        outputs = compute()
        if self.present is not None:
            if self.refuses:
                raise RuntimeError("operation not permitted when stream is capturing")
            self.recorded.append(len(image))

            def again() -> None:
                for kept, new in zip(outputs, compute(), strict=True):
                    kept.copy_(new)

            self.present.again = again
        return outputs

    @contextlib.contextmanager
    def graph(self, graph: Any, **_: Any) -> Iterator[None]:
        self.present = graph
        try:
            yield
        finally:
            self.present = None

    def synchronize(self) -> None:
        if self.lost:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def empty_cache(self) -> None:
        self.emptied += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()

    class Graph:
        def replay(self) -> None:
            device.replays += 1
            self.again()  # type: ignore[attr-defined]

    class Stream:
        def synchronize(self) -> None:
            device.synchronize()

    def end(*_: object) -> None:
        device.given_up += 1

    replaced = {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "graph": device.graph,
        "stream": lambda _: contextlib.nullcontext(),
        "graph_pool_handle": lambda: (0, 1),
        "synchronize": device.synchronize,
        "empty_cache": device.empty_cache,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 0,
        "max_memory_allocated": lambda: 1000,
        "memory_reserved": lambda: 500 * len(device.recorded),
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, end, raising=False)
    monkeypatch.setattr(graphs, "_DEVICE", "cpu")
    monkeypatch.setattr(graphs, "_locked", lambda spec, samples: np.full((samples, 2), np.nan, np.float32))
    turns = Turns()
    monkeypatch.setattr(graphs, "working", turns.working)
    monkeypatch.setattr(graphs, "recording", turns.recording)
    return device


def _model(device: Device) -> graphs.CudaGraphs:
    return graphs.CudaGraphs(device.forward, (SPEC,), 8, name="sums", threads=2)


def _given(samples: int, seed: int = 0) -> dict[str, Any]:
    return {"image": np.random.default_rng(seed).random((samples, 2), dtype=np.float32)}


def _run(model: graphs.CudaGraphs, inputs: dict[str, Any]) -> dict[str, Any]:
    samples = len(inputs["image"])

    def read(given: tuple[Any, ...]) -> dict[str, Any]:
        # `clone`: what comes from a GPU is a copy in any case.
        return {name: graphs.read_back(one.clone(), samples) for name, one in zip(("each", "all"), given, strict=True)}

    return model.run(inputs, read)


def test_each_size_is_recorded_once_and_replayed(device: Device) -> None:
    model = _model(device)
    kept: list[tuple[Any, Any]] = []
    for turn, samples in enumerate((8, 3, 1, 4, 8, 2, 5)):
        inputs = _given(samples, seed=turn)
        found = _run(model, inputs)
        assert np.allclose(found["each"], inputs["image"].sum(axis=1))
        # What fills the batch is zero, whatever an earlier run left there.
        assert np.allclose(found["all"], inputs["image"].sum())
        kept.append((found["each"], inputs["image"].sum(axis=1)))
    assert device.recorded == [8, 4, 1, 2]
    assert device.replays == 7
    assert all(np.allclose(answer, expected) for answer, expected in kept)  # no run writes over another's answer
    model.close()


def test_what_was_joined_is_not_copied_again(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(device)
    _run(model, _given(8))
    joined = model.join([_given(2, seed=1), _given(3, seed=2)])
    monkeypatch.setattr(model._staging, "join", None)
    for samples in (5, 3):  # all of it, and its first half
        first = {"image": joined["image"][:samples]}
        assert np.allclose(_run(model, first)["each"], joined["image"][:samples].sum(axis=1))
    model.close()


def test_a_model_that_cannot_be_recorded_runs_as_it_is_and_is_not_tried_again(device: Device) -> None:
    device.refuses = True
    model = _model(device)
    for samples in (8, 3, 8):
        inputs = _given(samples, seed=samples)
        assert np.allclose(_run(model, inputs)["each"], inputs["image"].sum(axis=1))
    assert (device.recorded, device.replays) == ([], 0)
    assert device.given_up == 2  # of one recording: it ends, and its memory is given back
    assert model.memory_bytes == 1000  # the most that a run took
    model.close()


def test_memory_is_what_graphs_keep(device: Device) -> None:
    model = _model(device)
    _run(model, _given(8))
    _run(model, _given(1))
    assert model.memory_bytes == 2 * 500 + (8 + 1) * 2 * 4
    model.close()


def test_nothing_is_asked_of_a_lost_device_when_it_is_closed(device: Device) -> None:
    model = _model(device)
    _run(model, _given(8))
    device.lost, device.emptied = True, 0
    assert not graphs.gpu_answers()
    model.close()
    assert device.emptied == 0


def test_graphs_are_recorded_while_nobody_works(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = []

    @contextlib.contextmanager
    def named(state: str) -> Iterator[None]:
        assert not states  # one within the other would wait for itself
        states.append(state)
        try:
            yield
        finally:
            states.pop()

    monkeypatch.setattr(graphs, "working", lambda: named("working"))
    monkeypatch.setattr(graphs, "recording", lambda: named("recording"))
    forward, seen = device.forward, []

    def watched(tensors: list[Any]) -> tuple[Any, ...]:
        seen.append(states[0] if device.present is None else f"{states[0]} a graph")
        return forward(tensors)

    device.forward = watched  # type: ignore[method-assign]
    model = _model(device)
    _run(model, _given(2))
    assert seen == ["working"] * 3 + ["recording a graph"]
    model.release()
    model.close()
