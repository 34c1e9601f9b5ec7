"""Keeps this Python process on the loopback interface; Python imports it at start because `tests` puts it on the path.

An audit hook (PEP 578) sees every connection and every name look-up made through Python's sockets, cannot be removed
and also covers the child processes that a test starts. The error is no `OSError`, so that no code under test takes it
for a network failure and carries on.
"""

import ipaddress
import socket
import sys
from typing import Any

_NAMED = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_ADDRESSED = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class OutsideLoopbackError(RuntimeError):
    """A test, or a program that a test started, wanted to reach beyond this machine."""


def _is_local(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _keep_on_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _NAMED:
        host = arguments[0]
    elif event in _ADDRESSED:
        peer, address = arguments[0], arguments[1]
        if address is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host = address[0]
    else:
        return
    if not _is_local(host):
        raise OutsideLoopbackError(f"{event}: tests stay on the loopback interface, but {host!r} was wanted")


def stay_on_loopback() -> None:
    """Install the hook, once for a process."""
    if not getattr(sys, "_kopru_loopback_only", False):
        sys.addaudithook(_keep_on_loopback)
        sys._kopru_loopback_only = True  # type: ignore[attr-defined]


stay_on_loopback()
