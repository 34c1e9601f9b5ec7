"""What every child process does before its own work: die with its parent, log in one form, say that it is alive.

A child is started as ``python -m daemon.supervision.child KIND``; its settings come as JSON on standard input (so
that it runs with exactly what the supervisor validated), its heartbeats leave on the descriptor in
``KOPRU_STATUS_FD``. It must never outlive the supervisor: the kernel kills it when its parent is gone
(PR_SET_PDEATHSIG, prctl(2)).
"""

import contextlib
import ctypes
import importlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from daemon.loading import loading
from daemon.logs import configure_logging
from daemon.settings import Settings, load_handed_down

STATUS_FD: Final = "KOPRU_STATUS_FD"
PARENT: Final = "KOPRU_PARENT_PID"
LISTENER_FD: Final = "KOPRU_LISTENER_FD"
HEARTBEAT_SECONDS: Final = 1.0
READY: Final = b"R"
ALIVE: Final = b"."
_PR_SET_PDEATHSIG: Final = 1


class ChildKind(StrEnum):
    """The kinds of child; the value names the module in `daemon.children` whose `run` is its body."""

    RUNTIME = "runtime"
    ENGINE = "engine"
    RECEIVER = "receiver"
    CONSOLE = "console"


class Child:
    """A child's link to its supervisor: whether to stop, and how to say that it is ready and alive."""

    def __init__(self, status_fd: int | None) -> None:
        self.stop = threading.Event()
        self._status_fd = status_fd
        self._healthy: Callable[[], bool] = lambda: True
        self._is_ready = threading.Event()

    def loading(self, most_seconds: float) -> None:
        """Say that the child is alive although it is not ready, until it is, for at most so long."""
        beats = math.ceil(most_seconds / HEARTBEAT_SECONDS)

        def beat() -> None:
            for _ in range(beats):
                if self._is_ready.wait(HEARTBEAT_SECONDS) or self.stop.is_set():
                    return
                self._say(ALIVE)

        threading.Thread(target=beat, name="loading", daemon=True).start()

    def ready(self, healthy: Callable[[], bool] | None = None) -> None:
        """Say that the child does its work now, and keep saying that it is alive while `healthy` answers true."""
        if healthy is not None:
            self._healthy = healthy
        self._is_ready.set()
        self._say(READY)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self.stop.wait(HEARTBEAT_SECONDS):
            if self._healthy():
                self._say(ALIVE)
        while True:  # draining: still alive
            threading.Event().wait(HEARTBEAT_SECONDS)
            self._say(ALIVE)

    def _say(self, message: bytes) -> None:
        if self._status_fd is not None:
            with contextlib.suppress(BlockingIOError):  # a full pipe: the supervisor will read the earlier beats
                os.write(self._status_fd, message)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the parent ends; exits at once if it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)


def main() -> None:
    """Run the child named on the command line until it is told to stop."""
    die_with_parent(int(os.environ[PARENT]))
    kind = ChildKind(sys.argv[1])
    settings: Settings = load_handed_down(sys.stdin.buffer.read())
    configure_logging(settings.log.level, settings.log.format, process=" ".join(sys.argv[1:]))
    status_fd = int(os.environ[STATUS_FD])
    os.set_blocking(status_fd, False)
    os.set_inheritable(status_fd, False)  # noqa: FBT003 - positional only
    child = Child(status_fd)
    signal.signal(signal.SIGTERM, lambda *_: child.stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to the supervisor, which drains us in order
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with loading():
        body = importlib.import_module(f"daemon.children.{kind}")
    body.run(settings, child)


if __name__ == "__main__":
    main()
