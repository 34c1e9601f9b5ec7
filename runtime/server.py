"""The runtime process: owns the models and answers clients of its own account on a Unix socket.

One thread takes requests, checks them and queues them; each lane's thread sends its answers itself. No peer can make
it block, fault or run out of memory: what is not well formed closes that peer's connection, what is not what the
package declares gets an answer that says so, and both cost nobody else anything.
"""

import contextlib
import errno
import os
import resource
import selectors
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from runtime import wire
from runtime.backend import RemoteAccess
from runtime.errors import BackendLost, InvalidInput, Overloaded, PackageError, RuntimeFailure, RuntimeUnavailable
from runtime.health import ModelHealth, RuntimeUsage
from runtime.host import HostSettings, ModelHost
from runtime.inference import Array, Device, InferenceResult
from runtime.package import Admission, ModelDescription, ModelPackage, Route
from runtime.watch import DriftReport

_log = structlog.get_logger(__name__)

_BACKLOG: Final = 1024
_TICK_SECONDS: Final = 0.1
_MOST_CONNECTIONS: Final = 4096
_FILES_OF_A_CONNECTION: Final = 3  # itself, what is mapped, and the descriptor that is just arriving
RUN_LIMIT_SECONDS: Final = 120.0
_DESCRIPTIONS: Final = TypeAdapter(tuple[ModelDescription, ...])
_HEALTH: Final = TypeAdapter(tuple[ModelHealth, ...])
_USAGE: Final = TypeAdapter(RuntimeUsage)
_DRIFT: Final = TypeAdapter(tuple[DriftReport, ...])


def serve(
    socket_path: Path,
    package_dirs: Sequence[Path],
    *,
    on_ready: Callable[[], None],
    stop: threading.Event,
    admission: Admission | None = None,
    threads: int | None = None,
    device: Device = Device.AUTO,
    drain_seconds: float = 10.0,
    lazy: bool = False,
    memory_bytes: Mapping[Device, int] | None = None,
    cache_bytes: int = 0,
    routes: Mapping[str, Sequence[Route]] | None = None,
    access: Mapping[str, RemoteAccess] | None = None,
    run_limit_seconds: float = RUN_LIMIT_SECONDS,
) -> None:
    """Load the packages, then answer on `socket_path` (mode 0600) until `stop` is set; `on_ready` is called in between.

    Of several versions of a model the first is its default. After `stop`, requests in progress are finished for at most
    `drain_seconds`. `admission` is what is demanded of packages; the other settings are those of `HostSettings`.

    When a device is lost, requests go on along other routes for at most `drain_seconds`, new ones wait for the next
    process, and this one ends. So it does when a run on a device of this machine takes longer than `run_limit_seconds`:
    what hangs in a library cannot be ended but with its process.

    Raises `PackageError` for a package that cannot be used, `BackendFailure` for a `device` that is not there,
    `RuntimeUnavailable` if another process serves the socket, and `BackendLost` when only a new process can go on.
    """
    # The cores are for the models: a product of numpy's, a part of a millisecond's work, would wait for a second core.
    threadpool_limits(1, user_api="blas")
    admission = admission or Admission()
    packages = [ModelPackage.load(directory, admission) for directory in package_dirs]
    settings = HostSettings(
        threads=threads or len(os.sched_getaffinity(0)),
        device=device,
        lazy=lazy,
        memory_bytes=memory_bytes or {},
        cache_bytes=cache_bytes,
        routes=routes or {},
        access=access or {},
        logs=True,
    )
    host = ModelHost(packages, settings)
    try:
        with _listening(socket_path) as listener:
            server = _Server(listener, host, admission)
            for health in host.health():
                _log.info("model_loaded", model=health.model, version=health.version, device=health.device)
            on_ready()
            server.answer(until=lambda: stop.is_set() or host.lost or bool(host.hanging(run_limit_seconds)))
            hanging = host.hanging(run_limit_seconds)
            for lane in hanging:
                _log.error("run_hangs", lane=lane, limit_seconds=run_limit_seconds, consequence="the process ends")
        server.drain(drain_seconds)
        if host.lost:
            raise BackendLost("a device is lost; the runtime process must be started again")
        if hanging:
            problem = f"a run has taken longer than {run_limit_seconds:g} s; the runtime process must be started again"
            raise BackendLost(f"{', '.join(hanging)}: {problem}")
    finally:
        host.close(0)


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    # Held while sending and closing: the number of a closed socket can be another client's in the next moment.
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: bool = True
    running: Future[Any] | None = None
    memory: wire.Bytes | None = None  # the client's, mapped; it fills the same again for its next request
    memory_inode: tuple[int, int] = (0, 0)


class _Server:
    def __init__(self, listener: socket.socket, host: ModelHost, admission: Admission) -> None:
        self._listener = listener
        self._host = host
        self._admission = admission
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._connections: set[_Connection] = set()
        self._most = min(_MOST_CONNECTIONS, _most_files() // _FILES_OF_A_CONNECTION)

    def answer(self, until: Callable[[], bool]) -> None:
        """Take connections and requests until the condition holds, which is asked at each tick."""
        next_tick = 0.0
        while True:
            if time.monotonic() >= next_tick:
                if until():
                    break
                next_tick = time.monotonic() + _TICK_SECONDS
            for key, _ in self._selector.select(_TICK_SECONDS):
                if key.data is None:
                    self._accept()
                else:
                    self._take(key.data)
        self._selector.unregister(self._listener)

    def drain(self, seconds: float) -> None:
        """Let go of idle clients, finish the requests of the others, for at most `seconds`; then close all."""
        end = time.monotonic() + seconds
        while True:
            for connection in list(self._connections):
                if connection.running is None:
                    self._close(connection)
            if not self._connections or time.monotonic() >= end:
                break
            for key, _ in self._selector.select(_TICK_SECONDS / 10):
                self._take(key.data)
        for connection in list(self._connections):
            self._close(connection)
        self._selector.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _accept(self) -> None:
        """Let in all who wait: one in each round would make many wait for the requests of as many rounds. No more than
        can wait at once: those who come and go would keep all others from being served.
        """
        for _ in range(_BACKLOG):
            try:
                peer, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the client has gone already, or the kernel is short of memory for now
                _log.warning("accept_failed", reason=error.strerror)
                return
            self._let_in(peer)

    def _let_in(self, peer: socket.socket) -> None:
        peer.settimeout(0)
        connection = _Connection(peer)
        uid = _peer_uid(peer)
        if uid != os.geteuid():
            _log.warning("peer_refused", uid=uid)
            peer.close()
            return
        self._connections.add(connection)
        if len(self._connections) > self._most:
            _send_error(connection, Overloaded(f"{self._most} clients are connected already; try again later"))
            self._close(connection)
            return
        self._selector.register(peer, selectors.EVENT_READ, connection)

    def _take(self, connection: _Connection) -> None:
        """Receive what a client sent; whatever is not exactly one request ends the connection."""
        if not connection.open:  # closed earlier in the same round of events
            return
        try:
            header, body = wire.receive(connection.socket)
        except BlockingIOError:
            return
        except (OSError, wire.BadMessage) as error:
            _log.warning("client_dropped", reason=type(error).__name__)
            self._close(connection)
            return
        try:
            if not header or connection.running is not None:  # gone, or does not wait for its answer
                self._close(connection)
            else:
                self._reply(connection, header, body)
        finally:
            wire.close(body)

    def _reply(self, connection: _Connection, header: bytes, body: wire.Body | None) -> None:
        try:
            request = wire.request_in(header)
            if isinstance(request, wire.InferRequest):
                self._start(connection, request, body)
            elif isinstance(request, wire.LoadRequest):
                self._load(connection, request)
            else:
                _send_document(connection, self._document(request))
        except wire.BadMessage as error:
            _send_error(connection, InvalidInput(f"{error}; are client and runtime of the same version?"))
            self._close(connection)
        except RuntimeFailure as error:
            _send_error(connection, error)
        except (MemoryError, OSError) as error:  # of memfd_create or mmap: the machine is short of something
            _log.warning("request_not_read", reason=type(error).__name__)
            _send_error(connection, Overloaded("the runtime is short of memory or descriptors; try again later"))

    def _document(self, request: wire.DocumentRequest) -> bytes:
        match request:
            case wire.ModelsRequest():
                return _DESCRIPTIONS.dump_json(self._host.descriptions())
            case wire.HealthRequest():
                return _HEALTH.dump_json(self._host.health())
            case wire.DriftRequest():
                return _DRIFT.dump_json(self._host.drift())
            case wire.UsageRequest():
                return _USAGE.dump_json(self._host.usage())

    def _load(self, connection: _Connection, request: wire.LoadRequest) -> None:
        """Load a package in a thread of its own, one after the other; its end is told by that thread."""

        def load() -> bytes:
            package = ModelPackage.load(Path(request.directory), self._admission)
            self._host.add(package, default=request.default)
            _log.info("model_loaded", model=package.name, version=package.version, default=request.default)
            return _DESCRIPTIONS.dump_json((package.description,))

        future = self._loader.submit(load)
        connection.running = future
        future.add_done_callback(lambda done: _send_loaded(connection, done))

    def _start(self, connection: _Connection, request: wire.InferRequest, body: wire.Body | None) -> None:
        """Queue an inference; its answer is sent by the thread of the lane."""
        package = self._host.package(request.model, request.version)
        if body is None:
            raise wire.BadMessage("the request has no body")
        inputs = wire.tensors_in(_mapped(connection, body), request.tensors)
        future = self._host.submit(
            request.model,
            inputs,
            version=package.version,
            priority=request.priority,
            timeout_seconds=request.timeout_seconds,
        )
        connection.running = future
        future.add_done_callback(lambda done: _send_result(connection, inputs, done))

    def _close(self, connection: _Connection) -> None:
        """Forget a client; what it waits for is not run if it has not begun."""
        if connection in self._connections:
            self._connections.remove(connection)
            with contextlib.suppress(KeyError):  # refused before it was registered
                self._selector.unregister(connection.socket)
        with connection.lock:
            connection.open = False
            connection.socket.close()
        connection.memory = None
        running = connection.running
        if running is not None:
            running.cancel()


def _most_files() -> int:
    """As many as this process may open at all, from now on: the usual limit is one for programs that use select(2)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MOST_CONNECTIONS * _FILES_OF_A_CONNECTION if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def _mapped(connection: _Connection, body: wire.Body) -> wire.Bytes:
    """The bytes of a body; a memfd that is mapped already, and so the only one of its inode, is not mapped again."""
    if isinstance(body, bytes):
        return wire.received(body)
    status = os.fstat(body)
    inode = (status.st_dev, status.st_ino)
    if connection.memory is None or connection.memory_inode != inode:
        connection.memory, connection.memory_inode = wire.received(body), inode
    return connection.memory


def _send_result(connection: _Connection, inputs: dict[str, Array], done: Future[InferenceResult]) -> None:
    """Send the answer of a finished request, in the thread of its lane."""
    if done.cancelled():
        return
    inputs.clear()  # what they lay in is the client's again
    try:
        result = done.result()
    except RuntimeFailure as error:
        _send_error(connection, error)
        return
    headers = wire.tensor_headers(result.outputs)
    try:
        body = wire.packed(headers, result.outputs)
    except (MemoryError, OSError) as error:
        _log.warning("answer_not_written", reason=type(error).__name__)
        _send_error(connection, Overloaded("the runtime is short of memory or descriptors; try again later"))
        return
    reply = wire.InferReply(
        tensors=headers,
        model=result.model,
        version=result.version,
        weights_sha256=result.weights_sha256,
        batch_size=result.batch_size,
        queue_seconds=result.queue_seconds,
        run_seconds=result.run_seconds,
        device=result.device,
        precision=result.precision,
        cached=result.cached,
        gate=result.gate,
    )
    _send(connection, reply, body)


def _send_loaded(connection: _Connection, done: Future[bytes]) -> None:
    if done.cancelled():
        return
    error = done.exception()
    if error is None:
        _send_document(connection, done.result())
        return
    if not isinstance(error, RuntimeFailure):
        _log.error("package_not_loaded", reason=type(error).__name__)
        error = RuntimeUnavailable(f"the package could not be loaded ({type(error).__name__}); see the log")
    _send_error(connection, error)


def _send_document(connection: _Connection, document: bytes) -> None:
    _send(connection, wire.DocumentReply(), wire.packed_document(document))


def _send_error(connection: _Connection, error: RuntimeFailure) -> None:
    parts = None
    if isinstance(error, PackageError):  # whose file can have a name that is no text
        parts = (_as_text(str(error.file)), _as_text(error.key), _as_text(error.problem))
    _send(connection, wire.ErrorReply(error=type(error).__name__, message=str(error), package_error=parts), None)


def _as_text(name: str) -> str:
    return name.encode(errors="replace").decode()


def _send(connection: _Connection, reply: wire.Reply, body: wire.Memory | bytes | None) -> None:
    """Send without waiting. A client that reads nothing, or has gone, loses its connection and nothing else."""
    try:
        with connection.lock:
            connection.running = None  # before sending: the client may ask again as soon as it has the answer
            if connection.open:
                wire.send(connection.socket, wire.reply_header(reply), body)
    except (OSError, wire.BadMessage) as error:
        _log.warning("answer_not_sent", reason=type(error).__name__)
        with connection.lock, contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)  # the server's thread sees the end and closes it
    finally:
        wire.close(body)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Bind and listen; in the end remove the name, so that clients hear at once that nobody is there.

    Nobody can connect between bind(2) and listen(2), so the mode is right from the first moment.
    """
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        own = path.lstat()
        listener.listen(_BACKLOG)
        listener.settimeout(0)
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.lstat(), own):
                    path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed process left. Anything else of that name stays, and bind(2) fails on it."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(0)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise RuntimeUnavailable(f"{path}: another process listens on this socket; stop that one first")
    path.unlink(missing_ok=True)


def _peer_uid(peer: socket.socket) -> int:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", raw)[1]
    return uid
