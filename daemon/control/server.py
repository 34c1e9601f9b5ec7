"""Serves the control socket: reads a request, asks the kernel who sent it, records the command, answers.

Every command is an audit event before it runs. Only root, the daemon's own account and members of the socket's group
get through (the socket has mode 0660). An answer never holds an identity.
"""

import inspect
import json
import os
import pwd
import socket
import socketserver
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from daemon.audit import AuditEvent, EventError, Kind, Name
from daemon.control.errors import CommandFailed
from daemon.node import Node

_MAXIMUM_REQUEST_BYTES = 1 << 16
_NO_DATABASE = (
    "the database cannot be used now (its disk full, locked, or away); see the daemon's log, and once it is back, what"
    " was done before it failed, before you ask again"
)
_log = structlog.get_logger(__name__)

Command = Callable[..., Any]
"""`command(node, actor, **arguments)` gives a JSON value, or an iterator of JSON values that are streamed. Arguments
are checked against its annotations, which are types such as `isinstance` takes.
"""


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Answers on `path` until `shutdown`."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, path: Path, node: Node, commands: Mapping[str, Command]) -> None:
        self.node, self.commands = node, commands
        path.unlink(missing_ok=True)
        before = os.umask(0o117)
        try:
            super().__init__(str(path), _Conversation)
        finally:
            os.umask(before)


class _Conversation(socketserver.StreamRequestHandler):
    server: ControlServer
    timeout = 30.0
    """Seconds in which a client has to send its request, and to take each answer."""

    def handle(self) -> None:
        try:
            self._converse()
        except _ClientLeft:
            _log.info("control_client_left")

    def _converse(self) -> None:
        try:
            for result in self._answers():
                self._send({"result": result})
            self._send({"end": True})
        except CommandFailed as error:
            self._send({"error": str(error), "exit_code": error.exit_code})
        except _ClientLeft:
            raise
        except sa.exc.OperationalError as error:
            _log.exception("command_failed", exc_info=error)
            self._send({"error": _NO_DATABASE, "exit_code": 1})
        except Exception as error:  # noqa: BLE001 - the client must hear that it failed; details go to the log
            _log.exception("command_failed", exc_info=error)
            self._send({"error": f"internal error ({type(error).__name__}); see the daemon's log", "exit_code": 1})

    def _answers(self) -> Iterator[Any]:
        name, arguments = _parsed(self._read())
        command = self.server.commands.get(name)
        if command is None:
            raise CommandFailed("the daemon does not know this command; are both of the same version?", 2)
        if not _takes(command, arguments):
            raise CommandFailed("the command does not take these arguments; are both of the same version?", 2)
        actor = peer_name(self.connection)
        node = self.server.node
        event = AuditEvent(Kind.COMMAND, actor=actor, details={"command": Name(name)})
        node.database.retrying(lambda connection: node.audit.record(connection, event))
        answer = command(node, actor, **arguments)
        if isinstance(answer, Iterator):
            yield from answer
        else:
            yield answer

    def _read(self) -> bytes:
        try:
            line = self.rfile.readline(_MAXIMUM_REQUEST_BYTES)
        except TimeoutError:
            raise CommandFailed(f"no request came within {self.timeout:g} s", 2) from None
        except OSError:
            raise _ClientLeft from None
        if not line.endswith(b"\n"):
            raise CommandFailed(f"a request is one line of at most {_MAXIMUM_REQUEST_BYTES} bytes; this is none", 2)
        return line

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.wfile.write(json.dumps(message).encode() + b"\n")
        except OSError:
            raise _ClientLeft from None


class _ClientLeft(Exception):
    """The client went away, or takes no answer. Nobody is there to be told."""


def _parsed(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
        name, arguments = request["command"], dict(request["arguments"])
    except (ValueError, KeyError, TypeError, RecursionError):
        name, arguments = None, {}
    if not isinstance(name, str):
        raise CommandFailed("this is not a request", 2)
    return name, arguments


def _takes(command: Command, arguments: Mapping[str, Any]) -> bool:
    """Whether the command has parameters of these names and types, and gets all that it needs; the first two (node,
    actor) are never the client's to give.
    """
    own = dict(list(inspect.signature(command).parameters.items())[2:])
    needed = {name for name, parameter in own.items() if parameter.default is parameter.empty}
    return needed <= arguments.keys() <= own.keys() and all(
        isinstance(value, own[name].annotation) for name, value in arguments.items()
    )


def peer_name(connection: socket.socket) -> str:
    """The account at the other end, from the kernel: ``user:NAME``, or ``uid:NUMBER`` without a name."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    try:
        return Name(f"user:{pwd.getpwuid(uid).pw_name}")
    except (KeyError, EventError):  # an account without a name, or with one that the audit log does not take
        return f"uid:{uid}"
