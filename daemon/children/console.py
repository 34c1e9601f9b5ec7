"""The `console` child: answers the CLI on the control socket and, where a port is set, HTTP: the inference API."""

import threading
from collections.abc import Mapping
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from daemon.http import HttpServer
from daemon.node import Node
from daemon.registry.versions import answering
from daemon.settings import Settings
from daemon.supervision.child import Child
from runtime import RuntimeUnavailable


def run(settings: Settings, child: Child) -> None:
    """Serve until told to stop."""
    node = Node.open(settings, "console")
    server = ControlServer(settings.node.runtime_directory / SOCKET_NAME, node, COMMANDS)
    serving = threading.Thread(target=server.serve_forever, name="control", daemon=True)
    serving.start()
    http = None
    if settings.console.port:
        http = HttpServer.start(settings.console, node.runtime, partial(_answering, node))
    child.ready(lambda: serving.is_alive() and (http is None or http.is_alive))
    child.stop.wait()
    if http:
        http.stop()
    server.shutdown()
    server.server_close()
    node.database.dispose()


def _answering(node: Node) -> Mapping[str, str | None]:
    """The versions in production. Raises `RuntimeUnavailable` where the registry cannot be read: else one that was
    retired might answer.
    """
    try:
        with node.database.read() as connection:
            return answering(connection)
    except SQLAlchemyError as error:
        raise RuntimeUnavailable("which version is in production cannot be read; try again later") from error
