"""Duplicates are removed only where the same bytes are kept, and open, elsewhere; else they come into use."""

import json

import pytest
import sqlalchemy as sa

from adapters.storage import ObjectMissing, ObjectRef
from daemon import queue
from daemon.audit import Kind
from daemon.database import schema as t
from daemon.steps.maintenance import LEFTOVERS
from tests.steps.installation import Installation, image

DESTINATIONS = ("reports",)


def opens(installation: Installation, ref: ObjectRef) -> bool:
    try:
        return bool(installation.node.store.open(ref))
    except ObjectMissing:
        return False


def damage(installation: Installation, ref: ObjectRef) -> None:
    """Let a bit of the stored object be another one, for good."""
    path = ref.path(installation.node.store.root)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def exhausted(installation: Installation) -> None:
    """Let the next failure of what waits be its last."""
    with installation.database.write() as connection:
        connection.execute(sa.update(t.task).values(attempts=999))


def used_copies(installation: Installation) -> list[dict[str, object]]:
    with installation.database.read() as connection:
        query = sa.select(t.audit_event.c.body).where(t.audit_event.c.kind == Kind.INSTANCE_COPY_USED)
        return [json.loads(body)["details"] for body in connection.execute(query).scalars()]


def test_a_duplicate_goes_once_the_first_copy_opens(installation: Installation):
    sent = image()
    (first,), (again,) = installation.send(sent), installation.send(sent)
    installation.maintain(LEFTOVERS)
    assert opens(installation, first)
    assert not opens(installation, again)
    assert installation.standings() == ["current", "duplicate"]


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_duplicate_comes_into_use_where_the_first_copy_is_lost(installation: Installation, harm: str):
    sent = image()
    (first,), (again,) = installation.send(sent), installation.send(sent)
    damage(installation, first) if harm == "damaged" else first.path(installation.node.store.root).unlink()
    installation.work()
    assert installation.revisions() == ["delivered"]
    assert used_copies(installation) == [{"instance": first.id, "by": again.id}]
    installation.maintain(LEFTOVERS)
    assert opens(installation, again), "it is in use now, and the damaged one is the spare one"
    assert not first.path(installation.node.store.root).exists()
    assert installation.standings() == ["current", "duplicate"]
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    assert installation.revisions() == ["delivered", "delivered"]
    assert len(used_copies(installation)) == 1


def test_a_study_that_failed_for_a_damaged_object_goes_on_when_it_is_sent_again(installation: Installation):
    sent = image()
    (first,) = installation.send(sent)
    damage(installation, first)
    exhausted(installation)
    installation.work()
    assert installation.revisions() == ["failed"]
    installation.send(sent)
    installation.maintain(LEFTOVERS)
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_a_damaged_object_without_a_copy_stays_and_its_study_fails(installation: Installation):
    (first,) = installation.send(image())
    installation.send(image())
    damage(installation, first)
    exhausted(installation)
    installation.work()
    installation.maintain(LEFTOVERS)
    assert sorted(row["state"] for row in installation.ask("studies.list")) == ["delivered", "failed"]
    assert first.path(installation.node.store.root).exists()
    assert used_copies(installation) == []


def test_of_several_copies_one_that_opens_always_stays(installation: Installation):
    sent = image()
    (first,) = installation.send(sent)
    copies = [installation.send(sent)[0] for _ in range(3)]
    damage(installation, first)
    damage(installation, copies[0])
    for _ in range(3):
        installation.maintain(LEFTOVERS)
        assert any(opens(installation, copy) for copy in copies[1:])
    assert sum(copy.path(installation.node.store.root).exists() for copy in (first, *copies)) == 1
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_a_clean_up_that_is_cut_off_is_finished_by_the_next_and_the_first_copy_stays(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    sent = image()
    (first,), (again,) = installation.send(sent), installation.send(sent)

    def cut_off(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(queue, "complete", cut_off)
    installation.maintain(LEFTOVERS)
    monkeypatch.undo()
    assert not opens(installation, again)
    installation.hurry()
    installation.work(LEFTOVERS)
    (row,) = [one for one in installation.shown()["instances"] if one["id"] == again.id]
    assert (row["standing"], row["reason"]) == ("duplicate", "removed: the same bytes are stored once")
    assert opens(installation, first)
    installation.work()
    assert installation.revisions() == ["delivered"]
