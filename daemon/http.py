"""Serves HTTP in a thread of the console: binds and begins, or raises; ends when told. What is served, adapters say."""

import asyncio
import importlib.metadata
import socket
import threading
from typing import Final, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from adapters.open_inference import Access, Answering, ApiKey, Served, application
from daemon.settings import ConsoleSettings

_BACKLOG: Final = 1024
_DRAIN_SECONDS: Final = 10
_IDLE_SECONDS: Final = 30
_HEAD_SECONDS: Final = 20  # from its first byte, or the connection, to the end of a request's head


class _Protocol(H11Protocol):
    """HTTP/1.1 that waits for the head of a request only so long: nobody needs a key to open connections, and there are
    not many.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its own base class
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        answered = self.cycle
        super().data_received(data)
        if self.cycle is not answered:
            self._stop_waiting()
        elif self._head_timer is None and (answered is None or answered.response_complete):
            self._await_head()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpServer:
    """One listening socket and the thread that answers on it."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="http", daemon=True
        )

    @classmethod
    def start(cls, settings: ConsoleSettings, runtime: Served, answering: Answering) -> Self:
        """Bind, then serve `runtime` to those with a key; `answering` says which versions do. Raises `OSError` for an
        address in use or a file that cannot be read, and `ssl.SSLError` for a certificate that is none.
        """
        access = Access(ApiKey(key.name, key.sha256, key.requests_per_minute) for key in settings.api_keys)
        config = uvicorn.Config(
            application(runtime, access, importlib.metadata.version("kopru"), answering),
            ssl_certfile=settings.certificate_file,
            ssl_keyfile=settings.private_key_file,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            http=_Protocol,
            ws="none",
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        config.load()
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        listener = socket.create_server((settings.address, settings.port or 0), family=family, backlog=_BACKLOG)
        server = cls(uvicorn.Server(config), listener)
        server._thread.start()
        return server

    @property
    def is_alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish what is being answered, for a while, then end."""
        self._server.should_exit = True
        self._thread.join(_DRAIN_SECONDS + 5)
