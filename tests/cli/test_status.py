"""`kopru status`: what is stored and not indexed yet, since when, and why the last attempt failed."""

import json
import os
import time

import pytest

from adapters.storage import IntakeWriter, Receipt, ReceiptKind
from daemon.audit import AuditEvent, Kind, Name
from daemon.database import schema as t
from daemon.engine.engine import Engine
from daemon.node import Node
from tests.cli.conftest import Run
from tests.daemon.rows import add_instance, add_patient, add_study, events

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def index(ask: Run) -> dict[str, object]:
    return json.loads(ask("status", "--json").out)["index"]


def test_objects_wait_until_they_are_in_the_index(ask: Run, console: Node):
    assert index(ask) == {"waiting": 0, "oldest_seconds": None, "last_error": None}
    assert "all stored objects are indexed" in ask("status").out
    writer = IntakeWriter(console.store, "receiver-1", minimum_free_bytes=0, objects_per_batch=2)
    refs = [writer.write(Receipt(ReceiptKind.INSTANCE, received_at=time.time()), b"bytes") for _ in range(5)]
    hour_ago = time.time() - 3600
    os.utime(refs[1].path(console.store.root), (hour_ago, hour_ago))
    waits = index(ask)
    assert waits["waiting"] == 5
    assert 3600 <= waits["oldest_seconds"] < 3700
    assert "5 stored objects are not indexed yet, the oldest for 3,600 s" in ask("status").out
    with console.database.write() as connection:
        patient = add_patient(connection)
        add_instance(connection, None, add_study(connection, patient), patient, id=refs[1].id)
        connection.execute(
            t.intake_event.insert().values(id=refs[4].id, at=1.0, kind="x", source="", peer="", detail="")
        )
    waits = index(ask)
    assert waits["waiting"] == 3
    assert waits["oldest_seconds"] < 3600
    with console.database.write() as connection:
        connection.execute(t.receiver.insert().values(id="receiver-1", complete_batch=1))
    assert index(ask)["waiting"] == 0
    writer.close()


def test_the_last_failure_to_index_is_told_by_its_kind(ask: Run, console: Node):
    for error in ("StoreUnavailable", "KeyStoreUnavailable"):
        event = AuditEvent(Kind.INDEXING_FAILED, actor="engine", details={"error": Name(error)})
        console.database.retrying(lambda connection, event=event: console.audit.record(connection, event))
    said = index(ask)["last_error"]
    assert said["error"] == "KeyStoreUnavailable"
    assert abs(said["at"] - time.time()) < 60
    assert ": KeyStoreUnavailable; see the engine's log" in ask("status").out


def test_a_trouble_is_recorded_once_until_it_is_over_or_another(console: Node):
    engine = Engine.__new__(Engine)
    engine._node, engine._trouble = console, None
    for trouble in ("StoreUnavailable", "StoreUnavailable", "KeyMissing", None, None, "KeyMissing"):
        engine._note_trouble(trouble)
    recorded = [event["details"]["error"] for event in events(console.database, "index.failed")]
    assert recorded == ["StoreUnavailable", "KeyMissing", "KeyMissing"]
