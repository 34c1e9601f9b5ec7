"""The runtime as its clients meet it: another process, many threads, stops, kills and restarts."""

import contextlib
import gc
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from runtime import (
    BackendLost,
    DeadlineExceeded,
    InferenceResult,
    InvalidInput,
    LocalRuntime,
    ModelNotFound,
    ModelPackage,
    PackageError,
    RuntimeClient,
    RuntimeFailure,
    RuntimeUnavailable,
    lanes,
    serve,
    wire,
)
from runtime.host import HostSettings, ModelHost
from runtime.package import Admission
from runtime.server import _Server
from tests.runtime.gate import GatedBackend
from tests.runtime.packages import classifier, images, make_package
from tests.runtime.process import RuntimeProcess, running
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def package(folder: Path) -> ModelPackage:
    return make_package(folder / "tiny")


@pytest.fixture(scope="module")
def process(folder: Path, package: ModelPackage) -> Iterator[RuntimeProcess]:
    other = make_package(folder / "log", classifier(logarithm=True), name="log")
    with running(folder / "socket", [package.directory, other.directory], folder / "log.txt") as started:
        yield started


@pytest.fixture
def client(process: RuntimeProcess) -> Iterator[RuntimeClient]:
    with RuntimeClient(process.socket) as connected:
        yield connected


def _ask(client: RuntimeClient, image: np.ndarray | None = None) -> np.ndarray:
    inputs = {"image": images(1) if image is None else image}
    return client.infer("tiny", inputs, timeout_seconds=30).outputs["probabilities"]


@pytest.mark.parametrize("most_inline", [-1, wire.MAX_INLINE_BYTES], ids=["in a memfd", "in the message"])
def test_client_and_local_runtime_give_the_same_answers(
    client: RuntimeClient, package: ModelPackage, most_inline: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_INLINE_BYTES", most_inline)
    with LocalRuntime([package], threads=1) as local:
        for samples in (1, 2, 8):
            here = local.infer("tiny", {"image": images(samples)}, timeout_seconds=30)
            there = client.infer("tiny", {"image": images(samples)}, timeout_seconds=30)
            assert np.array_equal(here.outputs["probabilities"], there.outputs["probabilities"])
            assert here.weights_sha256 == there.weights_sha256
            assert (there.model, there.version, there.batch_size) == ("tiny", "1.0.0", samples)
            (many,) = client.infer_many([("tiny", None)], {"image": images(samples)}, timeout_seconds=30)
            assert isinstance(many, InferenceResult)
            assert np.array_equal(here.outputs["probabilities"], many.outputs["probabilities"])
        assert client.models()[1] == local.models()[0]


def test_many_clients_share_batches_and_each_gets_its_own_answer(client: RuntimeClient, package: ModelPackage) -> None:
    threads, rounds = 8, 25
    pictures = images(threads)
    with LocalRuntime([package], threads=1) as local:
        expected = local.infer("tiny", {"image": pictures}, timeout_seconds=30).outputs["probabilities"]
    barrier = threading.Barrier(threads)

    def work(number: int) -> list[int]:
        sizes = []
        for _ in range(rounds):
            barrier.wait(30)
            answer = client.infer("tiny", {"image": pictures[number : number + 1]}, timeout_seconds=30)
            assert np.allclose(answer.outputs["probabilities"][0], expected[number], atol=1e-5)
            sizes.append(answer.batch_size)
        return sizes

    with ThreadPoolExecutor(threads) as pool:
        sizes = [size for one in pool.map(work, range(threads)) for size in one]
    assert max(sizes) >= threads // 2
    assert np.mean(sizes) > 2


def test_answers_that_are_kept_hold_no_files(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone may keep thousands, and a process may have a thousand files."""
    monkeypatch.setattr(wire, "MAX_INLINE_BYTES", -1)
    server = InThread(tmp_path / "socket", package)
    with server.client as client:
        kept = [_ask(client, images(1, seed)) for seed in range(2)]
        before = len(os.listdir("/proc/self/fd"))
        kept += [_ask(client, images(1, seed)) for seed in range(20)]
        # The server is in this process, too, and may be a moment behind.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the files of the answers to be closed")
        assert not any(answer.flags.writeable for answer in kept)
    server.stop.set()
    server.join()


def test_errors_cross_the_socket_as_themselves(client: RuntimeClient) -> None:
    with pytest.raises(ModelNotFound, match="loaded: log, tiny"):
        client.infer("other", {"image": images(1)}, timeout_seconds=30)
    with pytest.raises(InvalidInput, match="must be float32"):
        client.infer("tiny", {"image": images(1).astype(np.int32)}, timeout_seconds=30)
    with pytest.raises(InvalidInput, match="not finite"):
        client.infer("tiny", {"image": images(1) * np.nan}, timeout_seconds=30)
    with pytest.raises(RuntimeFailure, match="not finite"):
        client.infer("log", {"image": -images(1)}, timeout_seconds=30)
    with pytest.raises(InvalidInput, match="beyond what can be sent"):
        client.infer("m" * 65, {"image": images(1)}, timeout_seconds=30)
    with pytest.raises(InvalidInput, match="beyond what can be sent"):
        client.infer("tiny", {"image": images(1)}, priority=1 << 40, timeout_seconds=30)
    with pytest.raises(InvalidInput, match="beyond what can be sent"):
        client.infer("\udcff", {"image": images(1)}, timeout_seconds=30)
    with pytest.raises(PackageError, match="cannot be sent"):
        client.load(Path("/\udcff"))
    assert client.infer("tiny", {"image": images(1)}, timeout_seconds=np.float64(30)).model == "tiny"
    with pytest.raises(DeadlineExceeded):
        client.infer("tiny", {"image": images(1)}, timeout_seconds=float("nan"))
    assert _ask(client).shape == (1, 3)


def test_health_lists_the_models(client: RuntimeClient) -> None:
    assert [(model.model, model.device, model.waiting_samples) for model in client.health()] == [
        ("log", "cpu", 0),
        ("tiny", "cpu", 0),
    ]


def test_another_version_is_loaded_while_it_runs_and_made_the_default_when_it_is_said(
    tmp_path: Path, package: ModelPackage
) -> None:
    later = make_package(tmp_path / "later", classifier(seed=4), version="2.0.0")
    path = tmp_path / "socket"
    with running(path, [package.directory], tmp_path / "log.txt"), RuntimeClient(path) as client:
        before = client.infer("tiny", {"image": images(1)}, timeout_seconds=30)
        with pytest.raises(ModelNotFound, match=r"'2.0.0'.*loaded: 1.0.0"):
            client.infer("tiny", {"image": images(1)}, version="2.0.0", timeout_seconds=30)
        assert client.load(later.directory) == later.description
        assert client.infer("tiny", {"image": images(1)}, timeout_seconds=30).version == "1.0.0"
        after = client.infer("tiny", {"image": images(1)}, version="2.0.0", timeout_seconds=30)
        assert after.weights_sha256 == later.weights_sha256 != before.weights_sha256
        client.load(later.directory, default=True)
        assert client.infer("tiny", {"image": images(1)}, timeout_seconds=30).version == "2.0.0"
        assert [model.version for model in client.models()] == ["2.0.0", "1.0.0"]
        assert [(each.version, each.default) for each in client.health()] == [("2.0.0", True), ("1.0.0", False)]
        both = client.infer_many([("tiny", "1.0.0"), ("tiny", "2.0.0")], {"image": images(1)}, timeout_seconds=30)
        assert [each.version for each in both if isinstance(each, InferenceResult)] == ["1.0.0", "2.0.0"]


def test_a_package_that_cannot_be_loaded_is_told_and_leaves_the_others_alone(
    tmp_path: Path, process: RuntimeProcess, client: RuntimeClient
) -> None:
    wrong = make_package(tmp_path / "wrong", name="wrong")
    (wrong.directory / "model.onnx").write_bytes(b"something else")
    with pytest.raises(PackageError, match="was changed") as caught:
        client.load(wrong.directory)
    assert (caught.value.file, caught.value.key) == (wrong.directory / "model.toml", "files.model.onnx")
    with pytest.raises(PackageError, match="is not there"):
        client.load(tmp_path / "nothing")
    other = make_package(tmp_path / "other", classifier(seed=5))
    with pytest.raises(PackageError, match=r"another package is called 'tiny' 1\.0\.0"):
        client.load(other.directory)
    assert [model.name for model in client.models()] == ["log", "tiny"]


def test_an_answer_tells_where_and_how_it_was_made(client: RuntimeClient) -> None:
    answer = client.infer("tiny", {"image": images(1)}, timeout_seconds=30)
    assert (answer.device, answer.precision, answer.cached) == ("cpu", "float32", False)


def test_what_the_models_use_is_told(client: RuntimeClient) -> None:
    _ask(client)
    usage = client.usage()
    assert [(each.device, each.limit_bytes) for each in usage.memory if each.used_bytes] == [("cpu", None)]
    tiny = client.health()[1].lanes[-1]
    assert (tiny.on, tiny.state, tiny.batch_size) == ("cpu", "ready", 8)
    assert 0 < tiny.batches <= tiny.samples
    assert sum(tiny.latency_counts) > 0


def test_the_socket_belongs_to_its_account_alone(process: RuntimeProcess) -> None:
    assert stat.S_IMODE(process.socket.stat().st_mode) == 0o600


def test_a_runtime_that_answers_nothing_is_a_deadline_exceeded(process: RuntimeProcess, client: RuntimeClient) -> None:
    process.popen.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded):
            client.infer("tiny", {"image": images(1)}, timeout_seconds=0.2)
    finally:
        process.popen.send_signal(signal.SIGCONT)
    assert _ask(client).shape == (1, 3)


def test_nothing_stays_open_after_many_requests(process: RuntimeProcess, client: RuntimeClient) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{process.popen.pid}/fd"))

    _ask(client)
    before = descriptors(), len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        _ask(client)
        with pytest.raises(InvalidInput):
            _ask(client, images(9))
    _ask(client)  # after an error the memory of a request is not used again
    wait_until(lambda: descriptors() <= before[0], "the runtime's descriptors to be closed")
    assert len(os.listdir("/proc/self/fd")) == before[1]


def test_a_forked_client_does_not_use_its_parents_connections(client: RuntimeClient) -> None:
    def connection() -> int:
        (idle,) = client._links._idle
        return os.fstat(idle._socket.fileno()).st_ino

    expected = _ask(client)
    parents = connection()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if np.array_equal(_ask(client), expected) and connection() != parents else 1)
        finally:
            os._exit(2)
    assert np.array_equal(_ask(client), expected)
    assert connection() == parents
    assert os.waitpid(child, 0)[1] == 0


def test_no_daemon_is_runtime_unavailable(tmp_path: Path) -> None:
    client = RuntimeClient(tmp_path / "nothing")
    with pytest.raises(RuntimeUnavailable, match="is the daemon running"):
        client.models()
    assert RuntimeUnavailable.retryable


def test_a_killed_runtime_is_unavailable_until_it_is_started_again(tmp_path: Path, package: ModelPackage) -> None:
    path, log = tmp_path / "socket", tmp_path / "log.txt"
    with RuntimeClient(path) as client:
        with running(path, [package.directory], log) as first:
            expected = _ask(client)
            first.popen.send_signal(signal.SIGSTOP)
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(_ask, client)
                wait_until(lambda: not client._links._idle, "the request to be on its way")
                first.kill()
                with pytest.raises(RuntimeUnavailable):
                    asked.result(30)
            with pytest.raises(RuntimeUnavailable):
                _ask(client)
        with running(path, [package.directory], log):
            assert np.array_equal(_ask(client), expected)


def test_a_restart_between_two_requests_goes_unnoticed(tmp_path: Path, package: ModelPackage) -> None:
    path, log = tmp_path / "socket", tmp_path / "log.txt"
    with RuntimeClient(path) as client:
        with running(path, [package.directory], log) as first:
            expected = _ask(client)
            assert first.stop() == 0
        with running(path, [package.directory], log):
            assert np.array_equal(_ask(client), expected)


def test_a_second_runtime_does_not_take_the_socket(process: RuntimeProcess, package: ModelPackage) -> None:
    with pytest.raises(RuntimeUnavailable, match="stop that one first"):
        serve(process.socket, [package.directory], on_ready=lambda: None, stop=threading.Event(), threads=1)
    assert process.socket.exists()


def test_something_else_of_that_name_is_left_alone(tmp_path: Path, package: ModelPackage) -> None:
    path = tmp_path / "socket"
    path.write_text("a file of somebody's")
    with pytest.raises(OSError, match="in use"):
        serve(path, [package.directory], on_ready=lambda: None, stop=threading.Event(), threads=1)
    assert path.read_text() == "a file of somebody's"


def test_a_tampered_package_is_not_served(tmp_path: Path) -> None:
    package = make_package(tmp_path / "tiny")
    (package.directory / "model.onnx").write_bytes(b"something else")
    with pytest.raises(PackageError, match="was changed"):
        serve(tmp_path / "socket", [package.directory], on_ready=lambda: None, stop=threading.Event(), threads=1)
    assert not (tmp_path / "socket").exists()


class InThread:
    """A server in a thread of this process, over a gated backend."""

    def __init__(self, path: Path, *packages: ModelPackage, **settings: float) -> None:
        self.client = RuntimeClient(path)
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, args=(path, packages, settings))
        ready = self._ready = threading.Event()
        self._thread.start()
        assert ready.wait(30)

    def _serve(self, path: Path, packages: Sequence[ModelPackage], settings: dict[str, Any]) -> None:
        directories = [package.directory for package in packages]
        try:
            serve(path, directories, on_ready=self._ready.set, stop=self.stop, **settings)
        except RuntimeFailure as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedBackend]:
    backend = GatedBackend()
    monkeypatch.setattr(lanes, "open_backend", lambda *_, **__: backend)
    monkeypatch.setattr(lanes, "warm_up", lambda package, _: package.batch.size)
    yield backend
    backend.open(1000)


def test_stopping_finishes_what_runs_and_takes_nothing_new(
    tmp_path: Path, package: ModelPackage, gate: GatedBackend
) -> None:
    server = InThread(tmp_path / "socket", package, drain_seconds=30)
    with ThreadPoolExecutor(2) as pool:
        running_one = pool.submit(_ask, server.client)
        assert gate.entered.acquire(timeout=30)
        waiting_one = pool.submit(_ask, server.client)
        wait_until(lambda: RuntimeClient(tmp_path / "socket").health()[0].waiting_samples == 1, "a request to wait")
        server.stop.set()
        wait_until(lambda: not (tmp_path / "socket").exists(), "the socket to be gone")
        with pytest.raises(RuntimeUnavailable):
            RuntimeClient(tmp_path / "socket").models()
        gate.open(2)
        assert running_one.result(30).shape == (1, 3)
        assert waiting_one.result(30).shape == (1, 3)
    server.join()
    assert server.error is None


def test_stopping_does_not_wait_for_a_model_that_hangs(
    tmp_path: Path, package: ModelPackage, gate: GatedBackend
) -> None:
    server = InThread(tmp_path / "socket", package, drain_seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_ask, server.client)
        assert gate.entered.acquire(timeout=30)
        server.stop.set()
        with pytest.raises(RuntimeUnavailable):
            asked.result(30)
    server.join()


def test_all_who_wait_are_let_in_at_once(tmp_path: Path) -> None:
    """One in each round would keep a late one waiting for all the requests of all the rounds before."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(tmp_path / "socket"))
        listener.listen(50)
        listener.settimeout(0)
        for _ in range(30):
            waiting = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            waiting.connect(str(tmp_path / "socket"))
        server = _Server(listener, ModelHost([], HostSettings(threads=1)), Admission())
        server._accept()
        assert len(server._connections) == 30
        server.drain(0)


def test_what_a_client_that_went_away_asked_is_not_run(
    tmp_path: Path, package: ModelPackage, gate: GatedBackend
) -> None:
    server = InThread(tmp_path / "socket", package, drain_seconds=30)
    with ThreadPoolExecutor(1) as pool:
        running_one = pool.submit(_ask, server.client, np.ones_like(images(1)))
        assert gate.entered.acquire(timeout=30)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as hasty:
            hasty.connect(str(tmp_path / "socket"))
            tensors = {"image": images(1)}
            request = wire.InferRequest(
                model="tiny", priority=0, timeout_seconds=60.0, tensors=wire.tensor_headers(tensors)
            )
            wire.send(hasty, wire.request_header(request), wire.packed(request.tensors, tensors))
            wait_until(lambda: server.client.health()[0].waiting_samples == 1, "the request to wait")
        server.client.health()  # answered after the end of that connection was noticed
        patient = pool.submit(_ask, server.client, np.zeros_like(images(1)))
        gate.open(10)
        running_one.result(30)
        patient.result(30)
    assert gate.batches == [[1.0], [0.0]]
    server.stop.set()
    server.join()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_what_a_client_that_went_away_asked_holds_none_of_its_memory(
    tmp_path: Path, package: ModelPackage, gate: GatedBackend, cache_bytes: int
) -> None:
    """Neither in the queue, where its place stays until its turn comes, nor, if it runs already, afterwards."""

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("/memfd:tensors")

    def go_away(seed: int) -> None:
        tensors = {"image": images(1, seed)}
        headers = wire.tensor_headers(tensors)
        memory = wire.Memory(wire.size_of(headers))
        memory.write(headers, tensors)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as hasty:
            hasty.connect(str(tmp_path / "socket"))
            request = wire.InferRequest("tiny", priority=0, timeout_seconds=60.0, tensors=headers)
            wire.send(hasty, wire.request_header(request), memory)
            memory.close()
            wait_until(
                lambda: gate.entered.acquire(blocking=False) or server.client.health()[0].waiting_samples == 1,
                "the request to run or wait",
            )

    before = mapped()
    server = InThread(tmp_path / "socket", package, cache_bytes=cache_bytes)
    gc.disable()  # sooner or later it would find them
    try:
        for seed in range(2):  # one runs, the other waits
            go_away(seed)
        wait_until(lambda: mapped() <= before + 1, "the memory of the one that waits to be let go")
        gate.open(2)
        wait_until(lambda: mapped() == before, "the memory of the one that ran to be let go")
    finally:
        gc.enable()
    server.stop.set()
    server.join()


def test_what_a_client_changes_while_it_waits_makes_nobody_elses_answer(
    tmp_path: Path, package: ModelPackage, gate: GatedBackend
) -> None:
    """The name under which an answer is kept is made of the numbers that run."""
    asked = np.ones_like(images(1))
    tensors = {"image": asked}
    request = wire.InferRequest("tiny", priority=0, timeout_seconds=60.0, tensors=wire.tensor_headers(tensors))
    memory = wire.Memory(asked.nbytes)
    memory.write(request.tensors, tensors)
    server = InThread(tmp_path / "socket", package, cache_bytes=1 << 20)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as changeable:
        changeable.connect(str(tmp_path / "socket"))
        wire.send(changeable, wire.request_header(request), memory)
        assert gate.entered.acquire(timeout=30)
        memory.write_bytes(bytes(asked.nbytes))
        gate.open(2)
        changeable.settimeout(30)
        wire.close(wire.receive(changeable)[1])
    memory.close()
    assert (_ask(server.client, asked) == asked.sum()).all()
    server.stop.set()
    server.join()


def test_one_round_lets_in_no_more_than_can_wait(tmp_path: Path) -> None:
    """Else those who come and go would keep the others from being served."""

    class Endless:
        taken = 0

        def accept(self) -> tuple[socket.socket, None]:
            assert self.taken < 5000
            self.taken += 1
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            other.close()
            return one, None

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        server = _Server(listener, ModelHost([], HostSettings(threads=1)), Admission())
        server._listener = Endless()
        server._most = 10
        server._accept()
        server.drain(0)


def test_a_package_whose_name_is_no_text_is_refused_in_words(
    tmp_path: Path, client: RuntimeClient, process: RuntimeProcess
) -> None:
    directory = make_package(tmp_path / "odd", name="odd").directory
    (directory / "\udcff").touch()
    with pytest.raises(PackageError):
        client.load(directory, timeout_seconds=10)


def test_a_lost_device_ends_the_process_so_that_a_new_one_can_start(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_: np.ndarray) -> None:
        raise BackendLost("the device is gone")

    backend = GatedBackend(lose)
    backend.open(10)
    monkeypatch.setattr(lanes, "open_backend", lambda *_, **__: backend)
    monkeypatch.setattr(lanes, "warm_up", lambda package, _: package.batch.size)
    server = InThread(tmp_path / "socket", package, drain_seconds=30)
    with pytest.raises(RuntimeFailure) as caught:
        _ask(server.client)
    assert caught.value.retryable
    server.join()
    assert isinstance(server.error, BackendLost)


def test_a_run_that_hangs_ends_the_process_and_others_get_their_answers(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_package(tmp_path / "other", name="other")
    gates = {package.name: GatedBackend(), other.name: GatedBackend()}
    monkeypatch.setattr(lanes, "open_backend", lambda opened, *_, **__: gates[opened.name])
    monkeypatch.setattr(lanes, "warm_up", lambda opened, _: opened.batch.size)
    with capture_logs() as logs, ThreadPoolExecutor(2) as pool:
        server = InThread(tmp_path / "socket", package, other, run_limit_seconds=1.0, drain_seconds=1.0)
        hanging = pool.submit(_ask, server.client)
        assert gates[package.name].entered.acquire(timeout=30)
        slow = pool.submit(server.client.infer, "other", {"image": images(1)}, timeout_seconds=30)
        assert gates[other.name].entered.acquire(timeout=30)
        wait_until(lambda: not (tmp_path / "socket").exists(), "the process to take nothing new")
        gates[other.name].open()
        assert slow.result(30).outputs["probabilities"].shape == (1, 3)
        with pytest.raises(RuntimeUnavailable):
            hanging.result(30)
        server.join()
        gates[package.name].open()
    assert isinstance(server.error, BackendLost)
    assert "tiny 1.0.0: " in str(server.error)
    assert any(entry["event"] == "run_hangs" and entry["lane"].startswith("tiny 1.0.0: ") for entry in logs)
