"""While children drain, the service manager hears that the supervisor lives, so that it lets them finish."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.supervision.child import ChildKind
from daemon.supervision.supervisor import Supervisor, _Slot
from tests.waiting import wait_until

_BUSY_CHILD = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
"""Goes on with what it does after SIGTERM, until its standard input ends."""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager that wants to hear from us every 0.2 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


@pytest.fixture
def child(supervisor: Supervisor) -> Iterator[subprocess.Popen[bytes]]:
    """An engine that is still busy when it is told to stop."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        now = time.monotonic()
        supervisor._slots.append(_Slot(ChildKind.ENGINE, 0, process=process, heard_at=now, started_at=now, ready=True))
        yield process
        process.kill()


def test_the_watchdog_is_patted_while_a_child_drains_and_the_child_may_finish(
    manager: socket.socket, supervisor: Supervisor, child: subprocess.Popen[bytes]
):
    draining = threading.Thread(target=supervisor._stop_all)
    draining.start()
    try:
        assert [manager.recv(64) for _ in range(5)] == [b"WATCHDOG=1"] * 5
        assert child.poll() is None, "it is given the time"
    finally:
        assert child.stdin is not None
        child.stdin.close()
        draining.join(20)
    wait_until(lambda: not draining.is_alive(), "the supervisor to see that its child has ended")
    assert child.returncode == 0


def test_a_child_that_never_ends_is_killed_at_the_limit(
    supervisor: Supervisor, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("daemon.supervision.supervisor._DRAIN_SECONDS", 0.2)
    supervisor._stop_all()
    assert child.returncode == -9
