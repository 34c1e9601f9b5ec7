"""Objects that cannot be opened: put off while there is hope, then set aside and listed, read again, never lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

import daemon.intake.indexer
from adapters.storage import ObjectMissing, ObjectRef, ObjectStore, StoreUnavailable
from daemon.database import schema as t
from daemon.intake import IndexingLost
from daemon.steps.maintenance import EPOCHS
from tests.steps.installation import Association, Installation, another, image

DESTINATIONS = ("reports",)


@contextmanager
def damaged(installation: Installation, ref: ObjectRef) -> Iterator[None]:
    """A bit of the object is another one, as long as the block lasts."""
    path = ref.path(installation.node.store.root)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    yield
    path.write_bytes(whole)


@contextmanager
def without_keys(installation: Installation, shelf: str) -> Iterator[None]:
    """The keys of a shelf are in no mirror, as long as the block lasts."""
    folders = [mirror / shelf for mirror in installation.settings.keys.mirrors]
    for folder in folders:
        folder.rename(folder.with_suffix(".away"))
        folder.mkdir()
    yield
    for folder in folders:
        folder.rmdir()
        folder.with_suffix(".away").rename(folder)


@contextmanager
def failing(ref: ObjectRef | None, error: Exception) -> Iterator[None]:
    """Opening the object, or any, fails as long as the block lasts."""
    opens = ObjectStore.open

    def fails(store: ObjectStore, wanted: ObjectRef):
        if ref in (None, wanted):
            raise error
        return opens(store, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectStore, "open", fails)
        yield


def set_aside(installation: Installation) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in installation.ask("status")["set_aside"]}


def epochs(installation: Installation) -> list[str]:
    return [epoch.id for epoch in installation.node.keys.epochs()]


def arrive(installation: Installation, *data_sets: object) -> list[ObjectRef]:
    """One whole association that nobody has indexed yet."""
    association = Association(installation)
    refs = [association.store(data_set) for data_set in data_sets]
    association.release()
    return refs


def test_a_damaged_object_is_listed_and_joins_its_study_once_it_is_restored(installation: Installation):
    first = image()
    (_, bad) = arrive(installation, first, another(first))
    with damaged(installation, bad):
        installation.indexer.pass_once()
        assert set_aside(installation) == {bad.id: "the object does not open: ObjectDamaged"}
        installation.work()
        assert (installation.revisions(), installation.members(1)) == (["delivered"], 1)
        installation.new_indexer().pass_once()
        assert set_aside(installation).keys() == {bad.id}, "still damaged, so still listed"
    installation.new_indexer().pass_once()
    assert set_aside(installation) == {}
    installation.work()
    assert (installation.revisions(), installation.members(2)) == (["delivered", "delivered"], 2)


def test_objects_whose_key_is_missing_are_all_read_when_it_is_back(installation: Installation):
    refs = arrive(installation, image())
    with without_keys(installation, "epochs"):
        installation.indexer.pass_once()
        assert refs[0].id in set_aside(installation)
        assert set(set_aside(installation).values()) == {"the object does not open: KeyMissing"}
        assert installation.ask("studies.list") == []
    installation.new_indexer().pass_once()
    assert set_aside(installation) == {}
    assert installation.ask("status")["open_associations"] == 0, "the events of the association were read again, too"
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_an_epochs_key_stays_while_an_object_does_not_open_and_goes_when_it_did(installation: Installation):
    (ref,) = arrive(installation, image())
    with damaged(installation, ref):
        installation.indexer.pass_once()
        epoch = installation.node.keys.close_epoch()
        installation.maintain(EPOCHS)
        assert epochs(installation) == [epoch]
    installation.new_indexer().pass_once()
    installation.maintain(EPOCHS)
    assert epochs(installation) == []
    installation.work()
    assert installation.revisions() == ["delivered"], "it is under its patient's key"


@pytest.mark.parametrize("what", ["instance", "event"])
def test_what_a_disk_fails_to_give_is_put_off_and_nothing_closes_before_it_was_read(
    installation: Installation, what: str
):
    association = Association(installation)
    instance = association.store(image())
    association.release()
    batch = installation.node.store.batches("receiver-1")[0]
    events = [ref for ref in installation.node.store.objects(batch) if ref != instance]
    with failing(instance if what == "instance" else events[0], StoreUnavailable("the disk fails")):
        installation.indexer.pass_once()
        installation.indexer.pass_once()
        assert [study["state"] for study in installation.ask("studies.list")] in ([], ["assembling"])
    installation.indexer.pass_once()
    installation.indexer.pass_once()
    assert set_aside(installation) == {}
    assert installation.revisions() == ["closed"]
    installation.send(image(2))
    assert [study["state"] for study in installation.ask("studies.list")] == ["closed", "closed"]


def test_an_object_that_never_opens_is_set_aside_after_a_while_and_others_close(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    (bad, _) = arrive(installation, image(), image(2))
    with failing(bad, StoreUnavailable("the disk fails")):
        installation.indexer.pass_once()
        assert [study["state"] for study in installation.ask("studies.list")] == ["assembling"]
        monkeypatch.setattr(daemon.intake.indexer, "_PATIENCE_SECONDS", 0.0)
        installation.indexer.pass_once()
        assert set_aside(installation) == {bad.id: "the object does not open: StoreUnavailable"}
        installation.indexer.pass_once()
        assert installation.revisions() == ["closed"]


@pytest.mark.parametrize("error", [StoreUnavailable("the disk fails"), ObjectMissing("gone")])
def test_an_object_that_still_cannot_be_read_at_the_next_start_keeps_no_study_open(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    (bad,) = arrive(installation, image())
    monkeypatch.setattr(daemon.intake.indexer, "_PATIENCE_SECONDS", -1.0)
    with failing(bad, error):
        installation.indexer.pass_once()
        monkeypatch.undo()
    with failing(bad, error):
        installation.new_indexer()
        installation.send(image(2))
        assert installation.revisions() == ["closed"]
        assert set_aside(installation).keys() == {bad.id}


def test_an_object_that_opens_again_is_never_out_of_the_index_not_even_if_the_engine_dies(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    (bad,) = arrive(installation, image())
    for number in range(2, 8):  # its batch is complete, and will never be looked at again
        arrive(installation, image(number))
    with damaged(installation, bad):
        installation.indexer.pass_once()

    def dies(*_: object) -> None:
        raise IndexingLost

    monkeypatch.setattr(daemon.intake.indexer, "place", dies)
    with pytest.raises(IndexingLost):
        installation.new_indexer()
    monkeypatch.undo()
    assert bad.id in set_aside(installation)
    installation.new_indexer().pass_once()
    assert bad.id not in set_aside(installation)


def test_what_opens_again_but_is_no_data_set_is_listed_as_that_and_moves_to_a_key_of_its_own(
    installation: Installation,
):
    (bad,) = arrive(installation, b"no data set at all")
    with damaged(installation, bad):
        installation.indexer.pass_once()
    installation.new_indexer().pass_once()
    assert set_aside(installation) == {bad.id: "the data set cannot be read"}
    installation.node.keys.close_epoch()
    installation.maintain(EPOCHS)
    assert epochs(installation) == [], "nothing needs the epoch any more"
    assert installation.node.store.open(bad)[1] == b"no data set at all"


def test_an_object_that_fails_to_open_in_a_way_nobody_foresaw_keeps_its_key(installation: Installation):
    (bad,) = arrive(installation, image())
    with failing(bad, TypeError("a receipt of a newer version")):
        installation.indexer.pass_once()
    assert set_aside(installation) == {bad.id: "the object does not open: TypeError"}
    epoch = installation.node.keys.close_epoch()
    installation.maintain(EPOCHS)
    assert epochs(installation) == [epoch]
    installation.new_indexer().pass_once()
    assert installation.revisions() == ["closed"]


def test_one_patients_damaged_key_stops_nobody_elses_studies(installation: Installation):
    installation.send(image(1))
    for mirror in installation.settings.keys.mirrors:
        (entry,) = (mirror / "patients").glob("*.key")
        entry.write_bytes(b"\0" * entry.stat().st_size)
    installation.new_indexer()
    (bad, _) = installation.send(image(1), image(2))
    assert set_aside(installation) == {bad.id: "the object does not open: KeyStoreCorrupt"}
    assert [study["state"] for study in installation.ask("studies.list")] == ["closed", "closed"]


def test_a_value_that_the_database_refused_once_is_indexed_not_set_aside(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    place, failures = daemon.intake.indexer.place, [1, 1]  # together, then alone

    def loses_twice(*arguments: object) -> object:
        if failures.pop() if failures else 0:
            raise sa.exc.IntegrityError("insert", {}, Exception("lost to another transaction"))
        return place(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(daemon.intake.indexer, "place", loses_twice)
    installation.send(image())
    assert set_aside(installation) == {}
    assert installation.revisions() == ["closed"]


def test_one_object_that_the_database_never_takes_is_set_aside_and_no_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    place = daemon.intake.indexer.place
    association = Association(installation)
    bad, _ = association.store(image(1)), association.store(image(2))
    association.release()

    def refuses(connection, audit, arrival) -> object:
        if arrival.instance_id == bad.id:
            raise sa.exc.DataError("insert", {}, Exception("no such value"))
        return place(connection, audit, arrival)

    monkeypatch.setattr(daemon.intake.indexer, "place", refuses)
    installation.indexer.pass_once()
    assert set_aside(installation) == {bad.id: "cannot be indexed: DataError"}
    assert installation.revisions() == ["closed"]
    with installation.database.read() as connection:
        events = connection.execute(sa.select(sa.func.count()).select_from(t.intake_event)).scalar_one()
    assert events == 2
