"""Every move that the table allows, every one that it does not, and what the deliveries' states make of a revision."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from daemon.audit import AuditWriter
from daemon.database import Database
from daemon.database import schema as t
from daemon.states import MOVES, NEEDS_A_PERSON, TERMINAL, DeliveryState, IllegalMove, RevisionState, move
from daemon.steps.outbox import settle
from tests.daemon.rows import (
    add_deliveries,
    add_patient,
    add_revision,
    add_revision_of_its_own,
    add_study,
    events,
    new_id,
)
from tests.waiting import wait_until

AUDIT = AuditWriter("test")
S, D = RevisionState, DeliveryState

# Written from the table "States" of docs/architecture.md, not from the code: to each state, from where it is entered.
DOCUMENTED = {
    S.ASSEMBLING: set(),
    S.CLOSED: {S.ASSEMBLING, S.FAILED},
    S.DEIDENTIFIED: {S.CLOSED, S.FAILED},
    S.INFERRED: {S.DEIDENTIFIED},
    S.REPORTED: {S.INFERRED, S.HELD, S.UNDELIVERED},
    S.DELIVERED: {S.REPORTED},
    S.UNSELECTED: {S.CLOSED},
    S.QUARANTINED: {S.CLOSED, S.DEIDENTIFIED},
    S.HELD: {S.ASSEMBLING, S.REPORTED},
    S.FAILED: {S.CLOSED, S.DEIDENTIFIED, S.INFERRED},
    S.UNDELIVERED: {S.REPORTED},
    S.WITHHELD: {S.REPORTED},
    S.SUPERSEDED: set(S) - {S.DELIVERED, S.UNSELECTED, S.SUPERSEDED},
}
ALL_MOVES = list(itertools.product(S, S))


def rows(database: Database) -> list[tuple]:
    """Every revision, with all its columns."""
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(t.revision).order_by(t.revision.c.id))]


def state_of(database: Database, revision: str) -> str:
    with database.read() as connection:
        return connection.execute(sa.select(t.revision.c.state).where(t.revision.c.id == revision)).scalar_one()


def moves_of(database: Database, revision: str) -> list[tuple[str, str]]:
    """The audited moves of a revision, each as where from and where to."""
    moved = [event["details"] for event in events(database, "revision.moved")]
    return [(details["before"], details["after"]) for details in moved if details["revision"] == revision]


def test_every_move_of_the_table_happens_with_its_event_and_no_other_row_changes(database: Database):
    legal = [(before, after) for before, after in ALL_MOVES if before in DOCUMENTED[after]]
    with database.write() as connection:
        study = add_study(connection, add_patient(connection))
        revisions = {pair: add_revision(connection, study, pair[0], number=number) for number, pair in enumerate(legal)}
        untouched = add_revision(connection, study, S.REPORTED, number=len(legal))
    was = {row[0]: row for row in rows(database)}
    with database.write() as connection:
        for (_, after), revision in revisions.items():
            move(connection, AUDIT, revision, after, reason="why", actor="user:somebody")
    now = {row.id: row for row in _revisions(database)}
    for (before, after), revision in revisions.items():
        assert (now[revision].state, now[revision].reason) == (after, "why"), (before, after)
    assert tuple(now[untouched]) == was[untouched]
    log = [(event["actor"], event["details"]) for event in events(database)]
    assert log == [
        ("user:somebody", {"revision": revision, "before": before, "after": after})
        for (before, after), revision in revisions.items()
    ]


def test_the_event_names_the_patient_by_the_audit_tag_only(database: Database):
    with database.write() as connection:
        patient = add_patient(connection)
        revision = add_revision(connection, add_study(connection, patient), S.CLOSED)
        move(connection, AUDIT, revision, S.DEIDENTIFIED)
        tag = connection.execute(sa.select(t.patient.c.audit_tag).where(t.patient.c.id == patient)).scalar_one()
    [event] = events(database)
    assert event["subject"] == tag


def test_every_other_move_raises_and_leaves_row_and_log_as_they_were_even_if_the_caller_goes_on(database: Database):
    illegal = [(before, after) for before, after in ALL_MOVES if before not in DOCUMENTED[after]]
    with database.write() as connection:
        study = add_study(connection, add_patient(connection))
        revisions = {
            pair: add_revision(connection, study, pair[0], number=number, reason="as it was")
            for number, pair in enumerate(illegal)
        }
    was = rows(database)
    with database.write() as connection:  # commits: what an illegal move changed would stay
        for (before, after), revision in revisions.items():
            with pytest.raises(IllegalMove) as error:
                move(connection, AUDIT, revision, after, reason="changed")
            assert (error.value.revision_id, error.value.state, error.value.target) == (revision, before, after)
    assert rows(database) == was
    assert events(database) == []
    assert len(illegal) + sum(map(len, DOCUMENTED.values())) == len(S) ** 2


def test_a_revision_that_is_not_there_cannot_be_moved(database: Database):
    with database.write() as connection, pytest.raises(IllegalMove, match="is unknown and cannot become"):
        move(connection, AUDIT, new_id(), S.CLOSED)
    assert events(database) == []


def test_a_move_is_undone_with_the_transaction_it_belongs_to(database: Database):
    revision = add_revision_of_its_own(database, S.CLOSED)

    def move_and_fail(connection: sa.Connection) -> None:
        move(connection, AUDIT, revision, S.DEIDENTIFIED)
        raise RuntimeError("the rest of the transaction")

    with pytest.raises(RuntimeError):
        database.retrying(move_and_fail)
    assert (state_of(database, revision), events(database)) == (S.CLOSED, [])


def test_the_table_is_closed_under_its_own_words():
    assert {after: set(before) for after, before in MOVES.items()} | {S.ASSEMBLING: set()} == DOCUMENTED
    assert NEEDS_A_PERSON <= TERMINAL
    # Work goes on by itself from exactly those states that are not terminal, and from each there is a way on.
    for state in set(S) - TERMINAL:
        assert any(state in before for after, before in MOVES.items() if after is not S.SUPERSEDED), state


def test_of_two_moves_at_once_the_second_sees_where_the_first_has_led(database: Database):
    """Both are allowed from `reported`; the log must not say that the second began there."""
    revision = add_revision_of_its_own(database, S.REPORTED)
    with ThreadPoolExecutor(1) as thread:
        with database.write() as connection:
            move(connection, AUDIT, revision, S.HELD)
            second = thread.submit(database.retrying, lambda other: move(other, AUDIT, revision, S.SUPERSEDED))
            if not database.is_sqlite:  # there, the whole transaction waits for its turn
                wait_until(lambda: _is_waiting_for_a_lock(database), "the second transaction to wait for the row")
        second.result(30)
    assert moves_of(database, revision) == [(S.REPORTED, S.HELD), (S.HELD, S.SUPERSEDED)]


def _is_waiting_for_a_lock(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one())


def _revisions(database: Database) -> list[sa.Row]:
    with database.read() as connection:
        return list(connection.execute(sa.select(t.revision)))


# --- settle -----------------------------------------------------------------------------------------------------------

COMBINATIONS = [states for count in range(4) for states in itertools.combinations_with_replacement(D, count)]
SETTLED_FROM = (S.INFERRED, S.REPORTED, S.HELD, S.UNDELIVERED)


def promised(now: RevisionState, deliveries: tuple[DeliveryState, ...]) -> RevisionState:
    """Where docs/architecture.md says that the revision stands."""
    if now is S.INFERRED and D.PENDING in deliveries:
        return S.INFERRED  # a destination still waits for its document
    if {D.PENDING, D.PREPARED, D.SENDING} & set(deliveries):
        return S.REPORTED if now is S.INFERRED else now  # a delivery runs (again)
    if D.HELD in deliveries:
        return S.HELD
    if D.DEAD in deliveries:
        return S.UNDELIVERED
    if deliveries and all(state is D.WITHHELD for state in deliveries):
        return S.WITHHELD
    return S.DELIVERED


def settled(
    database: Database, cases: list[tuple[RevisionState, tuple[DeliveryState, ...]]], outcome: str | None = None
) -> list[str]:
    """A revision for each case, settled."""
    made = []
    with database.write() as connection:
        patient = add_patient(connection)
        study = add_study(connection, patient)
        for number, (state, deliveries) in enumerate(cases):
            revision = add_revision(connection, study, state, number=number)
            add_deliveries(connection, revision, patient, deliveries, outcome)
            made.append(revision)
        for revision in made:
            settle(connection, AUDIT, revision)
    return made


@pytest.mark.parametrize("now", SETTLED_FROM)
def test_the_deliveries_bring_a_revision_where_the_documentation_says(database: Database, now: RevisionState):
    made = settled(database, [(now, states) for states in COMBINATIONS])
    found = {row.id: row.state for row in _revisions(database)}
    all_moves: dict[str, list[tuple[str, str]]] = {}
    for event in events(database, "revision.moved"):
        details = event["details"]
        all_moves.setdefault(details["revision"], []).append((details["before"], details["after"]))
    for revision, states in zip(made, COMBINATIONS, strict=True):
        assert found[revision] == promised(now, states), (now, states)
        moves = all_moves.get(revision, [])
        for before, after in moves:
            assert RevisionState(before) in DOCUMENTED[RevisionState(after)]
        places = [now, *(after for _, after in moves)]
        assert [before for before, _ in moves] == places[:-1], "each move begins where the last one ended"
        assert places[-1] == found[revision]
    with database.write() as connection:  # once more changes nothing more
        for revision in made:
            settle(connection, AUDIT, revision)
    assert {row.id: row.state for row in _revisions(database)} == found
    assert len(events(database)) == sum(map(len, all_moves.values()))


def test_a_revision_that_deliveries_do_not_move_stays_where_it_is(database: Database):
    elsewhere = [state for state in S if state not in SETTLED_FROM]
    cases = [(state, (delivery,)) for state in elsewhere for delivery in D]
    made = settled(database, cases)
    found = {row.id: row.state for row in _revisions(database)}
    assert [found[revision] for revision in made] == [state for state, _ in cases]
    assert events(database) == []


@pytest.mark.parametrize(("delivery", "end"), [(D.HELD, S.HELD), (D.DEAD, S.UNDELIVERED)])
def test_a_long_outcome_is_the_reason_as_far_as_it_fits(database: Database, delivery: D, end: S):
    [revision] = settled(database, [(S.REPORTED, (D.DELIVERED, delivery))], outcome="refused: " + "x" * 1900)
    [row] = [row for row in _revisions(database) if row.id == revision]
    assert (row.state, row.reason[:10], len(row.reason)) == (end, "refused: x", 400)
