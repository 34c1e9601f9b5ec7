"""`kopru studies`: what became of a study, and what it waits for."""

import json

import pytest

from daemon import queue
from daemon.node import Node
from daemon.states import DeliveryState, RevisionState
from tests.cli.conftest import Run
from tests.daemon.rows import add_deliveries, add_patient, add_revision, add_study

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def test_show_says_when_a_report_is_tried_again_and_why_it_is_not_there(ask: Run, console: Node):
    with console.database.write() as connection:
        patient = add_patient(connection)
        study = add_study(connection, patient)
        revision = add_revision(connection, study, RevisionState.INFERRED)
        add_deliveries(connection, revision, patient, [DeliveryState.PENDING], None)
    (delivery,) = json.loads(ask("studies", "show", study, "--json").out)["deliveries"]
    assert "Waits for" not in ask("studies", "show", study).out
    with console.database.write() as connection:
        queue.enqueue(connection, "report", delivery["id"], {"delivery": delivery["id"]})
    (task,) = queue.claim(console.database, "somebody", ["report"], 1, 60)
    with console.database.write() as connection:
        queue.retry(connection, task, "matching the patient: the server cannot be reached")
    shown = ask("studies", "show", study)
    assert shown.code == 0
    assert "Waits for" in shown.out
    assert "matching the patient: the server cannot be reached" in shown.out
    assert "not before" in shown.out
