"""Real peers send: dcmtk in every transfer syntax it can make, pynetdicom in all others. Bytes stay as they were."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind, Verification

from adapters.dicom import SendError, send_files
from adapters.storage import EventKind, ReceiptKind
from tests.peers.dcmtk import Dcmtk
from tests.receiver.instances import PATIENT_NAME, ct, data_set_of, encoded, write_file
from tests.receiver.raw_peer import (
    ASSOCIATE_RJ,
    CT,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    associate_request,
    command,
    parse_response,
    pdu,
    pdv,
)
from tests.receiver.receiver_process import ReceiverOptions
from tests.receiver.receivers import Receivers
from tests.waiting import wait_until

PRIVATE_SOP_CLASS = "1.2.826.0.1.3680043.9.9999.1.1"
PRIVATE_TRANSFER_SYNTAX = "1.2.826.0.1.3680043.9.9999.1.2"
WITHOUT_DATA_SET = {"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"}


@pytest.fixture(scope="module")
def dcmtk() -> Dcmtk:
    return Dcmtk()


@pytest.fixture
def receivers(shared_receivers: Receivers) -> Receivers:
    return shared_receivers


def assert_kept_as_sent(receivers: Receivers, path: Path, instance: str, transfer_syntax: str) -> None:
    found = [(r, data) for _, r, data in receivers.opened() if r.sop_instance_uid == instance]
    assert len(found) == 1
    receipt, data = found[0]
    assert receipt.kind is ReceiptKind.INSTANCE
    assert receipt.transfer_syntax_uid == transfer_syntax
    sent = data_set_of(path)
    if transfer_syntax == DeflatedExplicitVRLittleEndian:  # of even length on the network (PS3.5 A.5)
        sent += b"\0" * (len(sent) % 2)
    assert data == sent


# dcmtk

_MAKERS: dict[str, tuple[list[str], str, list[str]]] = {
    # how dcmtk makes it, the transfer syntax, how storescu proposes it (empty: only dcmsend can)
    "implicit": (["dcmconv", "+ti"], "1.2.840.10008.1.2", ["-xi"]),
    "explicit": (["dcmconv", "+te"], "1.2.840.10008.1.2.1", ["-xe"]),
    "big endian": (["dcmconv", "+tb"], "1.2.840.10008.1.2.2", ["-xb"]),
    "deflated": (["dcmconv", "+td"], "1.2.840.10008.1.2.1.99", ["-xd"]),
    "RLE": (["dcmcrle"], "1.2.840.10008.1.2.5", ["-xr"]),
    "JPEG lossless SV1": (["dcmcjpeg", "+e1"], "1.2.840.10008.1.2.4.70", ["-xs"]),
    "JPEG lossless": (["dcmcjpeg", "+el"], "1.2.840.10008.1.2.4.57", []),
    "JPEG baseline": (["dcmcjpeg", "+eb"], "1.2.840.10008.1.2.4.50", ["-xy"]),
    "JPEG extended": (["dcmcjpeg", "+ee"], "1.2.840.10008.1.2.4.51", ["-xx"]),
    "JPEG spectral": (["dcmcjpeg", "+es"], "1.2.840.10008.1.2.4.53", []),
    "JPEG progressive": (["dcmcjpeg", "+ep"], "1.2.840.10008.1.2.4.55", []),
    "JPEG-LS lossless": (["dcmcjpls", "+el"], "1.2.840.10008.1.2.4.80", ["-xt"]),
    "JPEG-LS lossy": (["dcmcjpls", "+en"], "1.2.840.10008.1.2.4.81", ["-xu"]),
}


@pytest.fixture(scope="module")
def made(dcmtk: Dcmtk, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], tuple[Path, str]]]:
    """Makes a fresh file of each kind with dcmtk: its path and SOP Instance UID."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str) -> tuple[Path, str]:
        data_set = ct(size=32)
        if name == "JPEG baseline":  # 8 bits
            data_set.BitsAllocated = data_set.BitsStored = 8
            data_set.HighBit = 7
            data_set.add_new(0x7FE00010, "OB", np.arange(32 * 32, dtype=np.uint8).tobytes())
        plain = write_file(folder / f"{data_set.SOPInstanceUID}.dcm", data_set)
        target = plain.with_suffix(".sent.dcm")
        tool, *options = _MAKERS[name][0]
        dcmtk(tool, *options, plain, target)
        shown = dcmtk("dcmdump", "+P", "SOPInstanceUID", target).stdout
        return target, shown.split("[")[1].split("]")[0]

    return {name: lambda name=name: make(name) for name in _MAKERS}


@pytest.mark.dcmtk
def test_echoscu_is_answered(receivers: Receivers, dcmtk: Dcmtk) -> None:
    dcmtk("echoscu", "-aec", "KOPRU", "127.0.0.1", receivers.port)


@pytest.mark.dcmtk
@pytest.mark.parametrize("name", [name for name, (_, _, options) in _MAKERS.items() if options])
def test_storescu_sends_every_transfer_syntax_it_can(
    receivers: Receivers, dcmtk: Dcmtk, made: dict[str, Callable[[], tuple[Path, str]]], name: str
) -> None:
    path, instance = made[name]()
    dcmtk("storescu", "-R", *_MAKERS[name][2], "-aec", "KOPRU", "127.0.0.1", receivers.port, path)
    assert_kept_as_sent(receivers, path, instance, _MAKERS[name][1])


@pytest.mark.dcmtk
def test_dcmsend_sends_every_kind_in_one_association(
    receivers: Receivers, dcmtk: Dcmtk, made: dict[str, Callable[[], tuple[Path, str]]]
) -> None:
    files = {name: make() for name, make in made.items()}
    dcmtk("dcmsend", "-dn", "-aec", "KOPRU", "127.0.0.1", receivers.port, *(path for path, _ in files.values()))
    assert {instance for _, instance in files.values()} <= receivers.instances().keys()
    for name, (path, instance) in files.items():
        if _MAKERS[name][0][0] != "dcmconv":  # it converts between uncompressed ones as it likes
            assert_kept_as_sent(receivers, path, instance, _MAKERS[name][1])


@pytest.mark.dcmtk
def test_an_association_is_told_from_opening_to_release(receivers: Receivers, dcmtk: Dcmtk, tmp_path: Path) -> None:
    data_set = ct(size=32)
    path = write_file(tmp_path / "ct.dcm", data_set)
    dcmtk("dcmsend", "-aet", "CT_ROOM_1", "-aec", "KOPRU", "127.0.0.1", receivers.port, path)
    instance = next(r for _, r, _ in receivers.opened() if r.sop_instance_uid == data_set.SOPInstanceUID)
    events = [event for event in receivers.events() if event.association_id == instance.association_id]
    assert [event.event for event in events] == [EventKind.ASSOCIATION_OPENED, EventKind.ASSOCIATION_RELEASED]
    assert {event.calling_ae for event in events} == {"CT_ROOM_1"}
    assert (events[-1].stored, events[-1].refused) == (1, 0)
    assert events[0].received_at <= instance.received_at <= events[1].received_at


# Who may call


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("calling", "called", "expected"),
    [
        ("UNKNOWN", "KOPRU", "Calling AE Title Not Recognized"),
        ("KNOWN", "SOMEONE", "Called AE Title Not Recognized"),
        ("KNOWN", "KOPRU", None),
    ],
)
def test_an_unknown_ae_is_rejected_with_the_right_reason(
    restricted_receivers: Receivers, dcmtk: Dcmtk, calling: str, called: str, expected: str | None
) -> None:
    before = len(restricted_receivers.events())
    done = dcmtk("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", restricted_receivers.port, check=False)
    assert (done.returncode == 0) == (expected is None)
    if expected:
        assert expected in done.stderr + done.stdout
        event = wait_until(lambda: restricted_receivers.events()[before:], "the event")[-1]
        assert (event.event, event.calling_ae) == (EventKind.ASSOCIATION_REJECTED, calling)
        assert event.detail


@pytest.fixture(scope="module")
def restricted_receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    one = Receivers(tmp_path_factory.mktemp("restricted"), ReceiverOptions(root="", calling_aes=["KNOWN"]))
    one.start()
    yield one
    one.close()


def test_reject_reasons_are_those_of_ps3_8(restricted_receivers: Receivers) -> None:
    for options, expected in (
        ({"calling": "NOBODY"}, (1, 1, 3)),
        ({"calling": "KNOWN", "called": "NOBODY"}, (1, 1, 7)),
        ({"calling": "KNOWN", "application_context": "1.2.3"}, (1, 1, 2)),
        ({"calling": "KNOWN", "version": 2}, (1, 2, 2)),
    ):
        with RawPeer(restricted_receivers.port) as peer:
            peer.send(associate_request(**options))  # type: ignore[arg-type]
            kind, body = peer.read_pdu()
            assert (kind, tuple(body[1:])) == (ASSOCIATE_RJ, expected)


# What is negotiated


def test_every_storage_sop_class_and_transfer_syntax_is_accepted_and_other_services_are_not(
    receivers: Receivers,
) -> None:
    entity = AE("TEST")
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    assert len(classes) > 128
    for start in range(0, len(classes), 128):
        group = classes[start : start + 128]
        entity.requested_contexts = []
        for sop_class in group:
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", receivers.port, ae_title="KOPRU")
        assert association.is_established
        assert {str(context.abstract_syntax) for context in association.accepted_contexts} == set(group)
        association.release()
    syntaxes = [str(uid) for uid in ALL_TRANSFER_SYNTAXES]
    contexts = [build_context(CT, syntax) for syntax in [*syntaxes, PRIVATE_TRANSFER_SYNTAX, *WITHOUT_DATA_SET]]
    contexts += [
        build_context(PRIVATE_SOP_CLASS, ExplicitVRLittleEndian),
        build_context(PatientRootQueryRetrieveInformationModelFind, ExplicitVRLittleEndian),
        build_context(Verification, ImplicitVRLittleEndian),
    ]
    association = entity.associate("127.0.0.1", receivers.port, ae_title="KOPRU", contexts=contexts)
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    rejected = {(str(c.abstract_syntax), c.result) for c in association.rejected_contexts}
    association.release()
    assert accepted == {
        *((CT, syntax) for syntax in [*syntaxes, PRIVATE_TRANSFER_SYNTAX]),
        (PRIVATE_SOP_CLASS, str(ExplicitVRLittleEndian)),
        (str(Verification), str(ImplicitVRLittleEndian)),
    }
    assert rejected == {(str(PatientRootQueryRetrieveInformationModelFind), 3), (CT, 4)}


def test_the_peers_order_of_transfer_syntaxes_is_followed_but_for_pixels_behind_a_url(receivers: Receivers) -> None:
    jpip = "1.2.840.10008.1.2.4.94"
    with RawPeer(receivers.port) as peer:
        peer.associate(
            [
                (1, CT, (IMPLICIT, EXPLICIT)),
                (3, CT, (EXPLICIT, IMPLICIT)),
                (5, CT, (PRIVATE_TRANSFER_SYNTAX, EXPLICIT)),
                (7, CT, (jpip, EXPLICIT)),
                (9, CT, (jpip,)),
            ]
        )
        assert peer.accepted == {1: IMPLICIT, 3: EXPLICIT, 5: PRIVATE_TRANSFER_SYNTAX, 7: EXPLICIT, 9: jpip}
        peer.release()


# pynetdicom


def _encapsulated(data_set: Dataset) -> Dataset:
    data_set.add_new(0x7FE00010, "OB", encapsulate([b"\xff\x4f no codestream that anybody could decode "]))
    data_set["PixelData"].is_undefined_length = True
    return data_set


def test_every_transfer_syntax_and_a_private_one_is_stored_as_sent(receivers: Receivers, tmp_path: Path) -> None:
    plain = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
    sent: dict[Path, tuple[str, str]] = {}
    for syntax in (*ALL_TRANSFER_SYNTAXES, PRIVATE_TRANSFER_SYNTAX):
        if syntax in plain or "Deflate" in UID(syntax).name:
            continue  # dcmtk's part, above
        data_set = _encapsulated(ct(size=8))
        path = tmp_path / f"{syntax}.dcm"
        write_file(path, data_set)
        raw = path.read_bytes()  # pydicom writes no private syntax; the header is patched to say so
        old, new = EXPLICIT.encode() + b"\0", str(syntax).encode() + b"\0" * (len(str(syntax)) % 2)
        position = raw.index(b"\x02\0\x10\0UI")
        meta_length = int.from_bytes(raw[140:144], "little") + len(new) - len(old)
        raw = (
            raw[:140]
            + meta_length.to_bytes(4, "little")
            + raw[144:position]
            + b"\x02\0\x10\0UI"
            + len(new).to_bytes(2, "little")
            + new
            + raw[position + 8 + len(old) :]
        )
        path.write_bytes(raw)
        sent[path] = (str(data_set.SOPInstanceUID), str(syntax))
    results = list(send_files(sent, called_ae="KOPRU", host="127.0.0.1", port=receivers.port))
    assert [result for result in results if not result.stored] == []
    for path, (instance, syntax) in sent.items():
        assert_kept_as_sent(receivers, path, instance, syntax)


def test_a_private_sop_class_is_stored(receivers: Receivers, tmp_path: Path) -> None:
    data_set = ct(size=8, sop_class=PRIVATE_SOP_CLASS)
    path = write_file(tmp_path / "private.dcm", data_set, ImplicitVRLittleEndian)
    (result,) = send_files([path], called_ae="KOPRU", host="127.0.0.1", port=receivers.port)
    assert result.stored
    assert_kept_as_sent(receivers, path, data_set.SOPInstanceUID, ImplicitVRLittleEndian)


def test_sending_splits_more_than_128_kinds_and_tells_what_it_could_not_send(
    receivers: Receivers, tmp_path: Path
) -> None:
    paths = []
    for number in range(130):
        data_set = ct(size=4, sop_class=f"{PRIVATE_SOP_CLASS}.{number}")
        paths.append(write_file(tmp_path / f"{number}.dcm", data_set))
    (tmp_path / "no.dcm").write_bytes(b"no DICOM")
    query = ct(size=4, sop_class=PatientRootQueryRetrieveInformationModelFind)
    rest = [tmp_path / "no.dcm", tmp_path / "absent.dcm", write_file(tmp_path / "query.dcm", query)]
    results = {r.path: r for r in send_files([*paths, *rest], called_ae="KOPRU", host="127.0.0.1", port=receivers.port)}
    assert all(results[path].stored for path in paths)
    assert not any(results[path].stored for path in rest)
    assert all(results[path].message for path in rest)
    assert PATIENT_NAME not in "".join(result.message for result in results.values())


def test_sending_says_why_it_cannot(restricted_receivers: Receivers, tmp_path: Path) -> None:
    path = write_file(tmp_path / "ct.dcm", ct(size=4))
    with pytest.raises(SendError, match=r"(?i)calling AE title not recogni"):
        list(send_files([path], called_ae="KOPRU", host="127.0.0.1", port=restricted_receivers.port))
    with pytest.raises(SendError, match="cannot be reached"):
        list(send_files([path], called_ae="KOPRU", host="127.0.0.1", port=1))


def test_many_fragments_and_many_messages_in_one_association(receivers: Receivers) -> None:
    with RawPeer(receivers.port) as peer:
        peer.associate(maximum_length=64)  # so that even the answers come in fragments
        for fragment_bytes in (1, 7, 333, 1 << 19):
            data_set = ct(size=32 if fragment_bytes > 100 else 4)
            raw = encoded(data_set, EXPLICIT)
            response = _store_in_parts(peer, raw, data_set.SOPInstanceUID, fragment_bytes)
            assert response == 0
            assert receivers.instances()[data_set.SOPInstanceUID] == raw
        peer.release()


def _store_in_parts(peer: RawPeer, raw: bytes, instance: str, fragment_bytes: int) -> int:
    """Several fragments in a PDU; the answer, too, may come in fragments."""
    pieces = [raw[start : start + fragment_bytes] for start in range(0, len(raw), fragment_bytes)]
    pdvs = [pdv(1, 2 if number == len(pieces) - 1 else 0, piece) for number, piece in enumerate(pieces)]
    head = command(1, instance=instance)
    peer.send(pdu(4, pdv(1, 1, head[:50]) + pdv(1, 3, head[50:])))
    for start in range(0, len(pdvs), 50):
        peer.send(pdu(4, b"".join(pdvs[start : start + 50])))
    answer = b""
    while True:
        _, body = peer.read_pdu()
        assert len(body) <= 64
        answer += body[6:]
        if body[5] & 2:
            return parse_response(answer).status


def test_the_same_uid_twice_is_stored_twice_and_left_to_the_index(receivers: Receivers) -> None:
    data_set = ct(size=8)
    with RawPeer(receivers.port) as peer:
        peer.associate()
        for _ in range(2):
            assert peer.store(encoded(data_set, EXPLICIT), data_set.SOPInstanceUID).status == 0
        peer.release()
    assert sum(r.sop_instance_uid == data_set.SOPInstanceUID for _, r, _ in receivers.opened()) == 2


@pytest.mark.parametrize("uid", ["1.2.0.3", "1.2.03.4"])  # the second is against PS3.5 9.1, common, and harmless
def test_a_uid_with_zeros_is_taken(receivers: Receivers, uid: str) -> None:
    data_set = ct(size=8)
    data_set.StudyInstanceUID = uid
    with RawPeer(receivers.port) as peer:
        peer.associate()
        assert peer.store(encoded(data_set, EXPLICIT), data_set.SOPInstanceUID).status == 0
        peer.release()
