"""Workers that are killed at any moment lose no task, do none twice at once, and leave each done exactly once.

While a worker runs a task it holds the kernel's lock on a file of the task's name; a kill frees it. Who finds a lock
taken has caught two workers at the same task, whatever any clock says.
"""

import contextlib
import fcntl
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from daemon import queue
from daemon.database import Database
from daemon.queue import LeaseLost, Task, TaskState
from tests.waiting import wait_until

WORKERS = 4
LEASE_SECONDS = 5.0
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["daemon.queue", "tests.waiting"])


@contextlib.contextmanager
def alone(task: Task, folder: Path) -> Iterator[None]:
    """Hold the task's lock, or leave a mark that somebody else holds it."""
    with (folder / str(task.id)).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / f"overlap-{task.id}-{os.getpid()}").touch()
        lock.write(f"{task.lease}\n")
        lock.flush()
        os.fsync(lock.fileno())  # some work, so that kills fall into it
        yield


def work(url: str, folder: Path) -> None:
    """What an engine does: claim in batches, run, end each task together with its effect."""
    database = Database(url)
    while True:
        for task in queue.claim(database, f"worker-{os.getpid()}", ["work"], 3, LEASE_SECONDS):
            with contextlib.suppress(LeaseLost):
                run(database, task, folder)


def run(database: Database, task: Task, folder: Path) -> None:
    with database.write() as connection:
        queue.extend(connection, task, lease_seconds=LEASE_SECONDS)
    with alone(task, folder), database.write() as connection:
        queue.enqueue(connection, "effect", f"{task.key}:{task.attempts}", {})
        queue.complete(connection, task)


def start(url: str, folder: Path) -> ForkServerProcess:
    process = _processes.Process(target=work, args=(url, folder), daemon=True)
    process.start()
    return process


def kill_workers(database: Database, url: str, folder: Path, tasks: int, kills: int, seed: int) -> None:
    """Run `tasks` tasks while `kills` workers are killed, each after some more tasks are done."""
    with database.write() as connection:
        for number in range(tasks):
            queue.enqueue(connection, "work", f"task-{number}", {})

    def done() -> int:
        with database.read() as connection:
            return queue.counts(connection).get(("work", TaskState.DONE), 0)

    chance = random.Random(seed)
    workers = [start(url, folder) for _ in range(WORKERS)]
    try:
        for kill_at in sorted(chance.sample(range(1, tasks - 5 * WORKERS), kills)):
            wait_until(lambda: done() >= kill_at, f"{kill_at} tasks to be done", 60)  # noqa: B023
            victim = workers.pop(chance.randrange(WORKERS))
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            workers.append(start(url, folder))
        wait_until(lambda: done() == tasks, "all tasks to be done", 60)
    finally:
        for process in workers:
            process.kill()
            process.join()


def check(database: Database, folder: Path, tasks: int) -> int:
    """None lost, none done twice, none run by two at once. Gives how many runs were cut off by a kill."""
    assert sorted(path.name for path in folder.glob("overlap-*")) == []
    with database.read() as connection:
        rows = queue.list_tasks(connection, limit=10 * tasks)
    assert Counter(row.state for row in rows if row.kind == "work") == {TaskState.DONE: tasks}
    effects = Counter(row.key.split(":")[0] for row in rows if row.kind == "effect")
    assert effects == {f"task-{number}": 1 for number in range(tasks)}
    return sum(len(path.read_text().splitlines()) for path in folder.iterdir()) - tasks


def test_killed_workers_lose_nothing_and_never_share_a_task(database: Database, database_url: str, tmp_path: Path):
    folder = tmp_path / "runs"
    folder.mkdir()
    kill_workers(database, database_url, folder, tasks=150, kills=6, seed=20260101)
    check(database, folder, tasks=150)


@pytest.mark.soak
def test_many_killed_workers_lose_nothing(database: Database, database_url: str, tmp_path: Path):
    folder = tmp_path / "runs"
    folder.mkdir()
    kill_workers(database, database_url, folder, tasks=4000, kills=150, seed=20260102)
    assert check(database, folder, tasks=4000) > 0, "no kill fell into a run: the test proves too little"


def test_two_workers_at_one_task_would_be_noticed(tmp_path: Path):
    task = Task(id=1, kind="work", key="task-0", payload={}, priority=10, attempts=1, lease="worker#1")
    with alone(task, tmp_path), alone(task, tmp_path):
        pass
    assert list(tmp_path.glob("overlap-*"))
