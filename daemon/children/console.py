"""The `console` child: answers the CLI on the control socket and, where a port is set, HTTP: the inference API."""

import threading

from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from daemon.http import HttpServer
from daemon.node import Node
from daemon.settings import Settings
from daemon.supervision.child import Child


def run(settings: Settings, child: Child) -> None:
    """Serve until told to stop."""
    node = Node.open(settings, "console")
    server = ControlServer(settings.node.runtime_directory / SOCKET_NAME, node, COMMANDS)
    serving = threading.Thread(target=server.serve_forever, name="control", daemon=True)
    serving.start()
    http = HttpServer.start(settings.console, node.runtime) if settings.console.port else None
    child.ready(lambda: serving.is_alive() and (http is None or http.is_alive))
    child.stop.wait()
    if http:
        http.stop()
    server.shutdown()
    server.server_close()
    node.database.dispose()
