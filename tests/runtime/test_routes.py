"""Which route answers: by its rules, by its health, and what becomes of a request whose route fails.

The faults are those of `GatedBackend`, one for each place; what is asked, and how, is real.
"""

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    Device,
    InferenceResult,
    LaneHealth,
    LaneState,
    LocalRuntime,
    ModelPackage,
    NoRoute,
    OutOfMemory,
    Overloaded,
    PackageError,
    RemoteUnavailable,
    RouteUnavailable,
    RuntimeClient,
    breaker,
    lanes,
    serve,
)
from runtime.host import HostSettings, ModelHost
from runtime.inference import Array
from runtime.package import Place, Route
from tests.runtime.gate import GatedBackend
from tests.runtime.packages import SIDE, images, make_package
from tests.waiting import wait_until


class PlacedBackend(GatedBackend):
    """A device of its own, open unless the test shuts it."""

    def __init__(self, device: Device, fault: Any = None) -> None:
        super().__init__(fault)
        self.device = device


class Machine:
    """What `open_backend` finds: a backend for each place, and errors to raise instead of opening it."""

    def __init__(self) -> None:
        self.backends: dict[Place, list[PlacedBackend]] = {place: [] for place in Place}
        self.errors: dict[Place, Exception | None] = {}
        self.opening: dict[Place, threading.Event] = {}
        self.faults: dict[Place, Any] = {}
        self.shut: set[Place] = set()

    def open(self, _package: ModelPackage, route: Route, **_: object) -> PlacedBackend:
        if (event := self.opening.get(route.on)) is not None:
            assert event.wait(30)
        if (error := self.errors.get(route.on)) is not None:
            raise error
        backend = PlacedBackend(lanes.DEVICES[route.on], self.faults.get(route.on))
        if route.on not in self.shut:
            backend.open(100_000)
        self.backends[route.on].append(backend)
        return backend

    def ran(self, place: Place) -> list[float]:
        """The first number of each sample that was run there."""
        return [value for backend in self.backends[place] for batch in backend.batches for value in batch]

    def let_through(self) -> None:
        """Open whatever is shut."""
        for backends in self.backends.values():
            for backend in backends:
                backend.open(100_000)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()
    monkeypatch.setattr(lanes, "open_backend", made.open)
    monkeypatch.setattr(lanes, "warm_up", lambda package, _: package.batch.size)
    monkeypatch.setattr(breaker, "FIRST_SECONDS", 0.2)
    yield made
    made.let_through()


@contextlib.contextmanager
def _host(package: ModelPackage, **settings: Any) -> Iterator[ModelHost]:
    host = ModelHost([package], HostSettings(threads=1, **{"lazy": True, **settings}))
    try:
        yield host
    finally:
        host.close(5)


def _package(folder: Path, *routes: Mapping[str, Any], size: int = 8) -> ModelPackage:
    places = routes or ({"on": "cuda"}, {"on": "cpu"})
    return make_package(folder / "tiny", routes=list(places), batch={"size": size, "wait_ms": 0})


def _ask(
    host: ModelHost, value: float = 1, *, samples: int = 1, priority: int = 10, seconds: float = 30
) -> Future[InferenceResult]:
    image = np.full((samples, 1, SIDE, SIDE), value, np.float32)
    return host.submit("tiny", {"image": image}, priority=priority, timeout_seconds=seconds)


def _lane(host: ModelHost, position: int = 0) -> LaneHealth:
    return host.health()[0].lanes[position]


def _raising(error: Exception) -> Any:
    def fault(_: Array) -> None:
        raise error

    return fault


def test_the_first_route_answers_and_says_so(tmp_path: Path, machine: Machine) -> None:
    with _host(_package(tmp_path)) as host:
        answer = _ask(host).result(30)
        assert answer.device is Device.CUDA
        assert [lane.state for lane in host.health()[0].lanes] == [LaneState.READY, LaneState.UNOPENED]
        assert host.health()[0].device is Device.CUDA
    assert machine.backends[Place.CPU] == []


@pytest.mark.parametrize(
    "error", [OutOfMemory("too little"), RemoteUnavailable("away"), BackendLost("gone")], ids=lambda e: type(e).__name__
)
def test_what_a_route_cannot_answer_the_next_one_does(tmp_path: Path, machine: Machine, error: Exception) -> None:
    machine.faults[Place.CUDA] = _raising(error)
    with _host(_package(tmp_path)) as host:
        answer = _ask(host, 3).result(30)
        assert answer.device is Device.CPU
        assert (answer.outputs["probabilities"] == 3 * SIDE * SIDE).all()
        failed, ready = host.health()[0].lanes
        assert failed.state is (LaneState.LOST if isinstance(error, BackendLost) else LaneState.FAILED)
        assert failed.reason == str(error)
        assert (failed.failures, failed.samples) == (1, 0)
        assert (ready.state, ready.samples, ready.failures) == (LaneState.READY, 1, 0)
        assert sum(ready.latency_counts) == 1
        assert host.lost == isinstance(error, BackendLost)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RouteUnavailable("no such device"), LaneState.UNAVAILABLE),
        (PackageError(Path("check.npz"), "", "differs"), LaneState.FAILED),
        (RemoteUnavailable("away"), LaneState.FAILED),
        (OutOfMemory("too little"), LaneState.FAILED),
        (BackendFailure("refused"), LaneState.FAILED),
        (MemoryError(), LaneState.FAILED),
        (ValueError("strange"), LaneState.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_route_that_cannot_be_opened_is_passed_over(
    tmp_path: Path, machine: Machine, error: Exception, state: LaneState
) -> None:
    machine.errors[Place.CUDA] = error
    with _host(_package(tmp_path)) as host:
        assert _ask(host).result(30).device is Device.CPU
        assert _lane(host).state is state


def test_the_whole_queue_of_a_route_that_fails_goes_to_the_next(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(RemoteUnavailable("away"))
    machine.shut.add(Place.CUDA)
    with _host(_package(tmp_path, size=2)) as host:
        futures = [_ask(host, 0)]
        wait_until(lambda: machine.ran(Place.CUDA), "the first to run")
        futures += [_ask(host, value) for value in range(1, 12)]
        machine.let_through()
        for value, future in enumerate(futures):
            assert (future.result(30).outputs["probabilities"] == value * SIDE * SIDE).all()
    assert machine.ran(Place.CUDA) == [0]


def test_without_any_route_nothing_is_answered_and_the_reasons_are_told(tmp_path: Path, machine: Machine) -> None:
    machine.errors[Place.CUDA] = RouteUnavailable("there is no GPU")
    machine.faults[Place.CPU] = _raising(OutOfMemory("not even one sample fits"))
    with _host(_package(tmp_path)) as host:
        with pytest.raises(NoRoute, match=r"tiny 1.0.0: .*cuda.*there is no GPU.*cpu.*not even one sample fits"):
            _ask(host).result(30)
        with pytest.raises(NoRoute, match="again in"):
            _ask(host)
    assert NoRoute.retryable


def test_a_failure_of_the_input_is_not_tried_elsewhere(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(BackendFailure("the model cannot do this"))
    with _host(_package(tmp_path)) as host:
        with pytest.raises(BackendFailure, match="cannot do this"):
            _ask(host).result(30)
        assert _lane(host).state is LaneState.READY
    assert machine.backends[Place.CPU] == []


def test_a_route_that_failed_is_opened_anew_after_a_while_and_used_again(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(RemoteUnavailable("away"))
    with _host(_package(tmp_path)) as host:
        assert _ask(host).result(30).device is Device.CPU
        del machine.faults[Place.CUDA]
        assert _ask(host).result(30).device is Device.CPU  # its breaker is open
        assert len(machine.backends[Place.CUDA]) == 1
        wait_until(lambda: _ask(host).result(30).device is Device.CUDA, "the first route to be back")
        assert (_lane(host).state, _lane(host).reason) == (LaneState.READY, "")
    assert machine.backends[Place.CUDA][0].closed.is_set()
    assert len(machine.backends[Place.CUDA]) == 2


def test_requests_do_not_wait_for_a_route_that_is_being_tried_again(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(RemoteUnavailable("away"))
    with _host(_package(tmp_path)) as host:
        _ask(host).result(30)
        hangs = machine.opening[Place.CUDA] = threading.Event()
        wait_until(lambda: not _lane(host).retry_seconds, "the breaker to let an attempt through")
        for _ in range(3):
            assert _ask(host, seconds=5).result(5).device is Device.CPU
        assert _lane(host).state is LaneState.OPENING
        hangs.set()


def test_an_only_route_that_is_being_tried_again_is_waited_for(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CPU] = _raising(OutOfMemory("for now"))
    with _host(_package(tmp_path, {"on": "cpu"})) as host:
        with pytest.raises(NoRoute):
            _ask(host).result(30)
        del machine.faults[Place.CPU]
        wait_until(lambda: not _lane(host).retry_seconds, "the breaker to let an attempt through")
        assert _ask(host).result(30).device is Device.CPU


@pytest.mark.parametrize(
    ("rule", "fits", "does_not"),
    [
        ({"max_samples": 4}, {"samples": 4}, {"samples": 5}),
        ({"min_samples": 4}, {"samples": 4}, {"samples": 3}),
        ({"priority_at_most": 5}, {"priority": 5}, {"priority": 6}),
    ],
    ids=lambda rule: next(iter(rule)),
)
def test_a_route_takes_what_its_rules_say(
    tmp_path: Path, machine: Machine, rule: dict[str, int], fits: dict[str, int], does_not: dict[str, int]
) -> None:
    with _host(_package(tmp_path, {"on": "cuda", **rule}, {"on": "cpu"})) as host:
        assert _ask(host, **fits).result(30).device is Device.CUDA
        assert _ask(host, **does_not).result(30).device is Device.CPU


def test_a_request_that_fits_no_rule_is_told_which(tmp_path: Path, machine: Machine) -> None:
    with (
        _host(_package(tmp_path, {"on": "cuda", "max_samples": 2}, {"on": "cpu", "min_samples": 4})) as host,
        pytest.raises(NoRoute, match=r"2 samples at most.*4 samples or more"),
    ):
        _ask(host, samples=3)


def test_a_route_for_rushes_takes_over_when_enough_wait_for_the_one_before(tmp_path: Path, machine: Machine) -> None:
    machine.shut.add(Place.CPU)
    package = _package(
        tmp_path, {"on": "cpu", "max_samples": 2}, {"on": "cuda", "waiting_at_least": 4}, {"on": "tensorrt"}
    )
    with _host(package) as host:
        held = _ask(host, 0)
        wait_until(lambda: machine.ran(Place.CPU), "the first to run")
        waiting = [_ask(host, value, samples=2) for value in (1, 2)]
        assert _lane(host).waiting_samples == 4
        assert _ask(host, 3, samples=3).result(30).device is Device.CUDA
        machine.let_through()
        assert {future.result(30).device for future in (held, *waiting)} == {Device.CPU}
        assert _ask(host, 4, samples=3).result(30).outputs is not None
    assert machine.ran(Place.CUDA) == [3, 3, 3]
    assert machine.ran(Place.TENSORRT) == [4, 4, 4]


def test_a_route_for_rushes_also_takes_what_the_one_before_cannot(tmp_path: Path, machine: Machine) -> None:
    machine.errors[Place.CUDA] = RouteUnavailable("no GPU")
    with _host(_package(tmp_path, {"on": "cuda"}, {"on": "cpu", "waiting_at_least": 4})) as host:
        assert _ask(host).result(30).device is Device.CPU


def test_a_full_queue_sends_to_the_next_route_and_pushes_back_when_all_are_full(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "queue_limit", lambda _: 1)
    machine.shut |= {Place.CUDA, Place.CPU}
    with _host(_package(tmp_path)) as host:
        futures = []
        for place, value in ((Place.CUDA, 0), (Place.CPU, 2)):
            futures.append(_ask(host, value))
            wait_until(lambda place=place: machine.ran(place), "it to run")
            futures.append(_ask(host, value + 1))
        with pytest.raises(Overloaded):
            _ask(host, 4)
        machine.let_through()
        devices = [future.result(30).device for future in futures]
    assert devices == [Device.CUDA, Device.CUDA, Device.CPU, Device.CPU]


def test_the_next_route_gets_what_is_left_of_the_time(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(RemoteUnavailable("away"))
    machine.shut.add(Place.CUDA)
    with _host(_package(tmp_path)) as host:
        future = _ask(host, seconds=0.05)
        wait_until(lambda: machine.ran(Place.CUDA), "it to run")
        wait_until(lambda: _lane(host).running_seconds > 0.1, "its time to be over")
        machine.let_through()
        with pytest.raises(DeadlineExceeded):
            future.result(30)
    assert machine.ran(Place.CPU) == []


def test_what_is_withdrawn_is_not_run_on_the_next_route_either(tmp_path: Path, machine: Machine) -> None:
    machine.faults[Place.CUDA] = _raising(RemoteUnavailable("away"))
    machine.shut |= {Place.CUDA, Place.CPU}
    with _host(_package(tmp_path)) as host:
        first = _ask(host, 1)
        wait_until(lambda: machine.ran(Place.CUDA), "it to run")
        gone = _ask(host, 2)
        assert gone.cancel()
        machine.backends[Place.CUDA][0].open(10)
        wait_until(lambda: machine.ran(Place.CPU), "the first to run on the next")
        late = _ask(host, 3)
        assert late.cancel()
        machine.let_through()
        first.result(30)
    assert machine.ran(Place.CPU) == [1]


def test_a_model_is_loaded_at_the_start_unless_it_may_wait(tmp_path: Path, machine: Machine) -> None:
    package = _package(tmp_path)
    with _host(package, lazy=False) as host:
        assert _lane(host).state is LaneState.READY
    with _host(package, lazy=True) as host:
        assert _lane(host).state is LaneState.UNOPENED


def test_a_wrong_package_is_known_at_the_start_and_when_lazy_with_its_first_request(tmp_path: Path) -> None:
    package = make_package(tmp_path / "wrong", routes=[{"on": "cpu"}], outputs=[_other_output()], labels=[])
    with pytest.raises(PackageError, match="the graph has"):
        ModelHost([package], HostSettings(threads=1))
    with _host(package, lazy=True) as host, pytest.raises(NoRoute, match="the graph has"):
        _ask(host).result(30)


def _other_output() -> dict[str, Any]:
    return {"name": "probabilities", "dtype": "float32", "shape": ["batch", 4]}


def test_what_passes_does_not_keep_a_runtime_from_starting(tmp_path: Path, machine: Machine) -> None:
    machine.errors |= {Place.CUDA: RouteUnavailable("no GPU"), Place.CPU: OutOfMemory("for now")}
    with _host(_package(tmp_path), lazy=False) as host:
        machine.errors.clear()
        wait_until(lambda: not _lane(host, 1).retry_seconds, "the breaker to let an attempt through")
        assert _ask(host).result(30).device is Device.CPU


def test_a_model_that_this_machine_cannot_run_leaves_the_others_theirs(tmp_path: Path, machine: Machine) -> None:
    """In a process of its own, which answers for all; whoever loads one model for itself hears it at once."""
    machine.errors[Place.TENSORRT] = RouteUnavailable("no GPU since the last start")
    other = make_package(tmp_path / "other", name="other", routes=[{"on": "tensorrt"}])
    packages, settings = [other, _package(tmp_path)], HostSettings(threads=1, logs=True)
    host = ModelHost(packages, settings)
    try:
        assert _ask(host).result(30).device is Device.CUDA
        with pytest.raises(NoRoute, match="no GPU since the last start"):
            host.submit("other", {"image": images(1)}, priority=10, timeout_seconds=30)
    finally:
        host.close(5)
    with pytest.raises(RouteUnavailable):
        ModelHost(packages, HostSettings(threads=1))


def test_a_model_without_a_route_to_the_demanded_device_leaves_the_others_theirs(
    tmp_path: Path, machine: Machine
) -> None:
    other = make_package(tmp_path / "other", name="other", routes=[{"on": "cuda"}])
    host = ModelHost([other, _package(tmp_path)], HostSettings(threads=1, device=Device.CPU, logs=True))
    try:
        assert _ask(host).result(30).device is Device.CPU
        with pytest.raises(NoRoute):
            host.submit("other", {"image": images(1)}, priority=10, timeout_seconds=30)
    finally:
        host.close(5)
    with pytest.raises(RouteUnavailable, match="demanded device"):
        ModelHost([other], HostSettings(threads=1, device=Device.CPU))


def test_a_server_that_has_another_model_now_takes_no_others_down(tmp_path: Path, machine: Machine) -> None:
    machine.errors[Place.REMOTE] = PackageError(tmp_path, "outputs", "the server has another model")
    remote = {"url": "http://localhost:1", "model": "m", "tolerance": 0.1}
    away = make_package(tmp_path / "away", name="away", remote=remote, routes=[{"on": "remote"}])
    host = ModelHost([away, _package(tmp_path)], HostSettings(threads=1, logs=True))
    try:
        assert _ask(host).result(30).device is Device.CUDA
        with pytest.raises(NoRoute, match="another model"):
            host.submit("away", {"image": images(1)}, priority=10, timeout_seconds=30).result(30)
    finally:
        host.close(5)
    machine.errors[Place.CUDA] = PackageError(tmp_path, "check", "our own copy answers otherwise")
    with pytest.raises(PackageError, match="our own copy"):
        ModelHost([_package(tmp_path / "wrong")], HostSettings(threads=1, logs=True))


def test_the_sites_own_routes_take_the_place_of_the_packages(tmp_path: Path, machine: Machine) -> None:
    package = _package(tmp_path)
    with _host(package, routes={"tiny": [Route(on=Place.CPU)]}) as host:
        assert _ask(host).result(30).device is Device.CPU
        assert len(host.health()[0].lanes) == 1
    with (
        pytest.raises(PackageError, match=r"routes.0.*no \[remote\]"),
        _host(package, routes={"tiny": [Route(on=Place.REMOTE)]}),
    ):
        pass


def test_a_real_server_that_is_not_there_leaves_the_request_to_the_cpu(tmp_path: Path) -> None:
    package = make_package(
        tmp_path / "tiny",
        remote={"url": "http://localhost:1", "model": "tiny", "tolerance": 0.1},
        routes=[{"on": "remote"}, {"on": "cpu"}],
    )
    with LocalRuntime([package], threads=1) as runtime:
        assert runtime.infer("tiny", {"image": images(1)}, timeout_seconds=30).device is Device.CPU
        away, ready = runtime.health()[0].lanes
    assert away.state in (LaneState.FAILED, LaneState.UNAVAILABLE)  # the latter without the library for servers
    assert ready.state is LaneState.READY


def test_a_lost_device_leaves_its_requests_to_another_and_then_ends_the_process(
    tmp_path: Path, machine: Machine
) -> None:
    machine.faults[Place.CUDA] = _raising(BackendLost("the GPU fell off the bus"))
    package = _package(tmp_path)
    ready, errors = threading.Event(), []

    def run() -> None:
        try:
            serve(
                tmp_path / "socket",
                [package.directory],
                on_ready=ready.set,
                stop=threading.Event(),
                threads=1,
                drain_seconds=30,
            )
        except BackendLost as error:
            errors.append(error)

    process = threading.Thread(target=run)
    process.start()
    assert ready.wait(30)
    with RuntimeClient(tmp_path / "socket") as client:
        answer = client.infer("tiny", {"image": np.ones((1, 1, SIDE, SIDE), np.float32)}, timeout_seconds=30)
    process.join(30)
    assert answer.device is Device.CPU
    assert len(errors) == 1


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_an_answer_is_the_right_one_or_none(tmp_path: Path, machine: Machine, seed: int) -> None:
    dice = random.Random(seed)
    errors = [OutOfMemory("little"), RemoteUnavailable("away"), BackendFailure("bad"), ValueError("strange")]

    def fault(_: Array) -> None:
        if dice.random() < 0.1:
            raise dice.choice(errors)

    machine.faults = dict.fromkeys((Place.CUDA, Place.TENSORRT, Place.CPU), fault)
    package = _package(tmp_path, {"on": "tensorrt"}, {"on": "cuda", "max_samples": 2}, {"on": "cpu"})
    counts = {"answered": 0, "refused": 0}
    with _host(package, cache_bytes=1 << 14) as host, ThreadPoolExecutor(6) as pool:

        def work(number: int) -> None:
            own = random.Random(1000 * seed + number)
            for _ in range(60):
                value, samples = own.randrange(40), own.randrange(1, 4)
                try:
                    outputs = _ask(host, value, samples=samples).result(30).outputs["probabilities"]
                except (BackendFailure, NoRoute):
                    counts["refused"] += 1
                    continue
                assert outputs.shape == (samples, 3)
                assert (outputs == value * SIDE * SIDE).all()
                counts["answered"] += 1

        for done in [pool.submit(work, number) for number in range(6)]:
            done.result(60)
        wait_until(lambda: host.health()[0].waiting_samples == 0, "nothing to wait")
    assert counts["answered"] > 0
