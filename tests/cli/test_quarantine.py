"""`kopru quarantine`: what it says of a decision."""

import json

import pytest

from daemon.node import Node
from daemon.states import RevisionState
from tests.cli.conftest import Run
from tests.daemon.rows import add_instance, add_patient, add_revision, add_study

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def test_each_decision_says_what_was_done_and_which_revision_follows(ask: Run, console: Node):
    with console.database.write() as connection:
        patient = add_patient(connection)
        study = add_study(connection, patient)
        revision = add_revision(connection, study, RevisionState.QUARANTINED)
        reason = "cannot be proven clean: burned-in-annotation"
        one, other = (add_instance(connection, revision, study, patient, reason=reason) for _ in range(2))
    decisions = {
        "released (burned-in-annotation)": ("release", one, "--reason", "burned-in-annotation"),
        "rejected": ("reject", other),
        "restored": ("restore", other),
        "": ("retry", study),
    }
    for number, (done, arguments) in enumerate(decisions.items(), start=2):
        answer = ask("quarantine", *arguments, columns=200)
        assert answer.code == 0, answer.err
        (listed,) = json.loads(ask("studies", "list", "--json").out)
        assert listed["revision"] == number
        assert answer.out.startswith(f"{done}; study {study}: revision " if done else f"study {study}: revision ")
