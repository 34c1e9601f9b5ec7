"""The `engine` child: indexes, runs tasks, seals the audit log, keeps the clockwork. See `daemon.engine`."""

from daemon.engine.engine import Engine
from daemon.node import Node
from daemon.settings import Settings
from daemon.supervision.child import Child


def run(settings: Settings, child: Child) -> None:
    """Work until told to stop; running steps are finished."""
    engine = Engine(Node.open(settings, "engine"))
    engine.start()
    child.ready(engine.is_healthy)
    child.stop.wait()
    engine.stop()
