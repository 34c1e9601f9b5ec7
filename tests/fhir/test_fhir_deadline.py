"""A FHIR server that never quite stops talking, or never quite reads, holds a delivery no longer than it may."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from adapters.fhir import FhirDestination, FhirServerSettings, Retry
from tests.fhir.samples import AYSE, ISSUER, SYSTEM, document

_DRIP_SECONDS = 0.05  # far below any time-out on silence
_DEADLINE_SECONDS = 0.5
_NOTHING_FOUND = b'{"resourceType":"Bundle","type":"searchset","entry":[]}'


@contextmanager
def dripping(whole, forever):
    """A server that sends `whole` at once, then the bytes of `forever` one by one and over again; its base URL."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        with connection, suppress(OSError):  # the client gives up
            connection.recv(1 << 20)
            connection.sendall(whole)
            while not closing.wait(_DRIP_SECONDS):
                connection.sendall(forever)

    def accept():
        with suppress(OSError):  # closed
            while True:
                threads.append(threading.Thread(target=answer, args=listener.accept()[:1]))
                threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


def timed(url, act):
    settings = FhirServerSettings("ehr", url, {ISSUER: SYSTEM}, timeout_seconds=_DEADLINE_SECONDS)
    outcomes = []
    attempt = threading.Thread(target=lambda: outcomes.append(act(FhirDestination(settings))), daemon=True)
    started = time.monotonic()
    attempt.start()
    attempt.join(20 * _DEADLINE_SECONDS)
    assert not attempt.is_alive(), "the delivery is held"
    return outcomes[0], time.monotonic() - started


@pytest.mark.parametrize(
    ("whole", "forever"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["headers", "body", "early hints", "chunks"],
)
def test_server_that_drips_its_answer_is_given_up_in_time(whole, forever):
    with dripping(whole, forever) as url:
        for act in (lambda ehr: ehr.match_patient(AYSE), lambda ehr: ehr.deliver(document())):
            outcome, seconds = timed(url, act)
            assert outcome == Retry("no complete answer from the server within 0.5 s")
            assert seconds < 4 * _DEADLINE_SECONDS


@contextmanager
def sipping():
    """A server that finds nothing, and reads what is then sent a little at a time."""
    closing = threading.Event()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    found = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_NOTHING_FOUND) + _NOTHING_FOUND

    def serve():
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(1 << 12)
            connection.sendall(found)
            while not closing.wait(_DRIP_SECONDS) and connection.recv(1 << 16):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
    finally:
        closing.set()
        listener.close()
        thread.join(10)


def test_server_that_sips_what_it_is_sent_is_given_up_in_time():
    made = document()
    large = made.replace(b'"resourceType":"Device"', b'"resourceType":"Device","note":"' + b"x" * (32 << 20) + b'"', 1)
    assert len(large) > len(made)
    with sipping() as url:
        outcome, seconds = timed(url, lambda ehr: ehr.deliver(large))
    assert isinstance(outcome, Retry)
    assert seconds < 5 * _DEADLINE_SECONDS  # it looks once more, and nobody answers


def test_connections_that_are_given_up_leave_no_thread_and_no_descriptor():
    with dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a") as url:
        settings = FhirServerSettings("ehr", url, {ISSUER: SYSTEM}, timeout_seconds=0.1)
        destination = FhirDestination(settings)
        before = {thread.name for thread in threading.enumerate()}
        for _ in range(5):
            assert isinstance(destination.match_patient(AYSE), Retry)
        ours = {t.name for t in threading.enumerate()} - before
        assert all("answer" in name for name in ours)  # the server's own
