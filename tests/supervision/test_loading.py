"""A child that loads for long is neither killed nor given up by the service manager; one that says nothing is."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.supervision import child as child_module
from daemon.supervision.child import ALIVE, READY, Child, ChildKind
from daemon.supervision.supervisor import Supervisor, _Slot


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "HEARTBEAT_SECONDS", 0.01)


def _says_something(reading: int, seconds: float) -> bool:
    return bool(select.select([reading], [], [], seconds)[0])


def test_a_child_that_loads_says_that_it_is_alive_until_it_is_ready(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    child = Child(writing)
    child.loading(most_seconds=60)
    assert os.read(reading, 1) == ALIVE
    assert os.read(reading, 1) == ALIVE
    child.ready(lambda: False)  # and says nothing more of itself
    said = b""
    while _says_something(reading, 0.5):
        said += os.read(reading, 100)
    assert said.endswith((READY, READY + ALIVE)), "what loads no more says so no more"


def test_a_child_that_loads_for_too_long_falls_silent(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    child = Child(writing)
    child.loading(most_seconds=0.045)
    said = b""
    while _says_something(reading, 0.5):
        said += os.read(reading, 100)
    assert said == ALIVE * 5


def test_the_service_manager_waits_for_a_child_that_is_loading(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        started = time.monotonic()
        slot = _Slot(ChildKind.RUNTIME, 0, process=process, heard_at=started, started_at=started)
        supervisor._slots.append(slot)

        supervisor._ask_for_time()
        with pytest.raises(BlockingIOError):
            manager.recv(64)
        slot.heard_at = started + 1
        supervisor._ask_for_time()
        assert manager.recv(64) == b"EXTEND_TIMEOUT_USEC=60000000"
        supervisor._ask_for_time()
        with pytest.raises(BlockingIOError):  # it was asked a moment ago
            manager.recv(64)
        process.communicate()
