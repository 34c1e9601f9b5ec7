"""The way from the CLI to the daemon: a Unix socket, one JSON object a line, the kernel says who asks (SO_PEERCRED).

ControlError
├── DaemonUnreachable    no daemon listens on the socket
└── CommandFailed        the daemon answered that it cannot do it; `exit_code` says which kind of failure
"""

from daemon.control.client import ControlClient
from daemon.control.errors import CommandFailed, ControlError, DaemonUnreachable

__all__ = ["CommandFailed", "ControlClient", "ControlError", "DaemonUnreachable"]
