"""How many tasks a second the queue takes through their whole life, with fsync on. Run: python -m benchmarks.queue

A task's life: enqueued in a transaction with a row beside it (as an audit event would be), claimed, completed in a
transaction with another such row. Every commit is durable: SQLite in WAL mode with synchronous=FULL, PostgreSQL with
fsync and synchronous_commit on. Four processes do everything at once; claims take up to 16 tasks. What a commit costs
is the disk's matter, so how many commits a task needs decides, and three ways are measured:

- apart: each task is enqueued in one transaction of its own and completed in another: 2 commits.
- chained: the transaction that completes a task enqueues the task that follows, as the engine's steps do: 1 commit.
- batched: one transaction enqueues, and one completes, up to 16 tasks, which succeed or fail together: 1/8 commit. This
  is what steps with little work of their own can do, such as the indexer for a batch of instances.

The targets are for the batched way; the others reach them where fsync is fast enough. The disk is measured, too.
"""

import argparse
import multiprocessing
import multiprocessing.synchronize
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from daemon import queue
from daemon.database import Database, database_now
from daemon.database import schema as t

WORKERS = 4
CLAIM = 16
LEASE_SECONDS = 60.0
TARGETS = {"SQLite": 500, "PostgreSQL": 1000}  # tasks a second, with four workers

_START_SECONDS = 60.0


class Way(Enum):
    """How tasks are enqueued and completed."""

    APART = "apart"
    CHAINED = "chained"
    BATCHED = "batched"


_beside = sa.Table(
    "benchmark_event",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_BODY = b'{"action":"revision.move","actor":"engine","details":{"from":"closed","to":"deidentified"}}' * 3


def _event(connection: sa.Connection, number: int) -> None:
    connection.execute(sa.insert(_beside), [{"body": _BODY, "at": time.time()} for _ in range(number)])


def _work(url: str, worker: int, tasks: int, way: Way, begin: multiprocessing.synchronize.Barrier) -> None:
    database = Database(url)
    with database.read() as connection:
        connection.execute(sa.select(database_now()))
    begin.wait(_START_SECONDS)
    batch = CLAIM if way is Way.BATCHED else 1
    own = range(worker, tasks, WORKERS)
    numbers = own[:CLAIM] if way is Way.CHAINED else own
    for start in range(0, len(numbers), batch):
        database.retrying(partial(_enqueue, numbers=numbers[start : start + batch]))
    while claimed := queue.claim(database, f"worker-{worker}", ["bench"], CLAIM, LEASE_SECONDS):
        for start in range(0, len(claimed), batch):
            some = claimed[start : start + batch]
            follow = [n for task in some if (n := task.payload["number"] + WORKERS * CLAIM) < tasks]
            database.retrying(partial(_complete, tasks=some, following=follow if way is Way.CHAINED else []))
    database.dispose()


def _enqueue(connection: sa.Connection, numbers: Sequence[int]) -> None:
    queue.enqueue_all(connection, "bench", {f"task-{number}": {"number": number} for number in numbers})
    _event(connection, len(numbers))


def _complete(connection: sa.Connection, tasks: list[queue.Task], following: list[int]) -> None:
    queue.complete(connection, *tasks)
    _event(connection, len(tasks))
    if following:
        _enqueue(connection, following)


def fsync_milliseconds(folder: Path) -> float:
    """What the disk takes to make 4 KiB durable: the median of 50."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            started = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - started)
    return 1000 * statistics.median(took)


def measure(url: str, tasks: int, way: Way) -> float:
    """Tasks a second from the first enqueue to the last completion; fails unless all are done."""
    database = Database(url)
    with database.write() as connection:
        t.task.drop(connection, checkfirst=True)
        t.task.create(connection)
        _beside.drop(connection, checkfirst=True)
        _beside.create(connection)
    processes = multiprocessing.get_context("spawn")
    begin = processes.Barrier(WORKERS + 1)
    workers = [
        processes.Process(target=_work, args=(url, number, tasks, way, begin), daemon=True) for number in range(WORKERS)
    ]
    for process in workers:
        process.start()
    begin.wait(_START_SECONDS)
    started = time.monotonic()
    for process in workers:
        process.join()
    took = time.monotonic() - started
    with database.read() as connection:
        done = queue.counts(connection)
        events = connection.execute(sa.select(sa.func.count()).select_from(_beside)).scalar_one()
    database.dispose()
    if done != {("bench", queue.TaskState.DONE): tasks} or events != 2 * tasks:
        raise SystemExit(f"tasks were lost or done twice: {done}, {events} events")
    return tasks / took


@contextmanager
def postgresql() -> Iterator[str]:
    """A server of our own, durable, in a temporary folder; run as another account where we are root."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    account = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="kopru-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        data = folder / "data"
        if account:
            subprocess.run(["chown", account, folder], check=True)

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, cwd=folder, user=account, stdout=subprocess.DEVNULL)

        run(programs / "initdb", "--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C", "-D", data)
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=on -c synchronous_commit=on"
        run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://bench@/postgres?host={folder}"
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def _report(name: str, url: str, tasks: int, runs: int) -> bool:
    for way in Way:
        rates = [measure(url, tasks, way) for _ in range(runs)]
        median = statistics.median(rates)
        all_runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(
            f"{name:<11} {way.value:<8} {median:>7,.0f} tasks/s (target {TARGETS[name]:,}; runs: {all_runs})",
            flush=True,
        )
    return median >= TARGETS[name]  # of the last, batched, way


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the task queue.")
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the SQLite file lies; by default the temporary folder")
    arguments = parser.parse_args()
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    print(f"{len(os.sched_getaffinity(0))} cores of {processor}, Python {platform.python_version()}, {WORKERS} workers")
    with tempfile.TemporaryDirectory(prefix="kopru-bench-", dir=arguments.folder) as folder:
        print(f"the disk takes {fsync_milliseconds(Path(folder)):.2f} ms for an fsync")
        met = _report("SQLite", f"sqlite:///{folder}/queue.sqlite", arguments.tasks, arguments.runs)
    with postgresql() as url:
        met = _report("PostgreSQL", url, arguments.tasks, arguments.runs) and met
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
