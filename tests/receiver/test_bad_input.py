"""Whatever a peer sends: a clear answer, nothing outside the store, the process goes on, and the operator finds out."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from adapters.storage import EventKind, Receipt
from tests.receiver.instances import ct, encoded
from tests.receiver.raw_peer import (
    ABORT,
    CT,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    RawPeer,
    associate_request,
    command,
    item,
    p_data,
    pdu,
    pdv,
)
from tests.receiver.receivers import Receivers
from tests.waiting import wait_until


@pytest.fixture
def receivers(shared_receivers: Receivers) -> Receivers:
    return shared_receivers


@pytest.fixture(autouse=True)
def _process_stays_up_and_nothing_is_written_elsewhere(shared_receivers: Receivers) -> None:
    def outside() -> set[str]:
        return {
            str(path.relative_to(shared_receivers.root))
            for path in shared_receivers.root.rglob("*")
            if "store" not in path.relative_to(shared_receivers.root).parts[:1]
            and "slots" not in path.relative_to(shared_receivers.root).parts[:1]
        }

    process = shared_receivers.processes[0]
    before = outside()
    yield
    assert process.poll() is None
    assert shared_receivers.processes == [process]
    assert outside() == before
    with RawPeer(shared_receivers.port) as peer:
        peer.associate([(1, VERIFICATION, (IMPLICIT,))])
        assert peer.echo().status == 0
        peer.release()


def events_of(receivers: Receivers, peer_port: int, kind: EventKind) -> list[Receipt]:
    return [event for event in receivers.events() if event.event is kind]


def newest(receivers: Receivers, kind: EventKind, count_before: int) -> Receipt:
    found = wait_until(
        lambda: (e := [e for e in receivers.events() if e.event is kind]) and len(e) > count_before and e, f"{kind}"
    )
    return found[-1]


def count(receivers: Receivers, kind: EventKind) -> int:
    return sum(event.event is kind for event in receivers.events())


def memory_peak_bytes(receivers: Receivers) -> int:
    status = Path(f"/proc/{receivers.processes[0].pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# Before an association

_RANDOM = random.Random(20260102)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        bytes(4096),
        b"\xff" * 4096,
        _RANDOM.randbytes(5000),
        pdu(9, b"no such PDU"),
        pdu(4, pdv(1, 3, command(1))),  # P-DATA without an association
        pdu(5, bytes(4)),  # so a release
        pdu(2, bytes(80)),  # and an answer to no question
        pdu(1, b""),
        pdu(1, bytes(67)),
        pdu(1, b"", length=0xFFFFFFFF),
        pdu(1, bytes(100), length=2 << 20),
        associate_request([]),
        associate_request([(1, CT, (EXPLICIT,)), (1, CT, (IMPLICIT,))]),
        associate_request([(2, CT, (EXPLICIT,))]),
        associate_request(more=b"\x50\x00\xff\xff"),
        associate_request(more=b"\x20"),
        associate_request(more=item(0x20, bytes((3, 0, 0, 0)) + b"\x30\x00\xff\xff1.2")),
        associate_request(more=item(0x20, bytes((3, 0, 0, 0)) + item(0x30, "1.2.ö".encode()))),
        associate_request(more=item(0x50, item(0x51, b"\0\0\1"))),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_association_request_is_aborted_and_told(receivers: Receivers, data: bytes) -> None:
    before = count(receivers, EventKind.CONNECTION_REFUSED)
    with RawPeer(receivers.port) as peer:
        peer.send(data)
        kind, body = peer.read_pdu()
        assert kind == ABORT
        assert body[2] == 2  # the provider
        peer.socket.shutdown(1)
        assert peer.is_closed()
    event = newest(receivers, EventKind.CONNECTION_REFUSED, before)
    assert event.detail
    assert event.peer_address == "127.0.0.1"


def test_a_cut_request_is_told(receivers: Receivers) -> None:
    before = count(receivers, EventKind.CONNECTION_REFUSED)
    with RawPeer(receivers.port) as peer:
        peer.send(associate_request()[:100])
    assert "within a PDU" in newest(receivers, EventKind.CONNECTION_REFUSED, before).detail


def test_a_silent_peer_is_sent_away_in_time(receivers: Receivers) -> None:
    before = count(receivers, EventKind.CONNECTION_REFUSED)
    with RawPeer(receivers.port) as peer:
        assert peer.is_closed()
    assert "silent" in newest(receivers, EventKind.CONNECTION_REFUSED, before).detail


def test_a_peer_that_drips_is_sent_away_in_time(receivers: Receivers) -> None:
    with RawPeer(receivers.port) as peer:
        peer.socket.settimeout(0.1)
        request = iter(associate_request())

        def is_sent_away() -> bool:
            try:
                peer.send(bytes([next(request)]))
                return peer.socket.recv(10)[:1] == bytes([ABORT])
            except TimeoutError:
                return False

        wait_until(is_sent_away, "an abort", seconds=5)


def test_a_load_balancer_that_only_opens_and_closes_leaves_no_trace(receivers: Receivers) -> None:
    before = len(receivers.events())
    RawPeer(receivers.port).socket.close()
    with RawPeer(receivers.port) as peer:  # whose events come later
        peer.send(b"no DICOM at all")
        peer.read_pdu()
    wait_until(lambda: len(receivers.events()) > before, "the second peer's event")
    assert len(receivers.events()) == before + 1


# Within an association


@pytest.mark.parametrize(
    "data",
    [
        pdu(4, b"", length=0xFFFFFFFF),
        pdu(4, b"", length=(1 << 20) + 4096),  # more than we announced
        pdu(4, b"\0\0"),
        pdu(4, pdv(1, 3, b"abc", length=0xFFFFFFFF)),
        pdu(4, pdv(1, 3, b"abc", length=1)),
        p_data(3, 3, command(1)),  # a context that was not proposed
        p_data(1, 2, b"data first"),
        p_data(1, 3, b"\0\0\0\0\xff\xff\xff\xff"),  # a command element of 4 GB
        p_data(1, 3, b"\x08\0\0\0\2\0\0\0ab"),  # a command set of another group
        p_data(1, 3, b""),
        p_data(1, 3, command(0x8001, data_set=False)),  # an answer that we did not ask for
        pdu(4, b"".join(pdv(1, 1, bytes(1 << 14)) for _ in range(5))),  # a command without end
        pdu(1, bytes(68)),
        pdu(0x33, b"abc"),
        p_data(1, 3, command(1, instance="1.2.3")) + p_data(1, 3, command(1, instance="1.2.4")),
    ],
    ids=lambda data: repr(data[:18]),
)
def test_a_peer_that_breaks_the_protocol_is_aborted_and_told(receivers: Receivers, data: bytes) -> None:
    before = count(receivers, EventKind.ASSOCIATION_ABORTED)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        peer.send(data)
        kind, body = peer.read_pdu()
        assert (kind, body[2]) == (ABORT, 2)
        peer.socket.shutdown(1)
        assert peer.is_closed()
    event = newest(receivers, EventKind.ASSOCIATION_ABORTED, before)
    assert event.detail
    assert event.calling_ae == "TEST"


def test_a_length_of_4_gb_takes_no_memory(receivers: Receivers) -> None:
    before = memory_peak_bytes(receivers)
    for _ in range(3):
        with RawPeer(receivers.port) as peer:
            peer.associate()
            peer.send(pdu(4, bytes(1 << 16), length=0xFFFFFFFF))
            assert peer.read_pdu()[0] == ABORT
    assert memory_peak_bytes(receivers) - before < 16 << 20


@pytest.mark.parametrize("cut", [3, 8, 200])
def test_a_connection_lost_within_a_pdu_stores_nothing(receivers: Receivers, cut: int) -> None:
    before = count(receivers, EventKind.ASSOCIATION_ABORTED)
    data_set = ct()
    with RawPeer(receivers.port) as peer:
        peer.associate()
        peer.send(p_data(1, 3, command(1, instance=data_set.SOPInstanceUID)))
        peer.send(p_data(1, 2, encoded(data_set, EXPLICIT))[:cut])
    assert newest(receivers, EventKind.ASSOCIATION_ABORTED, before).detail
    assert data_set.SOPInstanceUID not in receivers.instances()


def test_a_peer_that_falls_silent_is_aborted(receivers: Receivers) -> None:
    before = count(receivers, EventKind.ASSOCIATION_ABORTED)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        assert peer.read_pdu()[0] == ABORT
    assert "silent" in newest(receivers, EventKind.ASSOCIATION_ABORTED, before).detail


def test_an_abort_of_the_peer_is_told(receivers: Receivers) -> None:
    before = count(receivers, EventKind.ASSOCIATION_ABORTED)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        peer.send(pdu(7, bytes(4)))
    assert "peer aborted" in newest(receivers, EventKind.ASSOCIATION_ABORTED, before).detail


def test_random_changes_to_an_exchange_never_stop_the_receiver(receivers: Receivers) -> None:
    data_set = ct(size=8)
    good = associate_request() + p_data(1, 3, command(1, instance=data_set.SOPInstanceUID))
    good += p_data(1, 2, encoded(data_set, EXPLICIT)) + pdu(5, bytes(4))
    seed = int(os.environ.get("KOPRU_SEED", "7"))
    chance = random.Random(seed)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        with RawPeer(receivers.port) as peer:
            peer.send(bytes(bad[: chance.randrange(1, len(bad))]))
            peer.socket.shutdown(1)
            assert peer.is_closed(), seed


# Requests and data sets


def store(
    receivers: Receivers, data: bytes, instance: str, *, sop_class: str = CT, syntax: str = EXPLICIT
) -> tuple[int, str]:
    with RawPeer(receivers.port) as peer:
        peer.associate([(1, CT, (syntax,))])
        response = peer.store(data, instance, sop_class=sop_class)
        assert response.sop_instance_uid == instance
        peer.release()
    return response.status, response.comment


def nested(depth: int) -> bytes:
    """Sequences within sequences, explicit VR little endian, of undefined length."""
    opening = bytes.fromhex("0800401153510000ffffffff feff00e0ffffffff".replace(" ", ""))
    closing = bytes.fromhex("feff0de000000000 feffdde000000000".replace(" ", ""))
    return opening * depth + closing * depth


def element(tag: str, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    group, number = (int(part, 16) for part in tag.split(","))
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value) if length is None else length) + value


_BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut within a value": lambda good: good[: len(good) // 2],
    "cut within a header": lambda good: good + b"\xe0\x7f\x10",
    "a value longer than the data set": lambda good: good + element("7FE1,0011", "LO", b"ab", length=0xFFFE),
    "a value of 4 GB": lambda good: good + struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 0xFFFFFFFE) + b"ab",
    "a VR that does not exist": lambda good: good + element("7FE1,0011", "ZZ", b"ab"),
    "sequences nested 1,000 deep": lambda good: good[:0] + nested(1000) + good,
    "no DICOM": lambda good: b"%PDF-1.7 " * 500,
    "random bytes": lambda good: _RANDOM.randbytes(3000),
    "an attribute twice": lambda good: good + good,
    "nothing": lambda good: b"",
    "another transfer syntax": lambda good: encoded(ct(), IMPLICIT),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_an_unreadable_data_set_is_refused_with_c000_and_told(receivers: Receivers, name: str) -> None:
    before = count(receivers, EventKind.INSTANCE_REFUSED)
    data_set = ct(size=8)
    status, comment = store(receivers, _BROKEN[name](encoded(data_set, EXPLICIT)), data_set.SOPInstanceUID)
    assert status == 0xC000
    assert 0 < len(comment) <= 64
    event = newest(receivers, EventKind.INSTANCE_REFUSED, before)
    assert (event.status, event.sop_instance_uid) == (0xC000, data_set.SOPInstanceUID)
    assert data_set.SOPInstanceUID not in receivers.instances()


def changed(change: Callable[[Dataset], None]) -> Dataset:
    data_set = ct(size=8)
    change(data_set)
    return data_set


PATH = "../../../../tmp/etc"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda d: d.pop("PatientID"), 0x0000),
        (lambda d: setattr(d, "PatientID", ""), 0x0000),
        (lambda d: d.pop("StudyInstanceUID"), 0xC000),
        (lambda d: d.pop("SeriesInstanceUID"), 0xC000),
        (lambda d: d.pop("SOPInstanceUID"), 0xA900),
        (lambda d: d.pop("SOPClassUID"), 0xA900),
        (lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), 0xA900),
        (lambda d: setattr(d, "SOPInstanceUID", generate_uid()), 0xA900),
    ],
    ids=["no patient id", "empty patient id", "no study", "no series", "no instance", "no class", "class", "instance"],
)
def test_missing_and_contradicting_attributes_get_their_status(
    receivers: Receivers, change: Callable[[Dataset], None], status: int
) -> None:
    data_set = ct(size=8)
    announced = data_set.SOPInstanceUID
    change(data_set)
    assert store(receivers, encoded(data_set, EXPLICIT), announced)[0] == status
    assert (announced in receivers.instances()) == (status == 0)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", [PATH, "/etc/passwd", "1..2", "1.2.", "1.2\\3", "a.b", "1." * 40 + "1"])
def test_a_uid_that_is_none_is_refused(receivers: Receivers, keyword: str, uid: str) -> None:
    data_set = ct(size=8)
    data_set[keyword].value = None
    raw = encoded(data_set, EXPLICIT)
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    tag = struct.pack("<HH", data_set[keyword].tag.group, data_set[keyword].tag.elem)
    raw = raw.replace(tag + b"UI\0\0", tag + b"UI" + struct.pack("<H", len(padded)) + padded)
    announced = uid if keyword == "SOPInstanceUID" else data_set.SOPInstanceUID
    status, comment = store(receivers, raw, announced)
    assert status == 0xC000
    assert "UID" in comment
    assert uid not in comment


def test_a_patient_id_that_cannot_be_decoded_is_refused_and_another_text_is_not(receivers: Receivers) -> None:
    data_set = changed(lambda d: setattr(d, "SpecificCharacterSet", "ISO_IR 999"))
    data_set.PatientName = "ORNEK^TEST"
    assert store(receivers, encoded(data_set, EXPLICIT), data_set.SOPInstanceUID)[0] == 0
    data_set.SOPInstanceUID = generate_uid()
    raw = encoded(data_set, EXPLICIT).replace(b"TEST-4711 ", b"T\xc3\x96ST-4711")
    assert store(receivers, raw, data_set.SOPInstanceUID)[0] == 0xC000


def test_an_instance_larger_than_the_limit_is_refused_and_the_association_goes_on(receivers: Receivers) -> None:
    big, small = ct(size=1024), ct(size=8)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        refused = peer.store(encoded(big, EXPLICIT), big.SOPInstanceUID, fragment_bytes=200_000)
        assert (refused.status, "larger" in refused.comment) == (0xA700, True)
        assert peer.store(encoded(small, EXPLICIT), small.SOPInstanceUID).status == 0
        peer.release()


def test_a_sop_class_that_is_not_the_contexts_is_refused(receivers: Receivers) -> None:
    data_set = ct(size=8)
    status, _ = store(
        receivers, encoded(data_set, EXPLICIT), data_set.SOPInstanceUID, sop_class="1.2.840.10008.5.1.4.1.1.4"
    )
    assert status == 0x0122


def test_a_service_that_is_not_served_is_answered(receivers: Receivers) -> None:
    with RawPeer(receivers.port) as peer:
        peer.associate()
        peer.send(p_data(1, 3, command(0x20)), p_data(1, 2, b""))  # C-FIND
        assert peer.response().status == 0x0211
        peer.send(p_data(1, 3, command(0x0FFF, data_set=False)))  # C-CANCEL, which has no answer
        peer.release()


def test_no_answer_log_or_event_holds_the_patients_data(receivers: Receivers) -> None:
    data_set = ct(size=8)
    raw = encoded(data_set, EXPLICIT)
    secrets = ("TEST-4711", "AYŞE", "19700101", str(data_set.StudyInstanceUID))
    comments = [store(receivers, bad(raw), data_set.SOPInstanceUID)[1] for bad in _BROKEN.values()]
    texts = [*comments, receivers.log_path.read_text(), *(event.detail for event in receivers.events())]
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert "instance_refused" in receivers.log_path.read_text()
