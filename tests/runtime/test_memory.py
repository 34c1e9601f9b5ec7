"""What loaded models may hold of a device, and who goes when another needs room: real models, real sizes."""

from pathlib import Path

import numpy as np
import pytest

from runtime import Device, LaneState, ModelPackage, NoRoute, lanes
from runtime.host import HostSettings, ModelHost
from runtime.memory import default_limits
from tests.runtime.gate import GatedBackend
from tests.runtime.packages import classifier, images, make_package
from tests.waiting import wait_until


@pytest.fixture
def packages(tmp_path: Path) -> list[ModelPackage]:
    names = ("a", "b", "c")
    return [
        make_package(tmp_path / name, classifier(seed=seed), name=name, routes=[{"on": "cpu"}])
        for seed, name in enumerate(names)
    ]


def _size(package: ModelPackage) -> int:
    return (package.directory / "model.onnx").stat().st_size


def _states(host: ModelHost) -> list[LaneState]:
    return [model.lanes[0].state for model in host.health()]


def _ask(host: ModelHost, name: str, seed: int = 1) -> np.ndarray:
    future = host.submit(name, {"image": images(1, seed)}, priority=0, timeout_seconds=30)
    return future.result(30).outputs["probabilities"]


def test_the_model_that_was_not_asked_for_longest_makes_room_and_comes_back_when_it_is_asked(
    packages: list[ModelPackage],
) -> None:
    limit = 2 * max(map(_size, packages))
    host = ModelHost(packages, HostSettings(threads=1, lazy=True, memory_bytes={Device.CPU: limit}))
    try:
        first = _ask(host, "a")
        _ask(host, "b")
        _ask(host, "a")
        _ask(host, "c")
        assert _states(host) == [LaneState.READY, LaneState.UNLOADED, LaneState.READY]
        _ask(host, "b")
        assert _states(host) == [LaneState.UNLOADED, LaneState.READY, LaneState.READY]
        assert np.array_equal(_ask(host, "a"), first)
        (use,) = host.usage().memory
        assert (use.device, use.limit_bytes) == (Device.CPU, limit)
        assert 0 < use.used_bytes <= limit
        assert use.used_bytes == sum(lane.memory_bytes for model in host.health() for lane in model.lanes)
    finally:
        host.close(5)


def test_models_are_loaded_at_the_start_within_the_limit(packages: list[ModelPackage]) -> None:
    limit = 2 * max(map(_size, packages))
    host = ModelHost(packages, HostSettings(threads=1, memory_bytes={Device.CPU: limit}))
    try:
        assert sorted(_states(host)) == [LaneState.READY, LaneState.READY, LaneState.UNLOADED]
        for package in packages:
            _ask(host, package.name)
    finally:
        host.close(5)


def test_a_model_larger_than_the_limit_is_not_loaded_and_says_why(packages: list[ModelPackage]) -> None:
    host = ModelHost(packages, HostSettings(threads=1, lazy=True, memory_bytes={Device.CPU: 10}))
    try:
        with pytest.raises(NoRoute, match="would exceed the 10"):
            _ask(host, "a")
    finally:
        host.close(5)


def test_a_model_with_requests_is_never_unloaded(packages: list[ModelPackage], monkeypatch: pytest.MonkeyPatch) -> None:
    backends: dict[str, GatedBackend] = {}

    def opened(package: ModelPackage, *_: object, **__: object) -> GatedBackend:
        return backends.setdefault(package.name, GatedBackend())

    monkeypatch.setattr(lanes, "open_backend", opened)
    monkeypatch.setattr(lanes, "warm_up", lambda package, _: package.batch.size)
    host = ModelHost(packages, HostSettings(threads=1, lazy=True, memory_bytes={Device.CPU: 1000}))
    try:
        running = host.submit("a", {"image": images(1)}, priority=0, timeout_seconds=30)
        wait_until(lambda: "a" in backends and backends["a"].batches, "it to run")
        with pytest.raises(NoRoute, match="nothing there can be unloaded"):
            _ask(host, "b")
        assert not backends["a"].closed.is_set()
        backends["a"].open()
        assert running.result(30).model == "a"
        again = host.submit("c", {"image": images(1)}, priority=0, timeout_seconds=30)
        wait_until(lambda: "c" in backends, "the idle one to make room")
        assert backends["a"].closed.is_set()
        backends["c"].open()
        again.result(30)
    finally:
        for backend in backends.values():
            backend.open(100)
        host.close(5)


def test_without_a_gpu_nothing_is_limited_and_with_one_four_fifths_of_it() -> None:
    limits = default_limits()
    if Path("/dev/nvidiactl").exists():
        assert limits[Device.CUDA] > 1 << 30
    else:
        assert limits == {}
