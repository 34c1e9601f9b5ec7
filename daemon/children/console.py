"""The `console` child: answers the CLI on the control socket."""

import threading

from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from daemon.node import Node
from daemon.settings import Settings
from daemon.supervision.child import Child


def run(settings: Settings, child: Child) -> None:
    """Serve until told to stop."""
    node = Node.open(settings, "console")
    server = ControlServer(settings.node.runtime_directory / SOCKET_NAME, node, COMMANDS)
    serving = threading.Thread(target=server.serve_forever, name="control", daemon=True)
    serving.start()
    child.ready(serving.is_alive)
    child.stop.wait()
    server.shutdown()
    server.server_close()
    node.database.dispose()
