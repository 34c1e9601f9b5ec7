"""Indexer, engine workers, console and operators at once on one database, each in a process of its own.

No error may get out, no task may be done twice or forgotten, and the audit log must come out whole.
"""

import multiprocessing
import sys
import time
import traceback
import uuid
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from daemon import queue
from daemon.audit import AuditEvent, AuditWriter, Kind, Sealer, SigningKey, verify
from daemon.database import Database
from daemon.database import schema as t
from daemon.intake.arrival import Arrival
from daemon.intake.closing import close_revision
from daemon.intake.placing import place
from daemon.states import RevisionState, move
from tests.intake.arrivals import arrival, patient

STUDIES = 30


def _arrival(study: int, number: int) -> Arrival:
    return arrival(f"{study}-{number}", f"study {study}", patient=patient(str(study)))


def index(database: Database, _stop: Path) -> None:
    """The indexer: places instances and closes revisions."""
    audit = AuditWriter("indexer")
    for study in range(STUDIES):
        for number in range(2):
            database.retrying(partial(place, audit=audit, arrival=_arrival(study, number)))

        def close(connection: sa.Connection, tag: str = f"study {study}") -> None:
            revision = connection.execute(
                sa.select(t.revision.c.id)
                .join(t.study, t.study.c.id == t.revision.c.study_id)
                .where(t.study.c.uid_tag == tag)
            ).scalar_one()
            close_revision(connection, audit, revision, reason="test", forced=False)

        database.retrying(close)


def work(database: Database, stop: Path) -> None:
    """An engine worker: claims tasks and ends each with the move it stands for."""
    audit = AuditWriter("engine")
    while not stop.exists():
        for task in queue.claim(database, f"w{uuid.uuid4().hex[:8]}", ["deidentify"], 3, 30.0):

            def end(connection: sa.Connection, task: queue.Task = task) -> None:
                move(connection, audit, task.payload["revision"], RevisionState.UNSELECTED, reason="test")
                queue.complete(connection, task)

            database.retrying(end)
        time.sleep(0.005)


def look(database: Database, stop: Path) -> None:
    """The console: reads what `status` and `studies list` read."""
    while not stop.exists():
        with database.read() as connection:
            queue.counts(connection)
            connection.execute(sa.select(t.revision.c.state, sa.func.count()).group_by(t.revision.c.state)).all()
        time.sleep(0.002)


def operate(database: Database, stop: Path) -> None:
    """Operators: commands that are recorded, tasks that are inserted."""
    audit = AuditWriter("console")
    number = 0
    while not stop.exists():
        number += 1
        database.retrying(lambda c: audit.record(c, AuditEvent(Kind.COMMAND, actor="user:test")))
        database.retrying(lambda c, n=number: queue.enqueue(c, "leftovers", str(n), {}))
        time.sleep(0.01)


def seal(database: Database, stop: Path) -> None:
    """The sealer."""
    sealer = Sealer(database, SigningKey.load_or_create(stop.parent / "key"), stop.parent / "heads")
    while not stop.exists():
        sealer.seal()
        time.sleep(0.05)


def _in_process(role, url: str, stop: Path, errors) -> None:
    database = Database(url)
    try:
        role(database, stop)
    except Exception:  # noqa: BLE001 - handed to the test, which fails with it
        errors.put(f"{role.__name__}: {traceback.format_exc()}")
        sys.exit(1)
    finally:
        database.dispose()


@pytest.mark.timeout(240)
def test_everybody_at_once_loses_and_doubles_nothing(database_url: str, tmp_path: Path):
    SigningKey.load_or_create(tmp_path / "key")
    context = multiprocessing.get_context("spawn")
    errors, stop = context.SimpleQueue(), tmp_path / "stop"
    roles = [index, work, work, look, operate, seal]
    processes = [context.Process(target=_in_process, args=(role, database_url, stop, errors)) for role in roles]
    for process in processes:
        process.start()
    database = Database(database_url)
    try:
        processes[0].join(150)
        end = time.monotonic() + 60
        while time.monotonic() < end and errors.empty():
            with database.read() as connection:
                done = connection.execute(
                    sa.select(sa.func.count()).select_from(t.revision).where(t.revision.c.state == "unselected")
                ).scalar_one()
            if done == STUDIES:
                break
            time.sleep(0.05)
        stop.touch()
        for process in processes:
            process.join(60)
        assert errors.empty(), errors.get()
        assert [process.exitcode for process in processes] == [0] * len(roles)
        _check(database, tmp_path)
    finally:
        stop.touch()
        for process in processes:
            process.kill()
        database.dispose()


def _check(database: Database, folder: Path) -> None:
    key = SigningKey.load_or_create(folder / "key")
    with database.write() as connection:  # the killed sealer's lease would else have to run out
        connection.execute(sa.delete(t.lease))
    Sealer(database, key, folder / "heads").seal()
    report = verify(database, key.public, folder / "heads" / "heads.jsonl")
    assert (report.problems, report.unsealed) == ((), 0)
    with database.read() as connection:
        states = connection.execute(sa.select(t.revision.c.state)).scalars().all()
        ended = connection.execute(
            sa.select(sa.func.count())
            .select_from(t.task)
            .where(t.task.c.kind == "deidentify", t.task.c.state == "done")
        ).scalar_one()
        moves = connection.execute(
            sa.select(sa.func.count()).select_from(t.audit_event).where(t.audit_event.c.kind == "revision.moved")
        ).scalar_one()
    assert states == ["unselected"] * STUDIES
    assert ended == STUDIES
    assert moves == 2 * STUDIES  # closed, then unselected: each once
