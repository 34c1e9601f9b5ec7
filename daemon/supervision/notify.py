"""Tells systemd how the daemon is (sd_notify(3)) and takes sockets from it (sd_listen_fds(3)). Nothing without
systemd.
"""

import os
import socket
from collections.abc import Mapping

_FIRST_DESCRIPTOR = 3


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send one state, such as ``READY=1``, to the service manager, if there is one."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect(address)
        connection.sendall(state.encode())


def watchdog_interval_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often the service manager wants to hear from us (half of its limit); None if it does not watch."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 2e6 if microseconds else None


def inherited_sockets(environ: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that the service manager opened for us, so that port 104 needs no privilege."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=descriptor) for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count)]
