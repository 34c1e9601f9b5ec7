"""Peers that break the protocol: they lose their connection or hear why, and nobody else notices."""

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import RuntimeClient, wire
from tests.runtime.packages import SIDE, images, make_package
from tests.runtime.process import RuntimeProcess, running
from tests.waiting import wait_until

_SAMPLE_BYTES = SIDE * SIDE * 4
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    folder = tmp_path_factory.mktemp("runtime")
    package = make_package(folder / "tiny")
    with running(folder / "socket", [package.directory], folder / "log.txt") as started:
        yield started
        assert started.popen.poll() is None


@pytest.fixture(autouse=True)
def _all_is_well_afterwards(process: RuntimeProcess) -> Iterator[None]:
    yield
    assert process.popen.poll() is None
    with RuntimeClient(process.socket) as client:
        assert _is_answered(client)
        wait_until(lambda: client.health()[0].waiting_samples == 0, "the queue to be empty")


@contextlib.contextmanager
def _connected(process: RuntimeProcess) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(30)
        connection.connect(str(process.socket))
        yield connection


def _is_answered(client: RuntimeClient) -> bool:
    answer = client.infer("tiny", {"image": images(1)}, timeout_seconds=30)
    return abs(float(answer.outputs["probabilities"].sum()) - 1) < 1e-4


def _memfd(data: bytes = bytes(_SAMPLE_BYTES), seals: int = wire.SEALS) -> int:
    body = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(body, data)
    fcntl.fcntl(body, fcntl.F_ADD_SEALS, seals)
    return body


def _fallocate(memory: int, mode: int, offset: int, size: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.fallocate(memory, mode, ctypes.c_long(offset), ctypes.c_long(size)))


def _infer(**changes: object) -> bytes:
    tensor = {"name": "image", "dtype": "float32", "shape": [1, 1, SIDE, SIDE]}
    request = {"verb": "infer", "model": "tiny", "priority": 10, "timeout_seconds": 30.0, "tensors": [tensor]}
    return json.dumps(request | changes).encode()


def _send(connection: socket.socket, header: bytes, *bodies: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", bodies))] if bodies else []
    connection.sendmsg([header], rights)
    for body in bodies:
        os.close(body)


def _answer(connection: socket.socket) -> dict:
    header, body = wire.receive(connection)
    wire.close(body)
    return json.loads(header) if header else {}


def _is_closed(connection: socket.socket) -> bool:
    try:
        return _answer(connection) == {}
    except ConnectionResetError:
        return True


def test_a_request_written_by_hand_is_answered(process: RuntimeProcess) -> None:
    """So that the others fail for the reason they name."""
    with _connected(process) as connection:
        _send(connection, _infer(), _memfd())
        assert _answer(connection)["status"] == "result"


def test_a_small_body_can_stand_in_the_message(process: RuntimeProcess) -> None:
    with _connected(process) as connection:
        _send(connection, _infer() + b"\0" + bytes(_SAMPLE_BYTES))
        assert _answer(connection)["status"] == "result"


@settings(max_examples=150, deadline=None)
@given(
    header=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(str.encode),
        st.dictionaries(
            st.sampled_from(["verb", "model", "priority", "timeout_seconds", "tensors"]),
            st.one_of(
                st.none(),
                st.integers(),
                st.floats(),
                st.sampled_from(["infer", "models", "health", "tiny"]),
                st.lists(
                    st.dictionaries(st.sampled_from(["name", "dtype", "shape"]), st.text() | st.lists(st.integers()))
                ),
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    with_body=st.booleans(),
)
def test_any_bytes_get_an_answer_or_the_door(process: RuntimeProcess, header: bytes, with_body: bool) -> None:
    with _connected(process) as connection:
        _send(connection, header, *([_memfd()] if with_body else []))
        answer = _answer(connection)
        assert answer.get("status") in (None, "error", "document")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 60_000,
        b'{"verb":' * 7_000,
        b"x" * 65_536,
        _infer(priority=1 << 70),
        _infer(timeout_seconds="soon"),
        _infer(version="1" * 65),
        _infer(version=1),
        b'{"verb": "load"}',
        b'{"verb": "load", "directory": "/", "admission": null}',
        json.dumps({"verb": "load", "directory": "/" * 5000}).encode(),
        _infer(tensors=[{"name": "image", "dtype": "float32", "shape": [-1]}]),
        _infer(tensors=[{"name": "image", "dtype": "object", "shape": [1]}]),
        _infer(tensors=[{"name": f"t{i}", "dtype": "int8", "shape": [1]} for i in range(1000)]),
        _infer(tensors=[{"name": "image", "dtype": "float32", "shape": [0, 1 << 40, 1 << 40]}]),
        b'{"verb": "infer", "verb": "models", "model": "\\ud800"}',
    ],
)
def test_headers_that_are_no_request_are_said_to_be_none(process: RuntimeProcess, header: bytes) -> None:
    with _connected(process) as connection:
        _send(connection, header, _memfd())
        assert _answer(connection)["error"] == "InvalidInput"
        assert _is_closed(connection)


@pytest.mark.parametrize("directory", ["", "/", "/dev", "/proc/self/fd", "/nonexistent", "\0", "/tmp/\0", "é" * 300])
def test_folders_that_are_no_packages_are_refused(process: RuntimeProcess, directory: str) -> None:
    with _connected(process) as connection:
        _send(connection, json.dumps({"verb": "load", "directory": directory}).encode())
        assert _answer(connection)["error"] in ("PackageError", "RuntimeUnavailable")


def test_a_message_that_is_too_long_closes_the_connection(process: RuntimeProcess) -> None:
    with _connected(process) as connection:
        _send(connection, _infer() + b" " * 100_000, _memfd())
        assert _is_closed(connection)


@pytest.mark.parametrize("count", [2, 4, 30])
def test_more_than_one_descriptor_closes_the_connection(process: RuntimeProcess, count: int) -> None:
    before = len(os.listdir(f"/proc/{process.popen.pid}/fd"))
    with _connected(process) as connection:
        _send(connection, _infer(), *(_memfd() for _ in range(count)))
        assert _is_closed(connection)
    assert len(os.listdir(f"/proc/{process.popen.pid}/fd")) <= before + 1


def test_a_request_without_a_body_is_refused(process: RuntimeProcess) -> None:
    with _connected(process) as connection:
        _send(connection, _infer())
        assert "no body" in _answer(connection)["message"]


@pytest.mark.parametrize("size", [0, 1, _SAMPLE_BYTES - 1])
def test_a_body_that_is_smaller_than_declared_is_refused(process: RuntimeProcess, size: int) -> None:
    with _connected(process) as connection:
        _send(connection, _infer(), _memfd(bytes(size)))
        assert "smaller" in _answer(connection)["message"]


@pytest.mark.parametrize("size", [0, 1, _SAMPLE_BYTES - 1])
def test_a_body_in_the_message_that_is_smaller_than_declared_is_refused(process: RuntimeProcess, size: int) -> None:
    with _connected(process) as connection:
        _send(connection, _infer() + b"\0" + bytes(size))
        assert "smaller" in _answer(connection)["message"]


def test_a_message_with_two_kinds_of_body_closes_the_connection(process: RuntimeProcess) -> None:
    before = len(os.listdir(f"/proc/{process.popen.pid}/fd"))
    with _connected(process) as connection:
        _send(connection, _infer() + b"\0" + bytes(_SAMPLE_BYTES), _memfd())
        assert _is_closed(connection)
    assert len(os.listdir(f"/proc/{process.popen.pid}/fd")) <= before + 1


def test_a_body_that_has_held_more_can_be_used_again(process: RuntimeProcess) -> None:
    with _connected(process) as connection:
        _send(connection, _infer(), _memfd(bytes(4 * _SAMPLE_BYTES)))
        assert _answer(connection)["status"] == "result"


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL, 0x10])
def test_a_body_that_could_change_beneath_its_reader_is_refused(process: RuntimeProcess, missing: int) -> None:
    with _connected(process) as connection:
        _send(connection, _infer(), _memfd(seals=wire.SEALS & ~missing))
        assert "not sealed" in _answer(connection)["message"]


def test_what_is_no_memory_is_refused_without_reading_it(process: RuntimeProcess, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(_SAMPLE_BYTES))
    os.mkfifo(tmp_path / "fifo")
    reader, writer = os.pipe()
    os.close(writer)
    opened = [os.open(file, os.O_RDONLY), os.open(tmp_path / "fifo", os.O_RDWR), os.open("/dev/zero", os.O_RDONLY)]
    for body in [*opened, os.open(tmp_path, os.O_RDONLY), reader, os.eventfd(0)]:
        with _connected(process) as connection:
            _send(connection, _infer(), body)
            message = _answer(connection)["message"]
            assert "no memfd" in message or "not sealed" in message


def test_a_huge_shape_takes_no_memory(process: RuntimeProcess) -> None:
    sparse = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(sparse, 1 << 40)
    fcntl.fcntl(sparse, fcntl.F_ADD_SEALS, wire.SEALS)
    tensor = {"name": "image", "dtype": "float32", "shape": [1 << 32, 1, SIDE, SIDE]}
    with _connected(process) as connection:
        _send(connection, _infer(tensors=[tensor]), sparse)
        answer = _answer(connection)
    assert answer["error"] == "InvalidInput"
    assert "not all of its memory" in answer["message"]
    with _connected(process) as connection:
        _send(connection, _infer(tensors=[tensor]), _memfd())
        assert "smaller" in _answer(connection)["message"]


@pytest.mark.parametrize("beyond", [0, 1 << 20])
def test_memory_with_a_hole_in_it_is_refused(process: RuntimeProcess, beyond: int) -> None:
    """Reading one takes a page, and where there is none the reader is killed. Pages beyond the end fill no hole."""
    sparse = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(sparse, 1 << 20)
    os.write(sparse, bytes(_SAMPLE_BYTES))
    if beyond:
        assert _fallocate(sparse, _KEEP_SIZE, 1 << 20, beyond) == 0
    fcntl.fcntl(sparse, fcntl.F_ADD_SEALS, wire.SEALS)
    with _connected(process) as connection:
        _send(connection, _infer(), sparse)
        assert "not all of its memory" in _answer(connection)["message"]


def test_a_client_that_changes_its_memory_in_the_meantime_is_only_answered_wrongly(process: RuntimeProcess) -> None:
    """It is the client's until the answer is there: numbers that turn into none end nothing."""
    memory = wire.Memory(_SAMPLE_BYTES)
    stop = threading.Event()

    def spoil() -> None:
        while not stop.is_set():
            memory.write_bytes(b"\xff" * _SAMPLE_BYTES)
            memory.write_bytes(bytes(_SAMPLE_BYTES))

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    with _connected(process) as connection:
        for _ in range(300):
            _send(connection, _infer(), os.dup(memory.fd))
            answer = _answer(connection)
            assert answer["status"] == "result" or answer["error"] in ("InvalidInput", "BackendFailure")
    stop.set()
    spoiler.join()
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory.fd, fcntl.F_ADD_SEALS, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)
    memory.close()


def test_memory_that_was_sent_can_lose_no_page() -> None:
    memory = wire.Memory(1 << 16)
    assert _fallocate(memory.fd, _KEEP_SIZE | _PUNCH_HOLE, 0, 1 << 16) == -1
    assert ctypes.get_errno() == errno.EPERM
    memory.close()


def test_the_same_memory_is_mapped_once_for_all_requests_of_a_connection(process: RuntimeProcess) -> None:
    def maps() -> int:
        return Path(f"/proc/{process.popen.pid}/maps").read_text().count("memfd:")

    before = maps()
    with _connected(process) as connection:
        for _ in range(20):
            kept = _memfd()
            _send(connection, _infer(), os.dup(kept))
            assert _answer(connection)["status"] == "result"
            _send(connection, _infer(), kept)
            assert _answer(connection)["status"] == "result"
        assert maps() == before + 1
    wait_until(lambda: maps() == before, "the memory of a client that has gone to be let go")


def test_two_tensors_of_one_name_are_refused(process: RuntimeProcess) -> None:
    tensor = {"name": "image", "dtype": "float32", "shape": [1, 1, SIDE, SIDE]}
    with _connected(process) as connection:
        _send(connection, _infer(tensors=[tensor, tensor]), _memfd(bytes(2 * _SAMPLE_BYTES)))
        assert "two tensors have one name" in _answer(connection)["message"]


def test_a_second_request_before_the_first_answer_gets_the_whole_connection_closed_or_both_answers(
    process: RuntimeProcess,
) -> None:
    """Whether the first has been answered when the second is read is a matter of time; the answers are never mixed."""
    other = np.ones((1, 1, SIDE, SIDE), np.float32)
    with _connected(process) as connection:
        _send(connection, _infer(), _memfd())
        with contextlib.suppress(OSError):
            _send(connection, _infer(), _memfd(other.tobytes()))
        answers = []
        with contextlib.suppress(OSError):
            while answer := _answer(connection):
                answers.append(answer["status"])
                if len(answers) == 2:
                    break
        assert answers in ([], ["result"], ["result", "result"])


def test_clients_that_go_away_at_once_cost_nothing(process: RuntimeProcess) -> None:
    for _ in range(100):
        with _connected(process) as connection:
            _send(connection, _infer(), _memfd())
    for _ in range(100):
        with _connected(process):
            pass


def test_a_client_that_reads_nothing_loses_its_connection_only(process: RuntimeProcess) -> None:
    with _connected(process) as connection:
        connection.settimeout(10)
        with contextlib.suppress(OSError):
            for _ in range(2000):
                _send(connection, b'{"verb": "health"}')
        with RuntimeClient(process.socket) as client:
            assert _is_answered(client)


def test_a_stream_socket_is_not_let_in(process: RuntimeProcess) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, pytest.raises(OSError):
        connection.connect(str(process.socket))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_another_account_is_turned_away_even_where_it_can_reach_the_socket(process: RuntimeProcess) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        reachable = Path(folder) / "socket"
        os.link(process.socket, reachable)
        Path(folder).chmod(0o755)
        process.socket.chmod(0o666)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                    connection.settimeout(10)
                    connection.connect(str(reachable))
                    with contextlib.suppress(BrokenPipeError):
                        connection.send(b'{"verb": "health"}')
                    os._exit(0 if _is_closed(connection) else 1)
            finally:
                os._exit(2)
        status = os.waitpid(child, 0)[1]
        process.socket.chmod(0o600)
        assert status == 0
