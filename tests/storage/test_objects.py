"""The object store: what is written can be opened by whoever has the key, listed without it, and by nobody after."""

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adapters.durable_files
import adapters.storage.intake
from adapters.keys import KeyDestroyed, KeyStore, MasterKey, Tampered
from adapters.storage import (
    Batch,
    EventKind,
    IntakeWriter,
    InvalidReference,
    KeyKind,
    ObjectMissing,
    ObjectRef,
    ObjectStore,
    Receipt,
    ReceiptKind,
    StoreFull,
    StoreInUse,
    StoreUnavailable,
)
from tests.planted import search_tree

RECEIPT = Receipt(
    ReceiptKind.INSTANCE,
    received_at=1_767_312_000.25,
    association_id="3f0c",
    calling_ae="CT_ÖRNEK".encode("ascii", "replace").decode(),
    called_ae="KOPRU",
    peer_address="127.0.0.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4711",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore([tmp_path / "keys-a", tmp_path / "keys-b"], MasterKey(bytes(32)))


@pytest.fixture
def store(tmp_path: Path, keys: KeyStore) -> ObjectStore:
    return ObjectStore(tmp_path / "store", keys)


@pytest.fixture
def writer(store: ObjectStore) -> IntakeWriter:
    return IntakeWriter(store, "receiver-1", objects_per_batch=3)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_an_object_opens_as_it_was_written(store: ObjectStore, writer: IntakeWriter, size: int) -> None:
    data = os.urandom(size)
    ref = writer.write(RECEIPT, data)
    assert store.open(ref) == (RECEIPT, data)
    assert store.open_receipt(ref) == RECEIPT
    assert ObjectRef.parse(str(ref)) == ref
    assert len(str(ref)) <= 160  # the database's column


def test_an_object_can_be_written_from_many_buffers(store: ObjectStore, writer: IntakeWriter) -> None:
    pieces = [os.urandom(700_000), bytearray(b"abc"), memoryview(os.urandom(1_500_000))]
    ref = writer.write(RECEIPT, pieces)
    assert store.open(ref)[1] == b"".join(pieces)


def test_an_event_is_kept_with_its_fields(store: ObjectStore, writer: IntakeWriter) -> None:
    event = Receipt(
        ReceiptKind.EVENT,
        received_at=time.time(),
        event=EventKind.INSTANCE_REFUSED,
        status=0xA700,
        detail="no room left",
        refused=3,
    )
    assert store.open(writer.write(event)) == (event, b"")


def test_a_receipt_says_an_event_if_and_only_if_it_is_one() -> None:
    with pytest.raises(ValueError, match="event"):
        Receipt(ReceiptKind.EVENT, received_at=0.0)
    with pytest.raises(ValueError, match="event"):
        Receipt(ReceiptKind.INSTANCE, received_at=0.0, event=EventKind.ASSOCIATION_OPENED)


def test_nothing_identified_is_in_clear_bytes_or_names_and_only_the_owner_can_look(
    tmp_path: Path, store: ObjectStore, writer: IntakeWriter
) -> None:
    planted = ["ÖRNEK^AYŞE", "TEST-4711", "1.2.3.4711"]
    ref = writer.write(RECEIPT, b"".join(text.encode() for text in planted))
    derived = store.put_derived(store.keys.create_patient("tag"), planted[0].encode())
    assert search_tree(tmp_path, planted) == []
    assert planted[0].encode() in store.open(ref)[1]
    assert planted[0].encode() in store.open(derived)[1]
    for path in (tmp_path / "store").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# Damage


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_to_an_object_is_found(store: ObjectStore, writer: IntakeWriter, data: st.DataObject) -> None:
    ref = writer.write(RECEIPT, b"data of the instance")
    path = ref.path(store.root)
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    path.write_bytes(raw)
    with pytest.raises(Exception, match=r".") as caught:
        store.open(ref)
    assert caught.type.__module__.startswith("adapters.")  # a changed key name is a missing key, all else is damage


def test_objects_cannot_be_swapped(store: ObjectStore, writer: IntakeWriter) -> None:
    one, two = (writer.write(RECEIPT, name) for name in (b"one", b"two"))
    one.path(store.root).rename(two.path(store.root))
    with pytest.raises(Tampered):
        store.open(two)
    with pytest.raises(ObjectMissing):
        store.open(one)


def test_a_wrap_of_another_object_does_not_open_this_one(store: ObjectStore, writer: IntakeWriter) -> None:
    one, two = (writer.write(RECEIPT, name) for name in (b"one", b"two"))
    raw_one, raw_two = (bytearray(ref.path(store.root).read_bytes()) for ref in (one, two))
    raw_one[31:133] = raw_two[31:133]  # the header's wrap
    one.path(store.root).write_bytes(raw_one)
    with pytest.raises(Tampered):
        store.open(one)


# Keys


def test_rewrapping_hands_objects_to_the_patient_and_erasing_kills_them(
    store: ObjectStore, writer: IntakeWriter
) -> None:
    refs = [writer.write(RECEIPT, b"%d" % number) for number in range(5)]  # two batches
    before = [ref.path(store.root).read_bytes() for ref in refs]
    patient, other = store.keys.create_patient("tag-1"), store.keys.create_patient("tag-2")
    epoch = store.key_of(refs[0]).id
    store.rewrap(refs[:4], patient)
    store.rewrap_each([(refs[4], other)])
    assert [ref.path(store.root).read_bytes() for ref in refs] == before  # the payload is not touched
    assert {store.key_of(ref) for ref in refs[:4]} == {(KeyKind.PATIENT, patient.id)}
    store.keys.close_epoch(epoch)
    store.keys.destroy_epoch(epoch)
    assert [store.open(ref)[1] for ref in refs] == [b"0", b"1", b"2", b"3", b"4"]
    derived = store.put_derived(patient, b"derived")
    store.keys.destroy_patient(patient.id)
    for ref in (*refs[:4], derived):
        with pytest.raises(KeyDestroyed):
            store.open(ref)
    assert store.open(refs[4])[1] == b"4"


def test_what_is_handed_over_opens_under_the_new_key_alone(store: ObjectStore, writer: IntakeWriter) -> None:
    ref, other = writer.write(RECEIPT, b"data"), writer.write(RECEIPT, b"other")
    first, second = store.keys.create_patient("tag-1"), store.keys.create_patient("tag-2")
    store.rewrap([ref, other], first)
    derived, gone = store.put_derived(first, b"derived"), store.put_derived(first, b"gone")
    store.delete(gone)
    for _ in range(2):
        store.hand_over([ref, derived, gone], second)
    folders = {store.root / one.folder for one in (ref, derived)}
    traces = [path for folder in folders for path in folder.iterdir() if first.id.encode() in path.read_bytes()]
    assert traces == [store.root / other.folder / "wraps.log"]  # the other object's
    assert (store.root / other.folder / "wraps.log").read_bytes().count(first.id.encode()) == 1
    store.keys.destroy_patient(first.id)
    assert [store.open(one)[1] for one in (ref, derived)] == [b"data", b"derived"]
    store.keys.destroy_patient(second.id)
    for one in (ref, derived, other):
        with pytest.raises(KeyDestroyed):
            store.open(one)


@pytest.mark.parametrize("place", [0, 30, 60, 100], ids=["magic", "receipt's length", "key's name", "wrapped key"])
def test_no_trace_of_the_former_key_is_left_in_what_is_damaged(
    store: ObjectStore, writer: IntakeWriter, place: int
) -> None:
    first, second = store.keys.create_patient("tag-1"), store.keys.create_patient("tag-2")
    received, derived = writer.write(RECEIPT, b"data"), store.put_derived(first, b"derived")
    store.rewrap([received], first)
    for ref in (received, derived):
        damaged = bytearray(ref.path(store.root).read_bytes())
        damaged[place] ^= 0x55
        ref.path(store.root).write_bytes(damaged)
    store.hand_over([received, derived], second)
    assert first.id.encode() not in (store.root / received.folder / "wraps.log").read_bytes()
    opened = store.with_keys([received, derived])
    assert received in opened
    store.keys.destroy_patient(first.id)
    assert store.with_keys([received, derived]) == opened
    store.keys.destroy_patient(second.id)
    assert store.with_keys([received, derived]) == []


def test_a_store_whose_disk_is_not_mounted_is_not_begun_anew(store: ObjectStore, writer: IntakeWriter) -> None:
    writer.write(RECEIPT, b"data")
    away = store.root.rename(store.root.with_name("away"))
    store.root.mkdir()
    with pytest.raises(StoreUnavailable, match="is its disk mounted"):
        ObjectStore(store.root, store.keys)
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    away.rename(store.root)
    ObjectStore(store.root, store.keys)


def test_a_store_is_not_used_with_a_key_store_that_is_empty(
    tmp_path: Path, store: ObjectStore, writer: IntakeWriter
) -> None:
    writer.write(RECEIPT, b"data")
    other = KeyStore([tmp_path / "keys-c", tmp_path / "keys-d"], MasterKey(bytes(32)))
    with pytest.raises(StoreUnavailable, match="the key store is empty"):
        ObjectStore(store.root, other)


def test_a_merge_moves_the_keys_again(store: ObjectStore, writer: IntakeWriter) -> None:
    ref = writer.write(RECEIPT, b"data")
    first, second = store.keys.create_patient("tag-1"), store.keys.create_patient("tag-2")
    derived = store.put_derived(first, b"derived")
    for patient in (first, second):
        store.rewrap([ref, derived], patient)
        assert store.key_of(ref).id == store.key_of(derived).id == patient.id
    store.keys.destroy_patient(first.id)
    assert store.open(ref)[1] == b"data"
    assert store.open(derived)[1] == b"derived"


def test_another_process_sees_a_rewrap(tmp_path: Path, store: ObjectStore, writer: IntakeWriter) -> None:
    ref = writer.write(RECEIPT, b"data")
    other = ObjectStore(store.root, KeyStore([tmp_path / "keys-a", tmp_path / "keys-b"], MasterKey(bytes(32))))
    assert other.key_of(ref).kind is KeyKind.EPOCH
    store.rewrap([ref], store.keys.create_patient("tag"))
    assert other.key_of(ref).kind is KeyKind.PATIENT
    assert other.open(ref)[1] == b"data"


def test_an_object_is_acknowledged_only_under_an_epoch_that_was_open_after_it_had_its_name(
    store: ObjectStore, writer: IntakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine closes the epoch and lists the intake just before the object gets its name, then destroys the key."""
    real = adapters.storage.intake.write_synced
    closed: list[str] = []

    def write_and_close(path: Path, parts: object) -> None:
        real(path, parts)  # type: ignore[arg-type]
        if not closed:
            closed.append(store.keys.close_epoch() or "")
            assert [store.objects(batch) for batch in store.batches("receiver-1")] == []
            store.keys.destroy_epoch(closed[0])

    monkeypatch.setattr(adapters.storage.intake, "write_synced", write_and_close)
    ref = writer.write(RECEIPT, b"data")
    assert store.key_of(ref).id != closed[0]
    assert store.open(ref)[1] == b"data"


# Batches and recovery


def test_objects_lie_in_numbered_batches_that_say_when_they_are_complete(
    store: ObjectStore, writer: IntakeWriter
) -> None:
    refs = [writer.write(RECEIPT, b"") for _ in range(7)]
    batches = store.batches("receiver-1")
    assert batches == [Batch("receiver-1", number) for number in range(3)]
    assert [len(store.objects(batch)) for batch in batches] == [3, 3, 1]
    assert {ref for batch in batches for ref in store.objects(batch)} == set(refs)
    assert [store.is_complete(batch) for batch in batches] == [True, True, False]
    writer.close()
    assert store.is_complete(batches[2])
    assert store.receivers() == ["receiver-1"]


def test_a_new_life_of_a_receiver_begins_a_new_batch_and_clears_what_was_never_acknowledged(
    store: ObjectStore, writer: IntakeWriter
) -> None:
    writer.write(RECEIPT, b"")
    debris = store.root / "objects" / "receiver-1" / "tmp" / "half"
    debris.write_bytes(b"half an object")
    writer.close()
    again = IntakeWriter(store, "receiver-1", objects_per_batch=3)
    assert not debris.exists()
    assert again.write(RECEIPT, b"").folder == "objects/receiver-1/00000001"


def test_two_live_receivers_never_share_an_id(store: ObjectStore, writer: IntakeWriter) -> None:
    with pytest.raises(StoreInUse):
        IntakeWriter(store, writer.receiver_id)
    assert store.is_live(writer.receiver_id)
    assert not store.is_live("receiver-2")


def test_no_object_enters_a_batch_after_its_successor_was_made(store: ObjectStore, writer: IntakeWriter) -> None:
    """Many threads write; a reader that lists a batch once it is complete misses none of it."""
    listed: dict[Batch, set[ObjectRef]] = {}
    done = threading.Event()

    def read() -> None:
        while True:
            last_round = done.is_set()
            for batch in store.batches("receiver-1"):
                if batch not in listed and store.is_complete(batch):
                    listed[batch] = set(store.objects(batch))
            if last_round:
                return

    written: list[ObjectRef] = []
    reader = threading.Thread(target=read)
    writers = [
        threading.Thread(target=lambda: written.extend(writer.write(RECEIPT, os.urandom(9)) for _ in range(15)))
        for _ in range(4)
    ]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    writer.close()
    done.set()
    reader.join()
    assert set().union(*listed.values()) == set(written)
    assert len(written) == 60


def test_derived_objects_are_listed_and_deleted(store: ObjectStore) -> None:
    patient = store.keys.create_patient("tag")
    refs = {store.put_derived(patient, b"%d" % number) for number in range(4)}
    assert set(store.derived_objects()) == refs
    gone = refs.pop()
    store.delete(gone)
    store.delete(gone)
    assert set(store.derived_objects()) == refs
    with pytest.raises(ObjectMissing):
        store.open(gone)


def test_only_old_temporary_files_are_removed_as_abandoned(store: ObjectStore, writer: IntakeWriter) -> None:
    derived, intake = store.root / "derived" / "ab", store.root / "objects" / writer.receiver_id / "tmp"
    derived.mkdir()
    for folder in (derived, intake):
        for name, age in (("old", 100_000), ("new", 10)):
            (folder / f"{name}.tmp").write_bytes(b"")
            os.utime(folder / f"{name}.tmp", (time.time() - age,) * 2)
    assert store.remove_abandoned() == 1
    assert [path.name for path in derived.iterdir()] == ["new.tmp"]
    writer.close()  # what a live receiver writes is not looked at, however long it takes
    assert store.remove_abandoned() == 1
    assert [path.name for path in intake.iterdir()] == ["new.tmp"]


def test_asking_whether_a_receiver_lives_does_not_keep_it_from_starting(store: ObjectStore) -> None:
    done = threading.Event()
    (store.root / "objects" / "receiver-9").mkdir()
    (store.root / "objects" / "receiver-9" / "writer.lock").touch()

    def ask() -> None:
        while not done.is_set():
            store.is_live("receiver-9")

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(20):
            IntakeWriter(store, "receiver-9").close()
    finally:
        done.set()
        for thread in asking:
            thread.join()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "objects/../../etc/passwd",
        "objects/r/00000000/../../x",
        "objects//00000000/" + "0" * 32,
        "objects/r/0/" + "0" * 32,
        "/etc/passwd",
        "derived/ab/" + "0" * 32,
        "derived/../" + "0" * 32,
        "objects/r/00000000/" + "0" * 32 + "\n",
    ],
)
def test_only_references_are_references(text: str) -> None:
    with pytest.raises(InvalidReference):
        ObjectRef.parse(text)


@pytest.mark.parametrize("receiver_id", ["", "..", "a/b", "a\0", "-a", "a" * 65])
def test_a_receiver_id_is_a_plain_name(store: ObjectStore, receiver_id: str) -> None:
    with pytest.raises(InvalidReference):
        IntakeWriter(store, receiver_id)


# Full and broken disks


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)]
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failing_disk_is_told_and_leaves_nothing_behind(
    store: ObjectStore,
    writer: IntakeWriter,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    call: str,
) -> None:
    store.keys.current_epoch()

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(adapters.durable_files.os, call, fail)
        with pytest.raises(error):
            writer.write(RECEIPT, b"data")
    assert [path for path in store.root.rglob("*") if path.is_file() and path.name != "writer.lock"] == []
    assert store.open(writer.write(RECEIPT, b"data"))[1] == b"data"


def test_instances_but_not_events_are_refused_while_too_little_is_free(store: ObjectStore) -> None:
    writer = IntakeWriter(store, "receiver-2", minimum_free_bytes=1 << 62)
    with pytest.raises(StoreFull, match="free"):
        writer.write(RECEIPT, b"data")
    writer.write(Receipt(ReceiptKind.EVENT, received_at=0.0, event=EventKind.INSTANCE_REFUSED))


def test_a_store_that_is_gone_is_unavailable(tmp_path: Path, store: ObjectStore, writer: IntakeWriter) -> None:
    store.root.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        writer.write(RECEIPT, b"data")
