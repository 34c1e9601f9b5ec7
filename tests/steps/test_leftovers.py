"""Duplicates are removed only where the same bytes are kept, and open, elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters.storage import ObjectMissing, ObjectRef
from daemon import queue
from daemon.steps.maintenance import LEFTOVERS
from tests.steps.installation import Installation, image

DESTINATIONS = ("reports",)


@contextmanager
def damaged(installation: Installation, ref: ObjectRef) -> Iterator[None]:
    path = ref.path(installation.node.store.root)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    yield
    path.write_bytes(whole)


def opens(installation: Installation, ref: ObjectRef) -> bool:
    try:
        return bool(installation.node.store.open(ref))
    except ObjectMissing:
        return False


def test_a_duplicate_is_kept_while_the_other_copy_does_not_open_and_removed_once_it_does(installation: Installation):
    sent = image()
    (first,), (again,) = installation.send(sent), installation.send(sent)
    with damaged(installation, first):
        installation.maintain(LEFTOVERS)
        assert opens(installation, again)
    installation.maintain(LEFTOVERS)
    assert opens(installation, first)
    assert not opens(installation, again)
    assert installation.standings() == ["current", "duplicate"]


def test_of_several_duplicates_none_counts_as_the_other_copy(installation: Installation):
    sent = image()
    (first,) = installation.send(sent)
    copies = [installation.send(sent)[0] for _ in range(2)]
    with damaged(installation, first):
        installation.maintain(LEFTOVERS)
        assert all(opens(installation, copy) for copy in copies)
    first.path(installation.node.store.root).unlink()
    installation.maintain(LEFTOVERS)
    assert all(opens(installation, copy) for copy in copies)


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
