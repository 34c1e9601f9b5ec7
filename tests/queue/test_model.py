"""The queue against a model of it: whatever happens in whatever order, both agree on who may run and end what."""

from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from daemon import queue
from daemon.database import Database
from daemon.database.schema import task as task_table
from daemon.queue import LeaseLost, Task, TaskNotWaiting, TaskState

KINDS = ("deidentify", "deliver")
LONG, EXPIRED = 3600.0, 0.0
FAR_FUTURE = 1e11
keys = st.sampled_from([f"key-{n}" for n in range(6)])
kinds = st.sampled_from(KINDS)
due_times = st.sampled_from([1.0, 2.0, 3.0, FAR_FUTURE])
lease_lengths = st.sampled_from([LONG, EXPIRED])


@dataclass
class ModelTask:
    """What the model knows of a row."""

    id: int
    kind: str
    priority: int
    not_before: float
    state: TaskState = TaskState.READY
    attempts: int = 0
    lease: str | None = None
    expired: bool = False
    effects: int = 0
    history: list[str] = field(default_factory=list)


class QueueMachine(RuleBasedStateMachine):
    """Rules do one thing to both; the invariant compares all rows."""

    database: Database

    claimed = Bundle("claimed")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[str, str], ModelTask] = {}
        with self.database.write() as connection:
            connection.execute(sa.delete(task_table))

    @rule(kind=kinds, key=keys, priority=st.sampled_from(list(queue.Priority)), due=due_times)
    def enqueue(self, kind: str, key: str, priority: queue.Priority, due: float) -> None:
        with self.database.write() as connection:
            added = queue.enqueue(connection, kind, key, {"id": key}, priority=priority, not_before=due)
        assert added == ((kind, key) not in self.model)
        if added:
            row = self._rows()[kind, key]
            self.model[kind, key] = ModelTask(row.id, kind, priority, due)

    @rule(target=claimed, wanted=st.sets(kinds, min_size=1), limit=st.integers(1, 4), length=lease_lengths)
    def claim(self, wanted: set[str], limit: int, length: float) -> list[Task]:
        tasks = queue.claim(self.database, "worker", wanted, limit, length)
        for known in self.model.values():
            if known.kind in wanted and known.expired:
                known.state, known.lease, known.expired = TaskState.READY, None, False
        due = [k for k in self.model.items() if k[1].state is TaskState.READY and k[1].kind in wanted]
        due = [k for k in due if k[1].not_before < FAR_FUTURE]
        due.sort(key=lambda k: (k[1].priority, k[1].not_before, k[1].id))
        assert [(task.kind, task.key) for task in tasks] == [name for name, _ in due[:limit]]
        for task in tasks:
            known = self.model[task.kind, task.key]
            known.attempts += 1
            assert task.attempts == known.attempts
            known.state, known.lease, known.expired = TaskState.RUNNING, task.lease, length == EXPIRED
        return tasks

    def _held(self, task: Task) -> ModelTask | None:
        known = self.model[task.kind, task.key]
        return known if known.lease == task.lease and known.state is TaskState.RUNNING else None

    @rule(tasks=consumes(claimed))
    def complete(self, tasks: list[Task]) -> None:
        held = [self._held(task) for task in tasks]
        try:
            with self.database.write() as connection:
                queue.complete(connection, *tasks)
        except LeaseLost:
            assert not all(held)
            return
        for known in held:
            assert known is not None
            known.effects += 1
            known.state, known.lease, known.expired = TaskState.DONE, None, False

    @rule(tasks=claimed, length=lease_lengths)
    def extend(self, tasks: list[Task], length: float) -> None:
        held = [self._held(task) for task in tasks]
        try:
            with self.database.write() as connection:
                queue.extend(connection, *tasks, lease_seconds=length)
        except LeaseLost:
            assert not all(held)
            return
        for known in held:
            assert known is not None
            known.expired = length == EXPIRED

    @rule(tasks=consumes(claimed))
    def release(self, tasks: list[Task]) -> None:
        held = [self._held(task) for task in tasks]
        try:
            with self.database.write() as connection:
                queue.release(connection, *tasks)
        except LeaseLost:
            assert not all(held)
            return
        for known in held:
            assert known is not None
            known.attempts -= 1
            known.state, known.lease, known.expired = TaskState.READY, None, False

    @rule(tasks=claimed, which=st.integers(0, 3), limit=st.integers(1, 3), for_good=st.booleans())
    def give_up_or_retry(self, tasks: list[Task], which: int, limit: int, for_good: bool) -> None:
        if not tasks:
            return
        task = tasks[which % len(tasks)]
        known = self._held(task)
        try:
            with self.database.write() as connection:
                if for_good:
                    queue.fail(connection, task, "refused")
                    state = TaskState.DEAD
                else:
                    state = queue.retry(connection, task, "busy", FAR_FUTURE, maximum_attempts=limit)
        except LeaseLost:
            assert known is None
            return
        assert known is not None
        assert state is (TaskState.DEAD if for_good or known.attempts >= limit else TaskState.READY)
        known.state, known.lease, known.expired = state, None, False
        if state is TaskState.READY:
            known.not_before = FAR_FUTURE

    @rule(kind=kinds, key=keys, close=st.booleans())
    def operator(self, kind: str, key: str, close: bool) -> None:
        known = self.model.get((kind, key))
        if known is None:
            return
        allowed = {TaskState.READY, TaskState.DEAD} | (set() if close else {TaskState.CLOSED})
        try:
            with self.database.write() as connection:
                if close:
                    queue.close(connection, known.id, "not needed")
                else:
                    queue.requeue(connection, known.id)
        except TaskNotWaiting:
            assert known.state not in allowed
            return
        assert known.state in allowed
        if close:
            known.state = TaskState.CLOSED
        else:
            known.state, known.attempts = TaskState.READY, 0
            known.not_before = self._rows()[kind, key].not_before  # the database's clock says

    def _rows(self) -> dict[tuple[str, str], queue.TaskRecord]:
        with self.database.read() as connection:
            return {(row.kind, row.key): row for row in queue.list_tasks(connection)}

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        rows = self._rows()
        assert rows.keys() == self.model.keys()
        for name, known in self.model.items():
            row = rows[name]
            assert (row.id, row.state, row.attempts) == (known.id, known.state, known.attempts)
            assert (row.worker is not None) == (known.state is TaskState.RUNNING)
            assert (row.not_before >= FAR_FUTURE) == (known.not_before >= FAR_FUTURE)
            assert known.effects <= 1

    @invariant()
    def counts_agree_with_rows(self) -> None:
        with self.database.read() as connection:
            counts = queue.counts(connection)
        assert sum(counts.values()) == len(self.model)
        for (kind, state), number in counts.items():
            assert number == sum(k.kind == kind and k.state is state for k in self.model.values())


def _run(database: Database, examples: int, steps: int) -> None:
    machine = type("Machine", (QueueMachine,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )


def test_the_queue_agrees_with_its_model(database: Database):
    _run(database, examples=25, steps=30)


@pytest.mark.soak
def test_the_queue_agrees_with_its_model_for_long(database: Database):
    _run(database, examples=500, steps=60)
