"""`kopru serve`: starts the children, restarts one that dies, tells systemd, drains, reloads. Does no other work
itself.

One thread, one loop: child status pipes, signals and timers. Children are started by `exec`, never by a bare fork, so
none inherits a thread's or a GPU's state. A second daemon on the same data folder is refused by a lock. Order of
stopping: receivers (so that nothing new is acknowledged), then the engine, then runtime and console.
"""

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from daemon.settings import Settings, SettingsError, hand_down
from daemon.supervision.child import LISTENER_FD, PARENT, READY, STATUS_FD, ChildKind
from daemon.supervision.chronicle import Chronicle
from daemon.supervision.notify import inherited_sockets, notify, watchdog_interval_seconds

_SILENT_SECONDS: Final = 30.0  # a child that says nothing for this long is stuck
_STARTING_SECONDS: Final = 120.0  # … or, before it was ready, for this long
_MORE_SECONDS: Final = 60.0  # what is asked of systemd for a child that is loading
_DRAIN_SECONDS: Final = 30.0
_LONGEST_BACKOFF_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0  # a child that lived this long starts again at once
_STOPPING_ORDER: Final = ((ChildKind.RECEIVER,), (ChildKind.ENGINE,), (ChildKind.RUNTIME, ChildKind.CONSOLE))
_log = structlog.get_logger(__name__)


class AlreadyRunning(Exception):
    """Another daemon works on the same data folder."""


@dataclass
class _Slot:
    """One child's place: which kind, its process if it runs, and when it may start again."""

    kind: ChildKind
    index: int
    process: subprocess.Popen[bytes] | None = None
    status_fd: int | None = None
    ready: bool = False
    started_at: float = 0.0
    heard_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.index}" if self.kind is ChildKind.RECEIVER else str(self.kind)


@dataclass
class Supervisor:
    """Runs until SIGTERM or SIGINT. `reload` gives fresh settings on SIGHUP, or raises `SettingsError`.

    `on_ready` is called once, when all children work; `chronicle` is told what the audit log is to hold.
    """

    settings: Settings
    reload: Callable[[], Settings]
    on_ready: Callable[["Supervisor"], None] | None = None
    chronicle: Chronicle | None = None
    _slots: list[_Slot] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _announced: bool = False
    _asks_at: float = 0.0
    _stopping: bool = False
    _listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """The TCP port that the receivers listen on."""
        if self._listener is None:
            raise RuntimeError("the supervisor has not bound its socket yet")
        return int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Work until told to stop. Raises `AlreadyRunning` or `OSError` (address in use) before any child starts."""
        with _only_one(self.settings.node.data), self._signals() as wake_fd:
            self._listener = _listening_socket(self.settings)
            if self.chronicle:
                self.chronicle.open()
            self._selector.register(wake_fd, selectors.EVENT_READ)
            self._slots = [_Slot(ChildKind.RUNTIME, 0), _Slot(ChildKind.ENGINE, 0), _Slot(ChildKind.CONSOLE, 0)]
            self._slots += [_Slot(ChildKind.RECEIVER, i) for i in range(self.settings.dicom.receivers)]
            try:
                while not self._stopping:
                    self._turn()
            finally:
                notify("STOPPING=1")
                self._stop_all()
                self._listener.close()
                if self.chronicle:
                    self.chronicle.close()

    def request_stop(self) -> None:
        """Ask the loop to end; children are drained in order."""
        self._stopping = True

    # --- one turn of the loop ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for slot in self._slots:
            if slot.process is None and time.monotonic() >= slot.start_at:
                self._start(slot)
        for key, _ in self._selector.select(timeout=0.25):
            if isinstance(key.data, _Slot):
                self._hear(key.data)
            else:
                self._on_signals(os.read(key.fd, 64))
        for slot in self._slots:
            self._check(slot)
        if all(slot.ready for slot in self._slots):
            self._announce()
        else:
            self._ask_for_time()
        self._pat_watchdog()

    def _start(self, slot: _Slot) -> None:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        listener = [self._listener.fileno()] if slot.kind is ChildKind.RECEIVER and self._listener else []
        environment = os.environ | {PARENT: str(os.getpid()), STATUS_FD: str(theirs)}
        for inherited in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"):
            environment.pop(inherited, None)
        if listener:
            environment[LISTENER_FD] = str(listener[0])
        slot.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon.supervision.child", str(slot.kind), str(slot.index)],
            stdin=subprocess.PIPE,
            pass_fds=[theirs, *listener],
            env=environment,
        )
        os.close(theirs)
        stdin = slot.process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(hand_down(self.settings))
        slot.status_fd, slot.ready = ours, False
        slot.started_at = slot.heard_at = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, slot)
        _log.info("child_started", child=slot.name, pid=slot.process.pid)

    def _hear(self, slot: _Slot) -> None:
        if slot.status_fd is None:
            return
        heard = os.read(slot.status_fd, 4096)
        if not heard:  # the child closed its end: it is going
            self._selector.unregister(slot.status_fd)
            os.close(slot.status_fd)
            slot.status_fd = None
            return
        slot.heard_at = time.monotonic()
        if READY in heard and not slot.ready:
            slot.ready = True
            _log.info("child_ready", child=slot.name)
            if slot.kind is ChildKind.RUNTIME and self.chronicle:
                self.chronicle.runtime_ready()

    def _check(self, slot: _Slot) -> None:
        """Reap a child that ended, kill one that is stuck; either starts again, later each time it fails soon."""
        if slot.process is None:
            return
        now = time.monotonic()
        limit = _SILENT_SECONDS if slot.ready else _STARTING_SECONDS
        code = slot.process.poll()
        is_silent = code is None and now - slot.heard_at > limit
        if is_silent:
            _log.error("child_silent", child=slot.name, seconds=round(now - slot.heard_at))
            slot.process.kill()
            code = slot.process.wait()
        if code is None:
            return
        if slot.status_fd is not None:
            self._selector.unregister(slot.status_fd)
            os.close(slot.status_fd)
        slot.failures = 0 if now - slot.started_at >= _STEADY_SECONDS else slot.failures + 1
        delay = 0.0 if slot.failures <= 1 else min(_LONGEST_BACKOFF_SECONDS, 0.5 * 2**slot.failures)
        _log.warning("child_ended", child=slot.name, code=code, restart_in_seconds=delay)
        if self.chronicle:
            self.chronicle.child_died(slot.name, code, was_silent=is_silent)
        slot.process, slot.status_fd, slot.ready, slot.start_at = None, None, False, now + delay

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            notify("READY=1\nSTATUS=receiving")
            _log.info(
                "ready", address=self.settings.dicom.address, port=self.port, ae_title=self.settings.dicom.ae_title
            )
            if self.on_ready is not None:
                self.on_ready(self)

    def _ask_for_time(self) -> None:
        """Have systemd wait for a child that says that it is loading yet, and for no other.

        Sent again and again, as sd_notify(3) asks, before the time that the last one gave is over.
        """
        now = time.monotonic()
        if self._announced or now < self._asks_at:
            return
        if any(slot.process and not slot.ready and slot.heard_at > slot.started_at for slot in self._slots):
            notify(f"EXTEND_TIMEOUT_USEC={round(_MORE_SECONDS * 1e6)}")
            self._asks_at = now + _MORE_SECONDS / 4

    def _pat_watchdog(self) -> None:
        """Only while every child that is up is also heard from: a daemon that hangs is restarted by systemd."""
        interval = watchdog_interval_seconds()
        now = time.monotonic()
        if interval and now - getattr(self, "_patted_at", 0.0) >= interval / 2:
            if all(slot.process is None or now - slot.heard_at < _STARTING_SECONDS for slot in self._slots):
                notify("WATCHDOG=1")
            self._patted_at = now

    # --- signals ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Signals arrive as bytes on a pipe that the loop reads, so that no handler interrupts it half-way."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, lambda *_: None) for number in handled}
        old_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            _log.info("stopping")
            self._stopping = True
        elif signal.SIGHUP in numbers:
            self._reload()

    def _reload(self) -> None:
        """Take new settings if they are valid, and restart the children with them, a kind at a time."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            fresh = self.reload()
            self._rebind(fresh)
        except (SettingsError, OSError) as error:
            _log.error("reload_refused", problem=str(error))
            if self.chronicle:
                self.chronicle.configuration_refused(error)
        else:
            self.settings = fresh
            _log.info("reloading")
            if self.chronicle:
                self.chronicle.configuration_loaded(fresh)
            for kinds in _STOPPING_ORDER:
                self._stop_kinds(kinds)
            receivers = [slot for slot in self._slots if slot.kind is ChildKind.RECEIVER]
            self._slots = [slot for slot in self._slots if slot.kind is not ChildKind.RECEIVER]
            kept = receivers[: fresh.dicom.receivers]
            self._slots += kept + [_Slot(ChildKind.RECEIVER, i) for i in range(len(kept), fresh.dicom.receivers)]
            for slot in self._slots:
                slot.start_at = slot.failures = 0
        notify("READY=1")

    def _rebind(self, fresh: Settings) -> None:
        """Listen where the new settings say, if that is elsewhere. Raises `OSError`: then the old socket stays."""
        before = self.settings.dicom
        if (fresh.dicom.address, fresh.dicom.port) != (before.address, before.port):
            listener = _listening_socket(fresh)
            if self._listener is not None:
                self._listener.close()
            self._listener = listener

    # --- stopping ---------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        for kinds in _STOPPING_ORDER:
            self._stop_kinds(kinds)
        _log.info("stopped")

    def _stop_kinds(self, kinds: tuple[ChildKind, ...]) -> None:
        """Let children of these kinds finish what they hold; kill those that do not within the limit."""
        slots = [slot for slot in self._slots if slot.kind in kinds and slot.process is not None]
        for slot in slots:
            if slot.process is not None:
                slot.process.terminate()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for slot in slots:
            if slot.process is None:
                continue
            while slot.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                self._pat_watchdog()
            if slot.process.poll() is None:
                _log.error("child_killed", child=slot.name)
                slot.process.kill()
                slot.process.wait()
            if slot.status_fd is not None:
                self._selector.unregister(slot.status_fd)
                os.close(slot.status_fd)
            slot.process, slot.status_fd, slot.ready = None, None, False


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the lock of the data folder; the kernel lets go of it when we die, however that happens."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning(f"another kopru works on {data}; stop it, or set node.data to another folder") from None
    try:
        yield
    finally:
        os.close(descriptor)


def is_running(data: Path) -> bool:
    """Whether a daemon works on the data folder."""
    try:
        with _only_one(data):
            return False
    except AlreadyRunning:
        return True


def _listening_socket(settings: Settings) -> socket.socket:
    """The socket from systemd if it gave one, else a new one on the address and port of the settings."""
    given = inherited_sockets()
    if given:
        given[0].setblocking(False)  # noqa: FBT003 - positional only
        return given[0]
    family = socket.AF_INET6 if ":" in settings.dicom.address else socket.AF_INET
    listener = socket.create_server((settings.dicom.address, settings.dicom.port), family=family, backlog=512)
    listener.setblocking(False)  # noqa: FBT003 - positional only
    return listener
