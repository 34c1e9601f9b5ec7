"""A storage SCP as a destination: what each answer of it means, and what is left in memory, on disk and in words."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt

from adapters.dicom import DicomDestination, Outgoing, Peer
from adapters.outcomes import Dead, Delivered, Retry
from anonymize import DeidentifiedInstance
from tests.peers.process import free_port
from tests.peers.storescp import StoreScp
from tests.receiver.instances import ct, data_set_of, write_file

TIMEOUT_SECONDS = 1.0


def copies(folder: Path, count: int = 1, syntax: str = ExplicitVRLittleEndian) -> list[Outgoing]:
    """Instances as the steps hand them over; nobody's."""
    made = []
    for number in range(count):
        data_set = ct(size=8)
        written = ExplicitVRLittleEndian if syntax == JPEG2000Lossless else syntax
        file = write_file(folder / f"{number}.dcm", data_set, written).read_bytes()
        uids = (data_set.SOPInstanceUID, data_set.StudyInstanceUID, data_set.SeriesInstanceUID)
        instance = DeidentifiedInstance(CTImageStorage, *uids, syntax, (file[:7], memoryview(file)[7:]))
        made.append(Outgoing((CTImageStorage, syntax), lambda instance=instance: instance))
    return made


class Archive:
    """An application entity for all tests of the module (starting and ending one takes half a second): it answers each
    C-STORE as `answer` does.
    """

    def __init__(self) -> None:
        self.answer: Callable[[evt.Event], int | Dataset] = lambda _event: 0
        self.associations = 0
        self.entity = AE(ae_title="PEER")
        self.entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        handlers = [(evt.EVT_C_STORE, lambda event: self.answer(event)), (evt.EVT_ACCEPTED, self._count)]
        self.server = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    def _count(self, _event: evt.Event) -> None:
        self.associations += 1

    @property
    def destination(self) -> DicomDestination:
        port = self.server.socket.getsockname()[1]
        return DicomDestination(Peer("PEER", "127.0.0.1", port, "KOPRU", TIMEOUT_SECONDS))


@pytest.fixture(scope="module")
def started() -> Iterator[Archive]:
    archive = Archive()
    yield archive
    archive.server.shutdown()


@pytest.fixture
def archive(started: Archive) -> Iterator[Archive]:
    """The archive, which takes everything unless the test says otherwise."""
    started.answer, started.associations = (lambda _event: 0), 0
    yield started
    started.entity.require_calling_aet = []


REFUSED_AT_ONCE = " (0 of 1 instances were stored before)"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Delivered(0)),
        (0xB000, Delivered(0)),
        (0xB007, Delivered(0)),
        (0x0111, Delivered(0)),
        (0xA700, Retry("0xA700 refused: out of resources" + REFUSED_AT_ONCE, 0xA700)),
        (0xA7FF, Retry("0xA7FF refused: out of resources" + REFUSED_AT_ONCE, 0xA7FF)),
        (0x0110, Retry("0x0110 processing failure" + REFUSED_AT_ONCE, 0x0110)),
        (0x0213, Retry("0x0213 resource limitation" + REFUSED_AT_ONCE, 0x0213)),
        (0xA900, Dead("0xA900 error: data set does not match SOP class" + REFUSED_AT_ONCE)),
        (0xC123, Dead("0xC123 error: cannot understand" + REFUSED_AT_ONCE)),
        (0x0124, Dead("0x0124 refused: not authorized" + REFUSED_AT_ONCE)),
        (0x4711, Dead("0x4711 unknown status" + REFUSED_AT_ONCE)),
    ],
)
def test_a_status_says_whether_it_is_there_or_comes_later_or_never(
    archive: Archive, tmp_path: Path, status: int, outcome: object
):
    def answer(event: evt.Event) -> Dataset:
        said = Dataset()
        said.Status = status
        said.ErrorComment = "the peer's own words"
        return said

    archive.answer = answer
    assert archive.destination.store(copies(tmp_path)) == outcome


@pytest.mark.dcmtk
def test_the_data_set_arrives_byte_for_byte(tmp_path: Path):
    storescp = StoreScp(tmp_path)
    storescp.start()
    try:
        sent = copies(tmp_path, 3)
        destination = DicomDestination(Peer(storescp.aet, "127.0.0.1", storescp.port, "KOPRU", 10.0))
        assert destination.store(sent) == Delivered(0)
    finally:
        storescp.stop()
    arrived = [data_set_of(file) for file in storescp.files()]
    assert sorted(arrived) == sorted(data_set_of(file) for file in tmp_path.glob("*.dcm"))


def test_instances_are_opened_one_after_the_other_and_none_after_a_refusal(archive: Archive, tmp_path: Path):
    opened: list[int] = []

    def noting(number: int, copy: Outgoing) -> Outgoing:
        return Outgoing(copy.context, lambda: (opened.append(number), copy.open())[1])

    archive.answer = lambda _event: 0xA700 if len(opened) == 2 else 0
    outcome = archive.destination.store([noting(number, copy) for number, copy in enumerate(copies(tmp_path, 3))])
    assert outcome == Retry("0xA700 refused: out of resources (1 of 3 instances were stored before)", 0xA700)
    assert opened == [0, 1]


def test_a_context_that_is_not_accepted_ends_it_before_anything_is_sent(archive: Archive, tmp_path: Path):
    stored: list[evt.Event] = []
    archive.answer = lambda event: stored.append(event) or 0
    outcome = archive.destination.store([*copies(tmp_path), *copies(tmp_path, syntax=JPEG2000Lossless)])
    reason = "no accepted presentation context for CT Image Storage in JPEG 2000 Image Compression (Lossless Only)"
    assert (outcome, stored) == (Dead(reason), [])


def test_an_archive_that_is_not_there_is_asked_again_later(tmp_path: Path):
    nobody = DicomDestination(Peer("PEER", "127.0.0.1", free_port(), "KOPRU", TIMEOUT_SECONDS))
    outcome = nobody.store(copies(tmp_path))
    assert isinstance(outcome, Retry)
    assert outcome.settled
    assert "connection refused" in outcome.reason


def test_an_archive_that_does_not_know_us_is_asked_again_later(archive: Archive, tmp_path: Path):
    archive.entity.require_calling_aet = ["OTHER"]
    outcome = archive.destination.store(copies(tmp_path))
    assert isinstance(outcome, Retry)
    assert outcome.settled
    assert "calling AE title not recognized" in outcome.reason


def test_an_archive_that_aborts_is_asked_again_later(archive: Archive, tmp_path: Path):
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0

    archive.answer = abort
    outcome = archive.destination.store(copies(tmp_path))
    assert isinstance(outcome, Retry)
    assert outcome.settled
    assert "no answer" in outcome.reason


def test_a_study_of_which_nothing_is_left_needs_no_association():
    nobody = DicomDestination(Peer("PEER", "127.0.0.1", free_port(), "KOPRU", TIMEOUT_SECONDS))
    assert nobody.store([]) == Delivered(0)


def test_each_transfer_syntax_goes_as_it_is_in_one_association(archive: Archive, tmp_path: Path):
    syntaxes: list[str] = []
    archive.answer = lambda event: syntaxes.append(event.context.transfer_syntax) or 0
    sent = [*copies(tmp_path), *copies(tmp_path, syntax=ImplicitVRLittleEndian)]
    assert archive.destination.store(sent) == Delivered(0)
    assert (sorted(syntaxes), archive.associations) == ([ImplicitVRLittleEndian, ExplicitVRLittleEndian], 1)
