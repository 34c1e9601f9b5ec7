"""The command line in this process: what it printed, and the code it ended with."""

import contextlib
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.cli import main, output
from daemon.control.client import SOCKET_NAME
from daemon.control.commands import COMMANDS
from daemon.control.server import ControlServer
from daemon.node import Node
from tests.daemon.conftest import node, settings  # noqa: F401 - fixtures


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short name, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="kopru-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`serve` sends the logs of its process to what a test has for standard error, which is closed after it."""
    before, handlers = structlog.get_config(), logging.root.handlers[:]
    for where, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(where, hook, getattr(where, hook))
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> Iterator[Run]:
    """`run("config", "check", columns=80)` is `kopru config check`, in a home of its own."""
    for name in ("KOPRU_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(home))

    def run(*arguments: Any, columns: int = 80) -> Answer:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(output.console, "_width", columns)  # COLUMNS counts only where a console is made
        monkeypatch.setattr(sys, "argv", ["kopru", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    with _logging_as_it_was(monkeypatch):
        yield run


@pytest.fixture
def console(node: Node) -> Iterator[Node]:  # noqa: F811
    """The node of a console that answers on its control socket; nothing else of the daemon runs."""
    server = ControlServer(node.settings.node.runtime_directory / SOCKET_NAME, node, COMMANDS)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield node
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ask(run: Run, console: Node) -> Run:
    """`run`, with the console to ask."""
    directory = console.settings.node.runtime_directory
    return lambda *arguments, **how: run("--set", f"node.runtime_directory={directory}", *arguments, **how)
