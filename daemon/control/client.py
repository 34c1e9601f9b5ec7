"""Asks the running daemon. Used by the CLI; opens no database and no key."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from daemon.control.errors import CommandFailed, DaemonUnreachable

SOCKET_NAME = "control.sock"


class ControlClient:
    """One request a connection."""

    def __init__(self, runtime_directory: Path) -> None:
        self._path = runtime_directory / SOCKET_NAME

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer of a command that has one. Raises `CommandFailed`, `DaemonUnreachable`."""
        answers = list(self.stream(command, **arguments))
        return answers[-1]

    def stream(self, command: str, **arguments: Any) -> Iterator[Any]:
        """The answers of a command that has several, as they come."""
        request = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(str(self._path))
            except OSError as error:
                hint = "it is reloading, or not running: try again in some seconds, else start it with `kopru serve` or"
                hint += " name its settings with --config"
                if isinstance(error, PermissionError):
                    hint = "run this as its account, or as a member of its group"
                raise DaemonUnreachable(f"no daemon answers at {self._path} ({error.strerror}); {hint}") from None
            with suppress(ConnectionError), connection.makefile("rb") as lines:
                with suppress(BrokenPipeError):  # it has heard enough; its answer says of what
                    connection.sendall(request)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    answer = json.loads(line)
                    if "error" in answer:
                        raise CommandFailed(answer["error"], answer.get("exit_code", 1))
                    if answer.get("end"):
                        return
                    yield answer["result"]
        raise DaemonUnreachable(
            "the daemon closed the connection before it had answered: it reloads or stops, else see its log"
        )
