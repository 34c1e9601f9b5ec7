"""Delivery at least once, effective once: lost leases, lost answers, and what happens at the same time."""

import pytest
import sqlalchemy as sa

from adapters.fhir import Dead, Retry
from daemon import queue
from daemon.audit import AuditWriter, Kind
from daemon.database import schema as t
from daemon.destinations import delivered_to, open_destinations
from daemon.queue import LeaseLost, Task
from tests.steps.installation import EXPIRED, Installation, Instead, another, image, paused_after, records

STUDY = "2.25.4711"
AMBIGUOUS = Retry("no answer")
"""The request went out; nothing came back."""


@pytest.fixture
def reported(installation: Installation) -> Installation:
    """A study whose document is ready for "reports" alone; that for "archive" is delivered."""
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work("deidentify", "infer", "report")
    destination = {row["id"]: row["destination"] for row in installation.shown()["deliveries"]}
    tasks = queue.claim(installation.database, "worker", ["deliver"], 2, 3600.0)
    for task in tasks:
        if destination[task.key] == "archive":
            installation.attempt(task)
        else:
            with installation.database.write() as connection:
                queue.release(connection, task)
    assert installation.deliveries() == {(1, "archive"): "delivered", (1, "reports"): "prepared"}
    return installation


def taken_over(installation: Installation, task: Task) -> Task:
    """The task in the hands of another worker, since the first was silent for longer than its lease."""
    with installation.database.write() as connection:
        connection.execute(sa.update(t.task).where(t.task.c.id == task.id).values(lease_until=0.0))
    return installation.claim("deliver")


def recorded(installation: Installation, kind: Kind) -> int:
    with installation.database.read() as connection:
        query = sa.select(sa.func.count()).select_from(t.audit_event).where(t.audit_event.c.kind == kind)
        return connection.execute(query).scalar_one()


def delivery(installation: Installation) -> dict:
    return next(row for row in installation.shown()["deliveries"] if row["destination"] == "reports")


def test_a_worker_that_lost_its_lease_sends_nothing(reported: Installation):
    stale = reported.claim("deliver", EXPIRED)
    fresh = reported.claim("deliver")
    with pytest.raises(LeaseLost):
        reported.attempt(stale)
    assert (reported.destinations["reports"].asked, delivery(reported)["attempts"]) == (0, 0)
    reported.attempt(fresh)
    assert reported.revisions() == ["delivered"]


@pytest.mark.parametrize(
    "outcome", [None, AMBIGUOUS, Retry("busy", 503), Dead("refused", 422)], ids=["yes", "silence", "503", "422"]
)
def test_a_worker_that_loses_its_lease_while_it_sends_writes_no_outcome_and_the_next_one_looks(
    reported: Installation, outcome: Retry | Dead | None
):
    reports, fresh = reported.destinations["reports"], []
    if outcome:
        reports.plan.append(Instead(outcome, written=True))
    stale = reported.claim("deliver")
    reported.meanwhile("deliver", lambda: fresh.append(taken_over(reported, stale)))
    with pytest.raises(LeaseLost):
        reported.attempt(stale)
    before = delivery(reported)
    assert (before["state"], before["status"], before["outcome"]) == ("sending", None, None)
    assert recorded(reported, Kind.DELIVERED) == 1, "that of the archive"
    (file,) = [stored.document for stored in reports.real.reports()]
    written = file.stat()
    reported.attempt(fresh[0])
    assert reported.revisions() == ["delivered"]
    assert recorded(reported, Kind.DELIVERED) == 2
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns), "written once"


def test_an_answer_that_was_lost_is_found_by_looking(reported: Installation):
    reported.destinations["reports"].plan.append(Instead(AMBIGUOUS, written=True))
    reported.work()
    assert (reported.revisions(), delivery(reported)["state"]) == (["reported"], "sending")
    (file,) = [stored.document for stored in reported.destinations["reports"].real.reports()]
    written = file.stat()
    reported.hurry()
    reported.work()
    assert (reported.revisions(), file.stat().st_ino) == (["delivered"], written.st_ino)


def test_a_study_says_when_its_report_is_tried_again_and_what_went_wrong(installation: Installation):
    installation.destinations["reports"].matches.append(Retry("the server cannot be reached"))
    installation.destinations["archive"].plan.append(Instead(Retry("the server cannot be reached", 503)))
    installation.send(image())
    installation.work()
    matching, delivering = installation.shown()["tasks"]
    assert (matching["kind"], matching["revision"], matching["destination"]) == ("report", 1, "reports")
    assert matching["last_error"] == "matching the patient: the server cannot be reached"
    assert (delivering["kind"], delivering["destination"], delivering["state"]) == ("deliver", "archive", "ready")
    assert delivering["last_error"] == "the server cannot be reached"
    assert all(task["not_before"] > installation.shown()["created_at"] for task in (matching, delivering))
    installation.hurry()
    installation.work()
    assert (installation.revisions(), installation.shown()["tasks"]) == (["delivered"], [])


def test_two_deliveries_that_end_at_once_leave_the_revision_delivered(installation: Installation):
    installation.send(image())
    installation.work("deidentify", "infer", "report")
    first, second = installation.claim("deliver"), installation.claim("deliver")
    installation.collide(
        paused_after(queue, "complete", lambda _connection, task: task == first),
        lambda: installation.attempt(first),
        lambda: installation.attempt(second),
    )
    assert installation.revisions() == ["delivered"]


def test_two_reports_that_are_made_at_once_leave_the_revision_reported(installation: Installation):
    installation.send(image())
    installation.work("deidentify", "infer")
    first, second = installation.claim("report"), installation.claim("report")
    installation.collide(
        paused_after(queue, "complete", lambda _connection, task: task == first),
        lambda: installation.attempt(first),
        lambda: installation.attempt(second),
    )
    assert installation.revisions() == ["reported"]


def test_a_newer_revision_waits_until_the_write_in_flight_has_ended(reported: Installation):
    reported.destinations["reports"].plan.append(Instead(AMBIGUOUS, written=True))
    reported.work()
    reported.send(another(image(StudyInstanceUID=STUDY)))
    reported.work()
    assert reported.revisions() == ["reported", "reported"]
    assert reported.deliveries()[2, "reports"] == "prepared"
    assert reported.destinations["reports"].asked == 1, "one write in flight for a destination and report"
    reported.hurry()
    reported.work()
    reported.hurry()
    reported.work()
    assert reported.revisions() == ["delivered", "delivered"]


def test_an_instance_that_comes_while_a_delivery_begins_does_not_strand_it(reported: Installation):
    reported.destinations["reports"].plan.append(Instead(AMBIGUOUS, written=True))
    task = reported.claim("deliver")
    late = another(image(StudyInstanceUID=STUDY))
    reported.collide(
        paused_after(AuditWriter, "record", records(Kind.DELIVERY_ATTEMPTED)),
        lambda: reported.attempt(task),
        lambda: reported.send(late),
    )
    assert reported.revisions()[0] == "reported", "what is on its way is not superseded"
    for _ in range(4):
        reported.hurry()
        reported.work()
    assert reported.revisions() == ["delivered", "delivered"]
    assert reported.deliveries()[2, "reports"] == "delivered"


def test_an_instance_that_comes_while_an_inference_ends_leaves_no_delivery_behind(installation: Installation):
    first = image()
    installation.send(first)
    installation.work("deidentify")
    task = installation.claim("infer")
    installation.collide(
        paused_after(queue, "complete"), lambda: installation.attempt(task), lambda: installation.send(another(first))
    )
    assert installation.revisions() == ["superseded", "closed"]
    assert set(installation.deliveries().values()) == {"superseded"}
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]


def test_an_instance_that_comes_while_the_last_delivery_ends_stops_no_indexer(installation: Installation):
    first = image()
    installation.send(first)
    installation.work("deidentify", "infer", "report")
    installation.attempt(installation.claim("deliver"))
    task = installation.claim("deliver")
    installation.collide(
        paused_after(queue, "complete"), lambda: installation.attempt(task), lambda: installation.send(another(first))
    )
    assert installation.revisions() == ["delivered", "closed"]
    installation.work()
    assert installation.revisions() == ["delivered", "delivered"]


def test_an_instance_that_comes_while_a_study_turns_out_to_be_unselected_stops_no_indexer(installation: Installation):
    first = image(ViewPosition="LL")
    installation.send(first)
    task = installation.claim("deidentify")
    installation.collide(
        paused_after(queue, "complete"), lambda: installation.attempt(task), lambda: installation.send(another(first))
    )
    assert installation.revisions() == ["unselected", "closed"]
    installation.work()
    assert installation.revisions() == ["unselected", "delivered"]


def test_an_instance_and_a_report_that_lock_each_other_out_are_both_done_in_the_end(installation: Installation):
    first = image()
    installation.send(first)
    installation.work("deidentify", "infer")
    task = installation.claim("report")
    installation.collide(
        paused_after(AuditWriter, "record", records(Kind.REPORTED)),
        lambda: installation.attempt(task),
        lambda: installation.send(another(first)),
    )
    assert installation.revisions() == ["superseded", "closed"]
    assert set(installation.deliveries().values()) == {"superseded"}
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]


def test_a_report_waits_while_the_disk_of_its_folder_is_not_mounted(installation: Installation):
    def restart():
        opened = open_destinations(installation.settings, delivered_to(installation.database))
        installation.destinations["reports"].real = opened["reports"]

    restart()
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    folder = installation.destinations["reports"].real.path
    first = installation.report()
    disk = folder.rename(folder.with_name("unmounted"))
    restart()
    installation.send(another(image(StudyInstanceUID=STUDY)))
    installation.work()
    assert delivery(installation)["state"] == "delivered", "of the first revision"
    (waiting,) = [row for row in installation.shown()["deliveries"] if row["state"] == "prepared"]
    assert waiting["destination"] == "reports"
    assert "is its disk mounted" in waiting["outcome"]
    assert not folder.exists()
    disk.rename(folder)
    installation.hurry()
    installation.work()
    assert set(installation.deliveries().values()) == {"delivered"}
    assert installation.report() not in (None, first)
