"""Where an arrival belongs: duplicates, variants, corrections, conflicts, own results, rejections (DESIGN §5)."""

import pytest
import sqlalchemy as sa

from daemon.audit import AuditWriter
from daemon.database import schema as t
from daemon.intake.arrival import ArrivalKind
from daemon.intake.closing import close_revision
from daemon.intake.placing import place
from daemon.states import IllegalMove, RevisionState, Standing, move
from tests.intake.arrivals import arrival, patient

AUDIT = AuditWriter("test")


@pytest.fixture
def put(database):
    return lambda one: database.retrying(lambda connection: place(connection, AUDIT, one))


def revisions(database) -> list[tuple[int, str]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(t.revision.c.number, t.revision.c.state).order_by(t.revision.c.number))
        return [(row.number, row.state) for row in rows]


def close(database) -> str:
    def work(connection) -> str:
        revision = connection.execute(
            sa.select(t.revision.c.id).where(t.revision.c.state == RevisionState.ASSEMBLING)
        ).scalar_one()
        close_revision(connection, AUDIT, revision, reason="test", forced=False)
        return revision

    return database.retrying(work)


def members(database, revision: str) -> int:
    with database.read() as connection:
        return connection.execute(
            sa.select(sa.func.count())
            .select_from(t.revision_instance)
            .where(t.revision_instance.c.revision_id == revision)
        ).scalar_one()


def test_instances_of_a_study_gather_in_one_revision(database, put):
    assert [put(arrival("one")), put(arrival("two"))] == [Standing.CURRENT] * 2
    assert revisions(database) == [(1, "assembling")]
    assert members(database, close(database)) == 2


def test_the_same_bytes_again_are_a_duplicate_and_make_no_revision(database, put):
    put(arrival())
    close(database)
    assert put(arrival()) is Standing.DUPLICATE
    assert revisions(database) == [(1, "closed")]


def test_a_difference_that_touches_nothing_vital_is_a_variant_and_the_first_stays(database, put):
    put(arrival())
    assert put(arrival(content_tag="other")) is Standing.VARIANT
    assert members(database, close(database)) == 1


def test_a_late_instance_makes_a_new_revision_and_supersedes_the_unsent_one(database, put):
    put(arrival("one"))
    close(database)
    assert put(arrival("two")) is Standing.CURRENT
    assert revisions(database) == [(1, "superseded"), (2, "assembling")]
    assert members(database, close(database)) == 2


def test_another_identity_is_a_correction_that_replaces_the_first(database, put):
    put(arrival())
    close(database)
    assert put(arrival(content_tag="other", identity_tag="corrected")) is Standing.CURRENT
    assert revisions(database) == [(1, "superseded"), (2, "assembling")]
    assert members(database, close(database)) == 1


def test_other_pixels_hold_the_study(database, put):
    put(arrival())
    assert put(arrival(content_tag="other", pixel_tag="other")) is Standing.CONFLICT
    assert revisions(database) == [(1, "held")]


def test_other_pixels_after_closing_hold_a_new_revision(database, put):
    put(arrival())
    close(database)
    put(arrival(content_tag="other", pixel_tag="other"))
    assert revisions(database) == [(1, "superseded"), (2, "held")]


def test_a_second_patient_in_a_study_holds_it(database, put):
    put(arrival("one"))
    assert put(arrival("two", patient=patient("B"))) is Standing.CONFLICT
    assert revisions(database) == [(1, "held")]


def test_a_held_study_stays_held_whatever_comes(database, put):
    put(arrival("one"))
    put(arrival("two", patient=patient("B")))
    assert put(arrival("three")) is Standing.CURRENT
    assert revisions(database) == [(1, "held")]


def test_a_uid_of_another_study_holds_the_newcomer(database, put):
    put(arrival("one", study="first"))
    assert put(arrival("one", study="second", content_tag="other")) is Standing.CONFLICT
    assert sorted(state for _, state in revisions(database)) == ["assembling", "held"]


@pytest.mark.parametrize(
    ("kind", "standing"),
    [(ArrivalKind.UNSELECTED, Standing.UNSELECTED), (ArrivalKind.OWN_RESULT, Standing.OWN_RESULT)],
)
def test_what_no_pipeline_wants_and_what_we_made_opens_no_revision(database, put, kind, standing):
    assert put(arrival(kind=kind)) is standing
    assert revisions(database) == []


def test_a_rejection_note_takes_instances_back_and_makes_a_revision(database, put):
    put(arrival("one"))
    put(arrival("two"))
    close(database)
    note = arrival("note", kind=ArrivalKind.REJECTION_NOTE, rejected_uid_tags=("two",))
    assert put(note) is Standing.UNSELECTED
    assert revisions(database) == [(1, "superseded"), (2, "assembling")]
    assert members(database, close(database)) == 1


def test_an_illegal_move_raises_and_changes_nothing(database, put):
    put(arrival())
    revision = close(database)
    with pytest.raises(IllegalMove, match="cannot become delivered"):
        database.retrying(lambda connection: move(connection, AUDIT, revision, RevisionState.DELIVERED))
    assert revisions(database) == [(1, "closed")]


def test_closing_puts_the_first_task_into_the_queue_with_the_audit_event(database, put):
    put(arrival())
    revision = close(database)
    with database.read() as connection:
        assert connection.execute(sa.select(t.task.c.kind, t.task.c.key)).all() == [("deidentify", revision)]
        kinds = connection.execute(sa.select(t.audit_event.c.kind).order_by(t.audit_event.c.id)).scalars().all()
    assert kinds == ["patient.created", "revision.opened", "instance.received", "revision.moved"]


def test_a_rejection_note_counts_whether_it_is_indexed_before_or_after_what_it_names(database, put):
    note = arrival("note", kind=ArrivalKind.REJECTION_NOTE, rejected_uid_tags=("two",))
    put(arrival("one"))
    put(note)
    assert put(arrival("two")) is Standing.REJECTED
    assert members(database, close(database)) == 1


def test_of_two_identities_the_one_received_later_stands_whichever_is_indexed_first(database, put):
    earlier = arrival(content_tag="old", identity_tag="old", received_at=1.0)
    later = arrival(content_tag="new", identity_tag="new", received_at=2.0)
    assert put(later) is Standing.CURRENT
    assert put(earlier) is Standing.CORRECTED
    assert members(database, close(database)) == 1


def test_the_original_sent_again_corrects_the_correction(database, put):
    put(arrival(content_tag="old", identity_tag="old"))
    put(arrival(content_tag="new", identity_tag="new"))
    assert put(arrival(content_tag="old", identity_tag="old")) is Standing.CURRENT
    assert members(database, close(database)) == 1


def test_what_came_twice_before_its_correction_still_corrects_it_back(database, put):
    put(arrival(content_tag="old", identity_tag="old"))
    assert put(arrival(content_tag="old", identity_tag="old")) is Standing.DUPLICATE
    put(arrival(content_tag="new", identity_tag="new"))
    assert put(arrival(content_tag="old", identity_tag="old")) is Standing.CURRENT


def test_the_same_bytes_of_what_contradicts_are_a_duplicate(database, put):
    put(arrival("one"))
    assert put(arrival("two", patient=patient("B"))) is Standing.CONFLICT
    assert put(arrival("two", patient=patient("B"))) is Standing.DUPLICATE


def test_other_pixels_that_were_found_to_show_the_same_are_a_variant(database, put):
    first = arrival()
    put(first)
    again = arrival(content_tag="other", pixel_tag="other", same_pixels=frozenset({first.instance_id}))
    assert put(again) is Standing.VARIANT


def test_a_held_study_says_how_much_of_it_came_again(database, put):
    first, second = arrival("one"), arrival("two")
    put(first)
    put(second)
    for one in (first, second):
        seen = frozenset({one.instance_id})
        put(arrival(one.uid_tag, patient=patient("B"), content_tag="b", same_pixels=seen))
    with database.read() as connection:
        reason = connection.execute(sa.select(t.revision.c.reason)).scalar_one()
    assert "2 of 2 instances came again" in reason
