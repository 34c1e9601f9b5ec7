"""What `kopru send` says when a peer does not take what it is sent: which of them it was, in one line."""

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt

from adapters.dicom.peer_answers import rejection, status_name
from tests.cli.conftest import Run
from tests.receiver.instances import ct, write_file


@contextmanager
def peer(
    *, answer: Callable[[evt.Event], int | Dataset] = lambda _event: 0, sop_class: str = CTImageStorage, **rules: object
) -> Iterator[int]:
    """An application entity that answers C-STORE as told; its port."""
    entity = AE(ae_title="PEER")
    entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    for name, value in rules.items():
        setattr(entity, name, value)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def bare_peer(sends: bytes) -> Iterator[int]:
    """Something that answers the request for an association with these bytes and closes; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(sends)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_file(tmp_path / "in" / "ct.dcm", ct(size=4))


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def test_a_port_where_nothing_listens_is_a_refused_connection(run: Run, image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answer = run("send", image, "--to", f"PEER@127.0.0.1:{port}")
    assert answer.code == 1
    assert f"PEER at 127.0.0.1:{port} cannot be reached: connection refused" in one_line(answer.err)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_that_cannot_be_is_a_mistake_in_the_call(run: Run, image: Path, port: int) -> None:
    answer = run("send", image, "--to", f"PEER@127.0.0.1:{port}", columns=200)
    assert answer.code == 2
    assert "1 to 65535" in one_line(answer.err)


def test_a_port_that_is_not_dicom_is_told_from_one_where_nothing_listens(run: Run, image: Path) -> None:
    with bare_peer(b"") as port:
        answer = run("send", image, "--to", f"PEER@127.0.0.1:{port}")
    assert answer.code == 1
    assert "is it a DICOM port?" in one_line(answer.err)


def test_a_rejection_says_which_title_and_what_to_change(run: Run, image: Path) -> None:
    with peer(require_calling_aet=["OTHER"]) as port:
        calling = run("send", image, "--to", f"PEER@127.0.0.1:{port}", "--calling", "ME")
    assert calling.code == 1
    said = one_line(calling.err)
    assert "rejected the association: calling AE title not recognized (for good)" in said
    assert "ME" in said
    assert "--calling" in said
    with peer(require_called_aet=True) as port:
        called = run("send", image, "--to", f"NOBODY@127.0.0.1:{port}")
    assert "called AE title not recognized" in called.err
    assert "before the @ of --to" in called.err


def test_every_rejection_has_words_and_an_abort_is_no_rejection(run: Run, image: Path) -> None:
    with bare_peer(bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 1))) as port:  # PS3.8 9.3.4: transient, provider, congestion
        busy = run("send", image, "--to", f"PEER@127.0.0.1:{port}")
    assert "rejected the association: temporary congestion (for now)" in one_line(busy.err)
    with bare_peer(bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 6))) as port:  # PS3.8 9.3.8
        aborted = run("send", image, "--to", f"PEER@127.0.0.1:{port}")
    assert "aborted instead of accepting an association: invalid PDU parameter value" in one_line(aborted.err)
    assert rejection(1, 3, 2) == "local limit exceeded (for good)"
    assert rejection(9, 9, 9) == "source 9, reason 9 (result 9)"


def test_no_accepted_context_is_told_for_each_file_with_the_kind(run: Run, image: Path) -> None:
    with peer(sop_class=MRImageStorage) as port:
        answer = run("send", image, "--to", f"PEER@127.0.0.1:{port}", "--json")
    assert answer.code == 1
    (row,) = json.loads(answer.out)
    assert row["detail"] == (
        "not sent: no accepted presentation context for CT Image Storage in Explicit VR Little Endian"
    )
    assert row["status"] is None


def test_a_status_is_told_by_its_name(run: Run, image: Path) -> None:
    named = {
        0xA702: "refused: out of resources",
        0xA900: "error: data set does not match SOP class",
        0xC123: "error: cannot understand",
        0x0124: "refused: not authorized",
        0x0123: "unknown status",
        0xB000: "warning: coercion of data elements",
        0xB123: "warning",
        0x0000: "",
    }
    waiting = iter(named)
    copies = [shutil.copy(image, image.with_name(f"{number}.dcm")) for number in range(len(named))]
    with peer(answer=lambda _event: next(waiting)) as port:
        answer = run("send", *copies, "--to", f"PEER@127.0.0.1:{port}", "--json")
    assert answer.code == 1
    rows = json.loads(answer.out)
    assert [(row["status"], row["detail"]) for row in rows] == [(f"0x{code:04X}", name) for code, name in named.items()]
    assert [row["stored"] for row in rows] == [False] * 5 + [True] * 3


def test_what_the_peer_adds_to_a_status_stays_on_the_line(run: Run, image: Path) -> None:
    def answer(_event: evt.Event) -> Dataset:
        status = Dataset()
        status.Status = 0xA700
        status.ErrorComment = "disk\x1b[31m full"
        return status

    with peer(answer=answer) as port:
        (row,) = json.loads(run("send", image, "--to", f"PEER@127.0.0.1:{port}", "--json").out)
    assert row["detail"] == "refused: out of resources: disk[31m full"


def test_files_that_were_not_sent_for_want_of_an_association_are_listed(run: Run, image: Path) -> None:
    (image.parent / "no.dcm").write_bytes(b"no DICOM")
    with peer(require_calling_aet=["OTHER"]) as port:
        answer = run("send", image.parent, "--to", f"PEER@127.0.0.1:{port}", "--json")
    rows = json.loads(answer.out)
    assert [(Path(row["file"]).name, row["stored"]) for row in rows] == [("ct.dcm", False), ("no.dcm", False)]
    assert rows[0]["detail"] == "not sent: no association"
    assert "no DICOM Part 10 file" in rows[1]["detail"]


def test_every_failure_status_that_the_receiver_gives_has_a_name() -> None:
    from adapters.dicom import Status

    assert all(status_name(status) != "unknown status" for status in Status)
