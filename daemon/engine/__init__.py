"""The engine process: `Engine` starts the loops (tasks, indexing, sealing, schedule) and stops them in order."""

from daemon.engine.engine import Engine

__all__ = ["Engine"]
