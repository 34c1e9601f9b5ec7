"""An intake epoch's end: its key goes once every object of it is under its patient's key, and never before."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from adapters.keys import KeyDestroyed
from adapters.storage import Batch, IntakeWriter, KeyKind, ObjectRef, ObjectStore, Receipt, ReceiptKind, StoreError
from daemon.database import schema as t
from daemon.database.lease import acquire
from daemon.intake import Indexer
from daemon.node import Node
from daemon.queue import Task
from daemon.states import Standing
from daemon.steps import maintenance
from daemon.steps.maintenance import EPOCHS, Epochs
from daemon.steps.step import Context
from tests.daemon.rows import events

DX = "1.2.840.10008.5.1.4.1.1.1.1"
HOUR = 3600.0


def data_set(number: int) -> bytes:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = DX, f"2.25.{number}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.1000", "2.25.1001"
    image.PatientID, image.PatientName, image.Modality = "4711", "KURMACA^BELGIN", "DX"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return buffer.getvalue()


class Intake:
    """A receiver's intake, an indexer, and the step that looks after the epochs, at a clock of the test's own."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = node
        self.writer = IntakeWriter(node.store, "receiver-1", objects_per_batch=2)
        self.stored = 0
        self._late_seconds = 0.0
        real = maintenance.time.time
        monkeypatch.setattr(maintenance, "time", SimpleNamespace(time=lambda: real() + self._late_seconds))

    def receive(self) -> ObjectRef:
        self.stored += 1
        receipt = Receipt(
            ReceiptKind.INSTANCE,
            received_at=1000.0 + self.stored,
            association_id="3f0c3f0c",
            calling_ae="CT1",
            called_ae="KOPRU",
            peer_address="127.0.0.1",
            sop_class_uid=DX,
            sop_instance_uid=f"2.25.{self.stored}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        return self.writer.write(receipt, data_set(self.stored))

    def index(self) -> None:
        """A pass of an indexer that has just started."""
        lease = self.node.database.retrying(lambda connection: acquire(connection, "indexer", "test", 60.0))
        Indexer(self.node, lease, None).pass_once()  # type: ignore[arg-type]

    def maintain(self, *, hours_later: float = 0.0) -> None:
        """Run the task once, so many hours after the last time."""
        self._late_seconds += hours_later * HOUR
        context = Context(self.node, None, {}, {}, {}, {}, None)  # type: ignore[arg-type]
        task = Task(id=1, kind=EPOCHS, key="1", payload={}, priority=10, attempts=1, lease="test")
        self.node.database.retrying(Epochs().run(context, task))

    def epochs(self) -> dict[str, bool]:
        """The epochs whose keys exist, each with whether it is open."""
        return {epoch.id: epoch.closed_at is None for epoch in self.node.keys.epochs()}

    def log(self) -> list[tuple[str, str]]:
        found = events(self.node.database, "key.epoch-closed", "key.epoch-destroyed")
        return [(event["kind"], event["details"]["epoch"]) for event in found]

    def standings(self) -> list[tuple[str, str | None]]:
        with self.node.database.read() as connection:
            query = sa.select(t.instance.c.standing, t.instance.c.reason).order_by(t.instance.c.received_at)
            return [tuple(row) for row in connection.execute(query)]


@pytest.fixture
def intake(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    made = Intake(node, monkeypatch)
    yield made
    made.writer.close()


def _fail(_store: ObjectStore, _ref: ObjectRef) -> None:
    raise ZeroDivisionError


def flip(intake: Intake, ref: ObjectRef, offset: int) -> Callable[[], object]:
    """Damage an object's file by one bit; gives what mends it."""
    path = ref.path(intake.node.store.root)
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[offset] ^= 1
    path.write_bytes(damaged)
    return lambda: path.write_bytes(sound)


def test_an_epoch_is_closed_when_it_is_old_enough_and_receivers_go_on_under_the_next(intake: Intake):
    first = intake.node.keys.current_epoch().id
    intake.maintain(hours_later=23.9)
    assert (intake.epochs(), intake.log()) == ({first: True}, [])
    intake.maintain(hours_later=0.2)
    assert (intake.epochs(), intake.log()) == ({first: False}, [("key.epoch-closed", first)])
    intake.receive()
    [following] = set(intake.epochs()) - {first}
    assert intake.epochs()[following] is True


def test_the_key_goes_once_everything_is_indexed_and_not_before(intake: Intake):
    epoch = intake.node.keys.current_epoch().id
    refs = [intake.receive() for _ in range(5)]
    intake.maintain(hours_later=25)
    for _ in range(3):
        intake.maintain(hours_later=100)
        assert intake.epochs() == {epoch: False}, "nothing is indexed yet: all would be lost"
    intake.index()
    last = intake.receive()  # under the next epoch
    intake.maintain()
    assert epoch not in intake.epochs()
    assert [kind for kind, of in intake.log() if of == epoch] == ["key.epoch-closed", "key.epoch-destroyed"]
    with pytest.raises(KeyDestroyed):
        intake.node.keys.epoch(epoch)
    for number, ref in enumerate(refs, 1):
        assert intake.node.store.key_of(ref).kind is KeyKind.PATIENT
        assert intake.node.store.open(ref)[1] == data_set(number)
    assert intake.node.store.open(last)[1] == data_set(6)


def test_an_open_epoch_is_never_destroyed_however_little_needs_it(intake: Intake):
    epoch = intake.node.keys.current_epoch().id
    for _ in range(3):
        intake.maintain(hours_later=1)
    assert intake.epochs() == {epoch: True}


def test_one_object_that_is_not_indexed_keeps_its_own_epoch_only(intake: Intake):
    intake.receive()
    first = intake.node.keys.current_epoch().id
    intake.maintain(hours_later=25)
    intake.index()
    intake.receive()
    second = intake.node.keys.current_epoch().id
    intake.node.keys.close_epoch(second)
    intake.maintain()
    assert intake.epochs() == {second: False}
    assert first != second


def test_a_dead_receivers_objects_count_too(intake: Intake):
    epoch = intake.node.keys.current_epoch().id
    intake.receive()
    intake.writer.close()
    intake.writer = IntakeWriter(intake.node.store, "receiver-2")
    intake.maintain(hours_later=25)
    intake.maintain()
    assert intake.epochs() == {epoch: False}
    intake.index()
    intake.maintain()
    assert intake.epochs() == {}


def test_the_key_stays_while_an_object_does_not_open_and_the_object_is_taken_in_once_it_does(intake: Intake):
    epoch = intake.node.keys.current_epoch().id
    refs = [intake.receive() for _ in range(3)]
    mend = flip(intake, refs[1], -1)
    intake.index()
    assert [standing for standing, _ in intake.standings()].count(Standing.QUARANTINED) == 1
    intake.maintain(hours_later=25)
    for _ in range(3):
        intake.maintain(hours_later=100)
    assert intake.epochs() == {epoch: False}
    mend()
    intake.index()
    assert {standing for standing, _ in intake.standings()} == {Standing.CURRENT}
    intake.maintain()
    assert intake.epochs() == {}
    assert intake.node.store.open(refs[1])[1] == data_set(2)


def test_an_object_whose_header_is_damaged_keeps_the_key_too(intake: Intake):
    epoch = intake.node.keys.current_epoch().id
    ref = intake.receive()
    mend = flip(intake, ref, 0)
    intake.maintain(hours_later=25)
    with pytest.raises(StoreError):  # nobody can tell which epoch it needs: the task fails, and is tried again
        intake.maintain()
    intake.index()
    intake.maintain()
    assert intake.epochs() == {epoch: False}
    mend()
    intake.index()
    intake.maintain()
    assert intake.epochs() == {}
    assert intake.node.store.open(ref)[1] == data_set(1)


def test_an_object_that_fails_to_open_in_a_way_nobody_foresaw_keeps_the_key_too(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
):
    epoch = intake.node.keys.current_epoch().id
    ref = intake.receive()
    with monkeypatch.context() as broken:
        broken.setattr(ObjectStore, "open", _fail)
        intake.index()
    [(standing, _)] = intake.standings()
    assert standing == Standing.QUARANTINED
    intake.maintain(hours_later=25)
    intake.maintain()
    assert intake.epochs() == {epoch: False}
    intake.index()
    assert [standing for standing, _ in intake.standings()] == [Standing.CURRENT]
    intake.maintain()
    assert intake.epochs() == {}
    assert intake.node.store.open(ref)[1] == data_set(1)


def test_an_object_that_is_set_aside_while_the_step_looks_keeps_the_key(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
):
    epoch = intake.node.keys.current_epoch().id
    flip(intake, intake.receive(), -1)
    intake.maintain(hours_later=25)
    listed = ObjectStore.objects

    def objects(store: ObjectStore, batch: Batch) -> list[ObjectRef]:
        monkeypatch.setattr(ObjectStore, "objects", listed)
        intake.index()  # at the worst moment: an indexer works in another thread
        return listed(store, batch)

    monkeypatch.setattr(ObjectStore, "objects", objects)
    intake.maintain()
    assert [standing for standing, _ in intake.standings()] == [Standing.QUARANTINED]
    assert intake.epochs() == {epoch: False}


def test_what_cannot_be_read_is_kept_under_a_key_of_its_own_and_lets_the_epoch_go(intake: Intake):
    ref = intake.writer.write(
        Receipt(ReceiptKind.INSTANCE, received_at=1.0, sop_class_uid=DX, transfer_syntax_uid=ExplicitVRLittleEndian),
        b"\x10\x00\x10\x00PN\xff\x00short",
    )
    intake.index()
    assert intake.standings() == [(Standing.QUARANTINED, "the data set cannot be read")]
    intake.maintain(hours_later=25)
    intake.maintain()
    assert intake.epochs() == {}
    assert intake.node.store.open(ref)[1] == b"\x10\x00\x10\x00PN\xff\x00short"
