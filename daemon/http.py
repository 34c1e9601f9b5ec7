"""Serves HTTP in a thread of the console: binds and begins, or raises; ends when told. What is served, adapters say."""

import asyncio
import importlib.metadata
import socket
import threading
from typing import Final, Self

import uvicorn

from adapters.open_inference import Access, Answering, ApiKey, Served, application
from daemon.settings import ConsoleSettings

_BACKLOG: Final = 1024
_DRAIN_SECONDS: Final = 10
_IDLE_SECONDS: Final = 30


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
