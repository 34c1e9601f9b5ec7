"""What an operator's `tasks close` and `tasks retry` mean for the study that the task belongs to."""

import json

import pytest
import sqlalchemy as sa

from adapters.fhir import Dead, Held, Retry
from daemon.control import CommandFailed
from daemon.database import schema as t
from daemon.queue import TaskState
from daemon.states import NEEDS_A_PERSON
from runtime import RuntimeUnavailable
from tests.steps.installation import Association, Installation, Instead, another, image

STUDY = "2.25.4711"
REFUSED = Instead(Dead("refused", 422))
STEPS = ["deidentify", "infer", "report", "deliver"]


def advance(installation: Installation, step: str) -> None:
    """Work on a study until only this step of it, for the destination "reports", is left."""
    installation.send(image(StudyInstanceUID=STUDY))
    if step != "deidentify":
        installation.work(*STEPS[: STEPS.index(step)])
    if step in ("report", "deliver"):
        for task in [installation.claim(step), installation.claim(step)]:
            if of(installation, task.key) == "archive":
                installation.attempt(task)
            else:
                give_back(installation, task.id)
        if step == "report":
            installation.work("deliver")


def of(installation: Installation, delivery: str) -> str:
    return next(row["destination"] for row in installation.shown()["deliveries"] if row["id"] == delivery)


def give_back(installation: Installation, task: int) -> None:
    with installation.database.write() as connection:
        free = {"state": TaskState.READY, "lease_owner": None, "lease_until": None}
        connection.execute(sa.update(t.task).where(t.task.c.id == task).values(free))


def last_attempt(installation: Installation, kind: str) -> None:
    """Let the next failure of the waiting task be its last."""
    with installation.database.write() as connection:
        connection.execute(sa.update(t.task).where(t.task.c.kind == kind).values(attempts=999))


@pytest.mark.parametrize("step", STEPS)
def test_closing_a_waiting_task_ends_what_hangs_on_it_and_a_retry_brings_it_back(installation: Installation, step: str):
    advance(installation, step)
    task = installation.task(step, TaskState.READY)
    installation.ask("tasks.close", task=task, reason="not-wanted")
    assert installation.revisions()[0] in NEEDS_A_PERSON
    assert installation.shown()["revisions"][0]["reason"] == "closed by an operator"
    if step in ("report", "deliver"):
        assert installation.deliveries() == {(1, "archive"): "delivered", (1, "reports"): "dead"}
    installation.assert_nothing_is_dropped()
    installation.ask("tasks.retry", task=task)
    installation.work()
    assert installation.revisions() == ["delivered"]
    assert installation.report() is not None


@pytest.mark.parametrize("step", STEPS)
def test_closing_a_dead_task_leaves_what_it_ended_and_a_retry_brings_it_back(installation: Installation, step: str):
    advance(installation, step)

    def fails() -> None:
        raise RuntimeUnavailable("down")

    last_attempt(installation, step)
    with pytest.MonkeyPatch.context() as patch:
        reports = installation.destinations["reports"]
        for owner, hook in (
            (installation.workers, "before"),
            (installation.model, "before"),
            (reports, "before_match"),
            (reports, "before"),
        ):
            patch.setattr(owner, hook, fails)
        installation.work()
    task = installation.task(step, TaskState.DEAD)
    ended = installation.revisions()
    assert ended[0] in NEEDS_A_PERSON
    installation.ask("tasks.close", task=task, reason="not-wanted")
    assert installation.revisions() == ended
    installation.ask("tasks.retry", task=task)
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_closing_a_delivery_whose_answer_was_lost_lets_a_newer_revision_be_written(installation: Installation):
    first = image()
    installation.send(first)
    installation.destinations["reports"].plan.append(Instead(Retry("no answer"), written=True))
    installation.work()
    assert installation.deliveries()[1, "reports"] == "sending"
    installation.ask("tasks.close", task=installation.task("deliver", TaskState.READY), reason="not-wanted")
    assert installation.revisions() == ["undelivered"]
    installation.send(another(first))
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]


def test_a_dead_delivery_can_be_retried_while_the_revision_is_held_for_another_destination(installation: Installation):
    installation.destinations["reports"].matches.append(Held("no patient has this identifier"))
    installation.destinations["archive"].plan.append(REFUSED)
    installation.send(image())
    installation.work()
    assert installation.revisions() == ["held"]
    assert installation.deliveries() == {(1, "archive"): "dead", (1, "reports"): "held"}
    installation.ask("tasks.retry", task=installation.task("deliver", TaskState.DEAD))
    installation.work()
    assert installation.deliveries() == {(1, "archive"): "delivered", (1, "reports"): "held"}
    assert installation.revisions() == ["held"], "the other destination still waits for a person"
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]


def test_a_dead_delivery_that_is_retried_in_vain_ends_as_before(installation: Installation):
    installation.destinations["reports"].plan.extend([REFUSED, REFUSED])
    installation.send(image())
    installation.work()
    installation.ask("tasks.retry", task=installation.task("deliver", TaskState.DEAD))
    installation.work()
    assert installation.revisions() == ["undelivered"]
    assert installation.deliveries() == {(1, "archive"): "delivered", (1, "reports"): "dead"}


@pytest.mark.parametrize("step", ["infer", "deliver"])
def test_a_task_of_a_superseded_revision_is_not_retried(installation: Installation, step: str):
    advance(installation, step)
    task = installation.task(step, TaskState.READY)
    installation.ask("tasks.close", task=task, reason="not-wanted")
    installation.send(another(image(StudyInstanceUID=STUDY)))
    assert installation.revisions() == ["superseded", "closed"]
    with pytest.raises(CommandFailed, match="newer revision"):
        installation.ask("tasks.retry", task=task)
    assert installation.task(step, TaskState.CLOSED) == task
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]


def test_a_running_task_is_neither_closed_nor_retried(installation: Installation):
    installation.send(image())
    task = installation.claim("deidentify")
    for command, arguments in (("tasks.close", {"reason": "not-wanted"}), ("tasks.retry", {})):
        with pytest.raises(CommandFailed, match="is running"):
            installation.ask(command, task=task.id, **arguments)
    assert installation.revisions() == ["closed"]
    installation.attempt(task)
    installation.work()
    assert installation.revisions() == ["delivered"]


def test_why_a_task_is_closed_is_recorded_as_a_code_and_a_tickets_number(installation: Installation):
    advance(installation, "infer")
    task = installation.task("infer", TaskState.READY)
    installation.ask("tasks.close", task=task, reason="done-elsewhere", reference="INC-4711")
    (closed,) = installation.ask("tasks.list", state="closed")
    assert closed["last_error"] == "closed: done-elsewhere, INC-4711"
    event = json.loads(installation.ask("audit.tail", count=1)[0]["event"])
    assert event["details"] == {"task": task, "reason": "done-elsewhere", "reference": "INC-4711"}


@pytest.mark.parametrize(
    ("reason", "reference"),
    [("Ayse Ornek died", None), ("", None), ("other", "Ornek, Ayse"), ("other", "10000000146"), ("other", "A-1\n")],
)
def test_text_that_could_name_a_patient_closes_no_task_and_is_not_repeated(
    installation: Installation, reason: str, reference: str | None
):
    advance(installation, "infer")
    task = installation.task("infer", TaskState.READY)
    with pytest.raises(CommandFailed) as refused:
        installation.ask("tasks.close", task=task, reason=reason, reference=reference)
    assert refused.value.exit_code == 2
    assert "Ornek" not in str(refused.value)
    assert "10000000146" not in str(refused.value)
    assert installation.task("infer", TaskState.READY) == task


def test_a_study_that_is_reprocessed_while_it_arrives_is_reported_as_perhaps_incomplete(installation: Installation):
    association = Association(installation)
    association.store(image(StudyInstanceUID=STUDY))
    installation.indexer.pass_once()
    assert installation.revisions() == ["assembling"]
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    assert [revision["forced"] for revision in installation.shown()["revisions"]] == [False, True]
    association.release()


def test_status_answers_while_the_object_store_cannot_be_read(installation: Installation):
    installation.send(image(StudyInstanceUID=STUDY))
    root = installation.node.store.root
    root.rename(root.with_name("away"))
    try:
        answer = installation.ask("status")
        assert answer["index"]["waiting"] is None
        assert answer["store_free_bytes"] is None
        assert answer["revisions"] == {"closed": 1}
    finally:
        root.with_name("away").rename(root)
    assert installation.ask("status")["index"]["waiting"] == 0
