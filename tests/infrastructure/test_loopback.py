"""The fence around the tests holds, in this process and in those that tests start."""

import asyncio
import socket
import subprocess
import sys

import pytest

ELSEWHERE = "192.0.2.1"  # TEST-NET-1 (RFC 5737)


def test_connecting_elsewhere_raises():
    with socket.socket() as s, pytest.raises(RuntimeError, match="loopback"):
        s.connect((ELSEWHERE, 443))


def test_sending_elsewhere_raises():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, pytest.raises(RuntimeError, match="loopback"):
        s.sendto(b"x", (ELSEWHERE, 53))


def test_looking_up_a_name_raises():
    with pytest.raises(RuntimeError, match="loopback"):
        socket.getaddrinfo("example.org", 443)


def test_asyncio_is_fenced_too():
    with pytest.raises(RuntimeError, match="loopback"):
        asyncio.run(asyncio.open_connection(ELSEWHERE, 443))


def test_a_child_process_is_fenced_too():
    code = f"import socket; socket.create_connection(({ELSEWHERE!r}, 443))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "OutsideLoopbackError" in done.stderr


def test_loopback_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
