"""What a broken or hostile peer sends: refused with a clear status, told to the operator, and the daemon stays up."""

import contextlib
import io
import socket
import struct
from pathlib import Path

import pydicom

from tests.receiver.instances import encoded
from tests.receiver.raw_peer import ASSOCIATE_RJ, EXPLICIT, RawPeer, associate_request
from tests.system.kopru import SOURCE, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def test_garbage_on_the_port_harms_nobody(kopru: Kopru, tmp_path: Path):
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff" + b"A" * 100, b"\x00" * 4096):
        with socket.create_connection(("127.0.0.1", kopru.port), timeout=10) as connection:
            connection.sendall(noise)
            connection.settimeout(10)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                connection.recv(100)
    before = kopru.children()
    assert kopru.send([save(as_dx(drawn_image(1), MadeUpPatient(1)), tmp_path / "in" / "1.dcm")])
    kopru.wait_for_states({"delivered": 1})
    assert kopru.children() == before


def test_an_unknown_calling_title_is_rejected_and_the_operator_sees_it(kopru: Kopru):
    with RawPeer(kopru.port) as peer:
        peer.send(associate_request([(1, DX, (EXPLICIT,))], calling="STRANGER"))
        kind, body = peer.read_pdu()
    assert kind == ASSOCIATE_RJ
    assert body[1:] == bytes((1, 1, 3))  # permanent, service-user, calling AE title not recognised (PS3.8 table 9-21)
    assert wait_until(kopru.refused, "the rejection in the status") == {"STRANGER": 1}


def _store(kopru: Kopru, image: pydicom.Dataset) -> int:
    """Send a data set as it is encoded; gives the DIMSE status."""
    with RawPeer(kopru.port) as peer:
        peer.associate([(1, DX, (EXPLICIT,))], calling=SOURCE)
        answer = peer.store(encoded(image, EXPLICIT), image.SOPInstanceUID, sop_class=DX)
        peer.release()
    return answer.status


def test_paths_for_uids_are_refused_and_nothing_is_written_outside(kopru: Kopru):
    def outside() -> set[Path]:
        return {path for path in kopru.folder.parent.rglob("*") if not path.is_relative_to(kopru.data)}

    before = outside()
    image = as_dx(drawn_image(1), MadeUpPatient(1))
    image.StudyInstanceUID = "../../etc"
    assert _store(kopru, image) in (0xC000, 0xA900)
    assert wait_until(kopru.refused, "the refusal in the status") == {SOURCE: 1}
    assert outside() == before
    assert kopru.studies() == []


def test_a_missing_patient_id_is_taken_and_gets_a_scope_of_its_own(kopru: Kopru, tmp_path: Path):
    files = []
    for number in range(2):
        image = as_dx(drawn_image(number), MadeUpPatient(number))
        image.PatientID = ""
        files.append(save(image, tmp_path / "in" / f"{number}.dcm"))
    assert kopru.send(files) == files
    studies = kopru.wait_for_states({"delivered": 2})
    assert studies[0]["pseudonym"] != studies[1]["pseudonym"]


def test_a_length_field_of_four_gigabytes_is_refused(kopru: Kopru, tmp_path: Path):
    image = as_dx(drawn_image(1), MadeUpPatient(1))
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    raw = buffer.getvalue()
    pixel_header = b"\xe0\x7f\x10\x00OW\x00\x00"
    at = raw.index(pixel_header) + len(pixel_header)
    path = tmp_path / "in" / "1.dcm"
    path.parent.mkdir()
    path.write_bytes(raw[:at] + struct.pack("<I", 0xFFFFFFF0) + raw[at + 4 :])
    assert kopru.send([path]) == []
    assert wait_until(kopru.refused, "the refusal in the status") == {SOURCE: 1}
