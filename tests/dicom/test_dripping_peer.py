"""A peer that answers byte by byte, or stops within a PDU, holds whoever sends to it no longer than it may; one that is
slow, and goes on, is waited for.
"""

import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RP, P_DATA_TF

from adapters.dicom import DicomDestination, Outgoing, Peer
from adapters.outcomes import Delivered, Retry
from anonymize import DeidentifiedInstance
from tests.receiver.instances import ct, write_file

_DRIP_SECONDS = 0.05
_TIMEOUT_SECONDS = 0.5
_RELEASE_RQ = 5
_P_DATA = 4


def received(connection):
    """The next PDU: its type and all of its bytes."""
    head = connection.recv(6, socket.MSG_WAITALL)
    length = struct.unpack(">I", head[2:6])[0] if len(head) == 6 else 0
    return head[:1], head + connection.recv(length, socket.MSG_WAITALL)


def acceptance(request):
    """An A-ASSOCIATE-AC to that request, with PDUs of 4 KiB, as bytes."""
    asked = A_ASSOCIATE_RQ()
    asked.decode(request)
    primitive = asked.to_primitive()
    (context,) = primitive.presentation_context_definition_list
    context.result = 0
    primitive.presentation_context_definition_results_list = [context]
    primitive.result, primitive.result_source, primitive.diagnostic = 0, 1, None
    primitive.user_information[0].maximum_length_received = 4096
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    return answer.encode()


def success():
    """A C-STORE-RSP, as bytes of P-DATA-TF."""
    said = C_STORE()
    said.MessageIDBeingRespondedTo, said.Status = 1, 0
    said.AffectedSOPClassUID, said.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
    message = C_STORE_RSP()
    message.primitive_to_message(said)
    pdu = P_DATA_TF()
    pdu.from_primitive(next(message.encode_msg(1, 4096)))
    return pdu.encode()


FRAGMENT = b"\x04\x00\x00\x00\x00\x07\x00\x00\x00\x03\x01\x01\x00"  # one byte of a command, and more follow (PS3.8 E.2)


@contextmanager
def peer(script):
    """A peer that does to its one connection what `script(connection, drip)` says; the destination that it is."""
    closing = threading.Event()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def drip(connection, data):
        """One byte at a time; the last is never sent."""
        for at in range(len(data) - 1):
            if not closing.wait(_DRIP_SECONDS):
                connection.sendall(data[at : at + 1])
        closing.wait()

    def serve():
        with suppress(OSError), listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script(connection, lambda data: drip(connection, data))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield DicomDestination(Peer("PEER", "127.0.0.1", listener.getsockname()[1], "KOPRU", _TIMEOUT_SECONDS))
    finally:
        closing.set()
        listener.close()
        thread.join(10)
        assert not thread.is_alive()


def timed(destination, instances):
    outcomes = []
    attempt = threading.Thread(target=lambda: outcomes.append(destination.store(instances)), daemon=True)
    started = time.monotonic()
    attempt.start()
    attempt.join(10)
    assert not attempt.is_alive(), "the delivery is held"
    return outcomes[0], time.monotonic() - started


@pytest.fixture
def small(tmp_path):
    return [copy(tmp_path, 8)]


def copy(folder, size):
    data_set = ct(size=size)
    file = write_file(folder / "one.dcm", data_set, ExplicitVRLittleEndian).read_bytes()
    uids = (data_set.SOPInstanceUID, data_set.StudyInstanceUID, data_set.SeriesInstanceUID)
    instance = DeidentifiedInstance(CTImageStorage, *uids, ExplicitVRLittleEndian, (file,))
    return Outgoing((CTImageStorage, ExplicitVRLittleEndian), lambda: instance)


def drips_its_acceptance(connection, drip):
    drip(acceptance(received(connection)[1]))


def drips_its_status(connection, drip):
    connection.sendall(acceptance(received(connection)[1]))
    for _ in range(2):  # command and data set
        received(connection)
    drip(success())


def stops_within_its_status(connection, drip):
    connection.sendall(acceptance(received(connection)[1]))
    connection.sendall(success()[:9])
    drip(b"")


def sends_fragments_for_ever(connection, drip):
    connection.sendall(acceptance(received(connection)[1]))
    while True:
        time.sleep(_DRIP_SECONDS)
        connection.sendall(FRAGMENT)


@pytest.mark.parametrize(
    "script", [drips_its_acceptance, drips_its_status, stops_within_its_status, sends_fragments_for_ever]
)
def test_peer_that_never_finishes_its_answer_is_given_up_in_time(small, script):
    with peer(script) as destination:
        outcome, seconds = timed(destination, small)
    assert isinstance(outcome, Retry)
    assert outcome.settled
    assert seconds < 6 * _TIMEOUT_SECONDS


def test_peer_that_drips_its_release_has_what_it_was_sent(small):
    def script(connection, drip):
        connection.sendall(acceptance(received(connection)[1]))
        for _ in range(2):
            received(connection)
        connection.sendall(success())
        received(connection)
        drip(A_RELEASE_RP().encode())

    with peer(script) as destination:
        outcome, seconds = timed(destination, small)
    assert outcome == Delivered(0)
    assert seconds < 6 * _TIMEOUT_SECONDS


def test_peer_that_stops_reading_is_given_up_in_time(tmp_path):
    def script(connection, drip):
        connection.sendall(acceptance(received(connection)[1]))
        drip(b"")

    with peer(script) as destination:
        outcome, seconds = timed(destination, [copy(tmp_path, 2048)])
    assert isinstance(outcome, Retry)
    assert seconds < 6 * _TIMEOUT_SECONDS


def test_peer_that_is_slow_and_goes_on_is_waited_for(tmp_path):
    """Longer than the time-out in all, since that is of silence: large instances on slow lines are none."""
    started = time.monotonic()

    def script(connection, _drip):
        connection.sendall(acceptance(received(connection)[1]))
        while (pdu := received(connection))[0] == bytes([_P_DATA]):
            if time.monotonic() - started < 3 * _TIMEOUT_SECONDS:
                time.sleep(_DRIP_SECONDS / 10)
            if pdu[1][11] == 2:  # the last fragment of a data set (PS3.8 E.2)
                connection.sendall(success())
        connection.sendall(A_RELEASE_RP().encode())

    with peer(script) as destination:
        outcome, seconds = timed(destination, [copy(tmp_path, 2048)])
    assert outcome == Delivered(0)
    assert seconds > 2 * _TIMEOUT_SECONDS
