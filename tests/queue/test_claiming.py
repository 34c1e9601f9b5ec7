"""The queue's contract, on SQLite and PostgreSQL: who gets a task, who may end it, what an operator can do."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from daemon import queue
from daemon.database import Database, database_now
from daemon.database.schema import task as task_table
from daemon.queue import LeaseLost, Priority, Task, TaskNotFound, TaskNotWaiting, TaskState, UnsuitableTask

LONG = 3600.0
EXPIRED = 0.0
"""A lease of no length: what a worker that was killed leaves behind, without waiting for it."""


def add(database: Database, key: str, **options) -> bool:
    with database.write() as connection:
        return queue.enqueue(connection, "infer", key, {"revision": key}, **options)


def claim(database: Database, limit: int = 10, lease_seconds: float = LONG, owner: str = "worker") -> list[Task]:
    return queue.claim(database, owner, ["infer"], limit, lease_seconds)


def record(database: Database, key: str) -> queue.TaskRecord:
    with database.read() as connection:
        return next(row for row in queue.list_tasks(connection) if row.key == key)


def now(database: Database) -> float:
    with database.read() as connection:
        return connection.execute(sa.select(database_now())).scalar_one()


def test_stat_runs_before_routine_then_the_longest_due_then_the_oldest(database: Database):
    add(database, "routine-late", not_before=200.0)
    add(database, "routine-early", not_before=100.0)
    add(database, "routine-early-younger", not_before=100.0)
    add(database, "urgent", not_before=300.0, priority=Priority.URGENT)
    add(database, "stat", not_before=400.0, priority=Priority.STAT)
    expected = ["stat", "urgent", "routine-early", "routine-early-younger", "routine-late"]
    assert [task.key for task in claim(database, limit=2)] == expected[:2]
    assert [task.key for task in claim(database)] == expected[2:]


def test_a_task_is_not_claimed_before_its_time_nor_by_a_worker_for_other_kinds(database: Database):
    add(database, "later", not_before=now(database) + 600)
    add(database, "now")
    assert queue.claim(database, "worker", ["deliver"], 10, LONG) == []
    assert [task.key for task in claim(database)] == ["now"]


def set_clock_back(database: Database, seconds: float) -> None:
    ahead = {name: task_table.c[name] + seconds for name in ("not_before", "lease_until", "updated_at")}
    with database.write() as connection:
        connection.execute(sa.update(task_table).values(ahead))


def test_nothing_waits_for_a_clock_that_was_set_back(database: Database):
    add(database, "leased")
    claim(database)
    add(database, "ready")
    set_clock_back(database, 86400.0)
    assert [task.key for task in claim(database)] == ["ready"]


def test_a_lease_of_before_the_clock_was_set_back_runs_as_long_as_a_new_one(database: Database):
    add(database, "leased")
    claim(database)
    set_clock_back(database, 86400.0)
    assert [task.key for task in claim(database, lease_seconds=EXPIRED)] == ["leased"]


def test_a_clock_that_is_set_back_takes_no_task_from_a_worker_that_is_at_it(database: Database):
    add(database, "leased")
    [task] = claim(database)
    set_clock_back(database, 86400.0)
    assert claim(database) == []
    with database.write() as connection:
        queue.extend(connection, task, lease_seconds=LONG)
    assert claim(database) == []
    with database.write() as connection:
        queue.complete(connection, task)


def test_the_same_kind_and_key_is_one_task_even_after_it_was_done(database: Database):
    assert add(database, "once") is True
    assert add(database, "once") is False
    [task] = claim(database)
    with database.write() as connection:
        queue.complete(connection, task)
    assert add(database, "once") is False
    assert record(database, "once").state is TaskState.DONE


def test_many_tasks_are_added_at_once_and_only_the_new_ones_count(database: Database):
    add(database, "b")
    with database.write() as connection:
        added = queue.enqueue_all(connection, "infer", {"c": {"n": 3}, "b": {"n": 2}, "a": {"n": 1}})
        assert added == 2
        assert queue.enqueue_all(connection, "infer", {}) == 0
    assert {task.key: dict(task.payload) for task in claim(database)} == {
        "a": {"n": 1},
        "b": {"revision": "b"},
        "c": {"n": 3},
    }


def test_a_task_exists_only_if_the_transaction_that_added_it_commits(database: Database):
    def add_and_fail(connection: sa.Connection) -> None:
        queue.enqueue(connection, "infer", "never", {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.write() as connection:
        add_and_fail(connection)
    assert claim(database) == []


def test_what_a_task_did_is_undone_when_its_lease_was_lost(database: Database):
    add(database, "slow")
    [stale] = claim(database, lease_seconds=EXPIRED)
    [fresh] = claim(database)  # the same worker name on purpose: the lease, not the name, decides
    assert (fresh.key, fresh.attempts) == ("slow", 2)

    def end_with_an_effect(connection: sa.Connection, task: Task) -> None:
        queue.enqueue(connection, "report", "slow", {})
        queue.complete(connection, task)

    with pytest.raises(LeaseLost), database.write() as connection:
        end_with_an_effect(connection, stale)
    with database.read() as connection:
        assert queue.counts(connection) == {("infer", TaskState.RUNNING): 1}
    with database.write() as connection:
        queue.complete(connection, fresh)


@pytest.mark.parametrize(
    "end",
    [
        lambda c, task: queue.complete(c, task),
        lambda c, task: queue.retry(c, task, "late"),
        lambda c, task: queue.fail(c, task, "late"),
        lambda c, task: queue.release(c, task),
        lambda c, task: queue.extend(c, task, lease_seconds=LONG),
    ],
    ids=["complete", "retry", "fail", "release", "extend"],
)
def test_a_lost_lease_allows_nothing(database: Database, end: Callable[[sa.Connection, Task], object]):
    add(database, "slow")
    [stale] = claim(database, lease_seconds=EXPIRED)
    [fresh] = claim(database)
    before = record(database, "slow")
    with pytest.raises(LeaseLost), database.write() as connection:
        end(connection, stale)
    assert record(database, "slow") == before
    with database.write() as connection:
        queue.complete(connection, fresh)
    with pytest.raises(LeaseLost), database.write() as connection:
        end(connection, fresh)
    assert record(database, "slow").state is TaskState.DONE


def test_one_lost_lease_among_many_completes_none(database: Database):
    add(database, "lost")
    [lost] = claim(database, lease_seconds=EXPIRED)
    claim(database, owner="other")
    add(database, "held")
    [held] = claim(database)
    with pytest.raises(LeaseLost), database.write() as connection:
        queue.complete(connection, held, lost)
    assert record(database, "held").state is TaskState.RUNNING


def test_an_extended_lease_is_not_taken_back(database: Database):
    add(database, "long")
    [task] = claim(database, lease_seconds=EXPIRED)
    with database.write() as connection:
        queue.extend(connection, task, lease_seconds=LONG)
    assert claim(database, owner="other") == []


def test_a_released_task_is_ready_as_if_never_claimed(database: Database):
    add(database, "unbegun")
    claimed = claim(database)
    with database.write() as connection:
        queue.release(connection, *claimed)
    [again] = claim(database)
    assert again.attempts == 1


def test_a_retried_task_waits_at_least_as_long_as_asked_and_keeps_its_error(database: Database):
    add(database, "busy")
    [task] = claim(database)
    with database.write() as connection:
        assert queue.retry(connection, task, "503 from ehr", delay_seconds=120) is TaskState.READY
    row = record(database, "busy")
    assert row.not_before >= row.updated_at + 120
    assert (row.state, row.last_error, row.attempts) == (TaskState.READY, "503 from ehr", 1)
    assert claim(database) == []


def test_a_task_tried_too_often_is_dead_and_stays_until_a_person_requeues_it(database: Database):
    add(database, "poison")
    for attempt in (1, 2):
        [task] = claim(database)
        with database.write() as connection:
            state = queue.retry(connection, task, f"attempt {attempt}", maximum_attempts=2)
            if state is TaskState.READY:
                queue.requeue(connection, task.id)  # in place of waiting for the back-off
                connection.execute(sa.update(task_table).values(attempts=attempt))
    assert record(database, "poison").state is TaskState.DEAD
    assert record(database, "poison").last_error == "attempt 2"
    assert claim(database) == []
    with database.write() as connection:
        queue.requeue(connection, task.id)
    [again] = claim(database)
    assert again.attempts == 1


def test_a_task_that_kills_its_workers_shows_how_often_it_did(database: Database):
    add(database, "killer")
    attempts = [claim(database, lease_seconds=EXPIRED)[0].attempts for _ in range(4)]
    assert attempts == [1, 2, 3, 4]


def test_a_closed_task_keeps_the_reason_and_the_error(database: Database):
    add(database, "hopeless")
    [task] = claim(database)
    with database.write() as connection:
        queue.fail(connection, task, "422 from ehr")
    with database.write() as connection:
        queue.close(connection, task.id, "sent by hand")
    row = record(database, "hopeless")
    assert (row.state, row.last_error) == (TaskState.CLOSED, "closed: sent by hand; before: 422 from ehr")
    assert claim(database) == []


def test_an_operator_cannot_take_a_running_or_done_task_away(database: Database):
    add(database, "running")
    [task] = claim(database)
    with pytest.raises(TaskNotWaiting, match="is running"), database.write() as connection:
        queue.close(connection, task.id, "no")
    with database.write() as connection:
        queue.complete(connection, task)
    with pytest.raises(TaskNotWaiting, match="is done"), database.write() as connection:
        queue.requeue(connection, task.id)
    with pytest.raises(TaskNotFound), database.write() as connection:
        queue.requeue(connection, 10**6)
    with pytest.raises(ValueError, match="reason"), database.write() as connection:
        queue.close(connection, task.id, "  ")


def test_payloads_and_keys_take_ids_only(database: Database):
    for key, payload in [("ÖRNEK^AYŞE", {}), ("id", {"name": "ÖRNEK^AYŞE"}), ("id", {"note": "two words"}), ("", {})]:
        with pytest.raises(UnsuitableTask) as refused, database.write() as connection:
            queue.enqueue(connection, "infer", key, payload)
        assert "RNEK" not in str(refused.value)


def test_the_list_pages_from_the_newest_and_filters(database: Database):
    for number in range(5):
        add(database, f"task-{number}")
    claim(database, limit=1)
    with database.read() as connection:
        first = queue.list_tasks(connection, limit=2)
        rest = queue.list_tasks(connection, limit=10, before_id=first[-1].id)
        running = queue.list_tasks(connection, states=[TaskState.RUNNING])
        none = queue.list_tasks(connection, kinds=["deliver"])
    assert [row.key for row in first + rest] == ["task-4", "task-3", "task-2", "task-1", "task-0"]
    assert [(row.key, row.worker) for row in running] == [("task-0", "worker")]
    assert none == []


def test_workers_that_claim_at_once_never_share_a_task(database: Database):
    with database.write() as connection:
        for number in range(200):
            queue.enqueue(connection, "infer", f"task-{number}", {})
    claimed: list[int] = []
    begin = threading.Barrier(4)

    def work(owner: str) -> None:
        begin.wait()
        while tasks := claim(database, limit=7, owner=owner):
            claimed.extend(task.id for task in tasks)

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 200
    assert len(set(claimed)) == 200


def test_claiming_reads_no_done_tasks(database: Database):
    """With 100,000 done tasks, the plan of a claim goes through the index and stops at its limit."""
    done = [
        {"kind": "infer", "key": f"done-{n}", "payload": {}, "state": "done", "priority": 10, "not_before": float(n)}
        | {"attempts": 1, "created_at": 0.0, "updated_at": 0.0}
        for n in range(100_000)
    ]
    with database.write() as connection:
        connection.execute(sa.insert(task_table), done)
    add(database, "ready")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE task")
    claim_query = str(
        queue.due_tasks(["infer"]).limit(10).compile(database.engine, compile_kwargs={"literal_binds": True})
    )
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as connection:
        plan = "\n".join(" ".join(map(str, row)) for row in connection.exec_driver_sql(f"{explain} {claim_query}"))
    assert "ix_task_ready" in plan
    assert "Seq Scan" not in plan
    assert "SCAN task\n" not in plan
    assert "TEMP B-TREE" not in plan
    assert [task.key for task in claim(database)] == ["ready"]


@pytest.mark.parametrize("randomness", [0.0, 0.5, 0.999])
def test_back_off_doubles_to_a_limit_and_is_never_less_than_half(randomness: float):
    waits = [queue.backoff_seconds(attempt, randomness) for attempt in range(1, 60)]
    assert 0.5 <= waits[0] <= 1.0
    assert waits == sorted(waits)
    assert 300.0 <= waits[-1] <= 600.0
    assert waits[3] == pytest.approx(8 * waits[0])
