"""What was on its way when its study changed: nothing outdated, or about a former patient, is sent after that, and a
person is told of all that may be there, until that person has seen to it.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from adapters.dicom import MadeInstance, Outgoing
from adapters.outcomes import Delivered, DeliveryOutcome, Retry
from daemon.database import schema as t
from daemon.engine.tasks import TaskLoop
from daemon.queue import TaskState
from daemon.steps.outbox import bury
from tests.steps.corrections import of, settle
from tests.steps.installation import Installation, Make, another, image
from tests.steps.test_copies import delivery
from tests.steps.test_pacs import explaining
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)  # nothing here turns on a lock
A, B = MadeUpPatient(1), MadeUpPatient(2)
BROKEN_OFF = Retry("the association has ended", settled=True)


@dataclass
class FailingPacs:
    """Has what was stored; the next of `failures` happens in the place of one attempt."""

    stored: list[list[Dataset]] = field(default_factory=list)
    failures: list[Callable[[], DeliveryOutcome]] = field(default_factory=list)

    def store(self, instances: Collection[Outgoing[MadeInstance]]) -> DeliveryOutcome:
        if self.failures:
            return self.failures.pop(0)()
        self.stored.append([dcmread(DicomBytesIO(instance.open().file)) for instance in instances])
        return Delivered(0)

    @property
    def patients(self) -> set[str]:
        return {made.PatientID for attempt in self.stored for made in attempt}


@pytest.fixture
def pacs() -> FailingPacs:
    return FailingPacs()


@pytest.fixture
def installation(make: Make, pacs: FailingPacs) -> Installation:
    """With a PACS that fails where a test says so."""
    settings = {"name": "pacs", "kind": "pacs", "port": 104, "ae_title": "PACS", "confirm_research": True}
    made = explaining(make(settings))
    made.context = replace(made.context, pacs={"pacs": pacs})
    made.loop = TaskLoop(made.context, "worker")
    return made


def another_answer(installation: Installation) -> None:
    installation.model.scores = {version: [0.9, 0.07, 0.03] for version in installation.packages.by_version}


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("ends", ["answered", "killed"])
def test_nothing_about_a_former_patient_is_sent_after_the_correction(
    installation: Installation, pacs: FailingPacs, ends: str
):
    sent = image()
    installation.send(sent)

    def corrected() -> DeliveryOutcome:
        installation.send(of(B, sent))
        installation.indexer.pass_once()
        if ends == "killed":
            raise Killed
        return BROKEN_OFF

    pacs.failures.append(corrected)
    with suppress(Killed):
        installation.work()
    with installation.database.write() as connection:
        connection.execute(sa.update(t.task).where(t.task.c.state == TaskState.RUNNING).values(lease_until=0.0))
    settle(installation)
    assert pacs.patients == {B.patient_id}
    assert installation.deliveries()[1, "pacs"] == "superseded"
    assert "1 instances were sent there under the former patient's name" in delivery(installation, "pacs", 3)["outcome"]


def test_an_outdated_heatmap_is_not_sent_after_the_one_that_replaces_it(installation: Installation, pacs: FailingPacs):
    first = image()
    installation.send(first)

    def newer() -> DeliveryOutcome:
        another_answer(installation)
        installation.send(another(first))
        installation.indexer.pass_once()
        return BROKEN_OFF

    pacs.failures.append(newer)
    installation.work()
    settle(installation)
    assert [len(attempt) for attempt in pacs.stored] == [2]
    assert installation.deliveries()[1, "pacs"] == "superseded"
    assert "1 instances that were sent before" in delivery(installation, "pacs", 2)["outcome"]  # it may be there


def needing_a_person(installation: Installation) -> int:
    return int(installation.ask("status")["needs_a_person"])


def test_what_is_too_many_there_is_told_until_a_person_has_seen_to_it(installation: Installation, pacs: FailingPacs):
    first = image()
    second = another(first)
    installation.send(first, second)
    installation.work()
    installation.send(rejection_note([second], A))
    installation.work()
    assert needing_a_person(installation) == 1
    installation.send(another(first, 55))  # before anybody has looked
    installation.work()
    assert needing_a_person(installation) == 1
    assert "1 instances that were sent before" in delivery(installation, "pacs", 3)["outcome"]
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    assert needing_a_person(installation) == 0
    assert installation.deliveries()[3, "pacs"] == "seen-to"
    installation.send(another(first, 66))
    installation.work()
    assert needing_a_person(installation) == 0


def test_all_that_was_sent_under_a_former_patients_name_is_counted(installation: Installation, pacs: FailingPacs):
    sent = image()
    installation.send(sent)
    installation.work()
    another_answer(installation)
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    assert len({made.SOPInstanceUID for attempt in pacs.stored for made in attempt}) == 2
    installation.send(of(B, sent))
    settle(installation)
    assert "2 instances were sent there under the former patient's name" in delivery(installation, "pacs", 4)["outcome"]


def test_a_step_that_fails_late_does_not_undo_what_a_person_has_said(installation: Installation):
    sent = image()
    installation.send(sent)
    installation.work()
    installation.send(of(B, sent))
    settle(installation)
    lies_there = delivery(installation, "pacs", 3)["id"]
    seen_to = {"study": installation.shown()["study"], "destination": "pacs", "reason": "done-elsewhere"}
    installation.ask("studies.recalled", **seen_to)
    with installation.database.write() as connection:
        bury(connection, installation.node.audit, lies_there, "of an attempt that a person had asked for before")
    assert installation.deliveries()[3, "pacs"] == "seen-to"
    assert needing_a_person(installation) == 0
