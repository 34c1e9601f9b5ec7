"""An HTTP proxy that passes requests on to a real server and, where told, spoils the exchange: all faults, no logic.

`FaultProxy.plan` takes a fault for each coming request that the plan's predicate picks; with no plan everything passes.
"""

import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

import httpx


class Fault(Enum):
    """What happens to one exchange."""

    RESET_BEFORE = auto()  # the server never sees the request; the client's connection is reset
    DROP_ANSWER = auto()  # the server carries it out; the client's connection is closed without an answer
    SILENCE = auto()  # the server carries it out; the client hears nothing until it gives up
    TRUNCATE = auto()  # the server carries it out; half of its answer arrives


@dataclass(frozen=True)
class Instead:
    """An answer of the proxy's own; the server never sees the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Seen:
    """A request that came by."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def writes(request: Seen) -> bool:
    """Whether a request is a transaction: what faults are usually wanted for."""
    return request.method == "POST" and not request.path.endswith("/_search")


class FaultProxy:
    """Listens on a free loopback port, with TLS if told; `url` is the base URL that stands for the server's."""

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(target)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._plan: deque[Fault | Instead] = deque()
        self._picks: Callable[[Seen], bool] = writes
        self._lock = threading.Lock()
        self.http = httpx.Client(trust_env=False, timeout=30.0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{scheme}://{host}:{self._server.server_port}{parts.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.http.close()

    def plan(self, *faults: "Fault | Instead", picks: Callable[[Seen], bool] = writes) -> None:
        """The faults for the next requests that `picks` says yes to, one each; later ones pass."""
        with self._lock:
            self._plan, self._picks = deque(faults), picks

    def next_fault(self, request: Seen) -> "Fault | Instead | None":
        """What is planned for this request."""
        with self._lock:
            self.seen.append(request)
            return self._plan.popleft() if self._plan and self._picks(request) else None


_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "accept-encoding"}


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Seen(self.command, self.path, dict(self.headers), body)
            fault = proxy.next_fault(request)
            if isinstance(fault, Instead):
                self._answer(fault.status, fault.headers, fault.body)
            elif fault is Fault.RESET_BEFORE:
                self._close(reset=True)
            else:
                self._pass_on(request, fault)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the base class's names

        def _pass_on(self, request: Seen, fault: Fault | None) -> None:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
            url = proxy.origin + request.path
            answer = proxy.http.request(request.method, url, content=request.body, headers=headers)
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            if fault is Fault.DROP_ANSWER:
                self._close(reset=False)
            elif fault is Fault.SILENCE:
                proxy.closing.wait()
                self._close(reset=False)
            elif fault is Fault.TRUNCATE:
                self._answer(answer.status_code, headers, answer.content, send=len(answer.content) // 2)
                self._close(reset=False)
            else:
                self._answer(answer.status_code, headers, answer.content)

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes, send: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if send is None else body[:send])

        def _close(self, *, reset: bool) -> None:
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    return Handler
