"""A rejection note takes back what was reported, wherever a report may have got to (IHE RAD IOCM)."""

import json

import pytest

from adapters.fhir import Dead, Held, Retry
from tests.steps.installation import Installation, Instead, another, image
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note


def status(installation: Installation, destination: str) -> str | None:
    """The status of the DiagnosticReport that lies at a destination; None where none does."""
    document = installation.report(destination)
    entries = json.loads(document)["entry"] if document else []
    return next((e["resource"]["status"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport"), None)


def reject(installation: Installation, *images) -> None:
    installation.send(rejection_note(list(images), MadeUpPatient(1)))
    for _ in range(3):
        installation.work()
        installation.hurry()


def test_a_note_after_a_partial_delivery_takes_back_what_was_delivered(installation: Installation):
    first = image()
    installation.send(first)
    installation.destinations["archive"].plan.append(Instead(Dead("refused", 422)))
    installation.work()
    assert installation.revisions() == ["undelivered"]
    assert status(installation, "reports") == "partial"
    reject(installation, first)
    assert installation.revisions() == ["superseded", "delivered"]
    assert (status(installation, "reports"), status(installation, "archive")) == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    "outcome",
    [Retry("no answer"), Retry("the server answered 500", 500), Dead("the server answered 400", 400)],
    ids=["silence", "500", "400"],
)
def test_a_note_takes_back_a_report_that_may_be_there_whatever_the_destination_said(
    installation: Installation, outcome: Retry | Dead
):
    first = image()
    installation.send(first)
    for destination in installation.destinations.values():
        destination.plan.append(Instead(outcome, written=True))
    installation.work()
    assert status(installation, "reports") == "partial"
    reject(installation, first)
    assert installation.revisions()[-1] == "delivered"
    assert (status(installation, "reports"), status(installation, "archive")) == ("cancelled", "cancelled")


def test_a_note_after_a_retry_was_superseded_twice_still_takes_the_report_back(installation: Installation):
    first = image()
    second = another(first)
    installation.send(first)
    for destination in installation.destinations.values():
        destination.plan.append(Instead(Retry("the server answered 500", 500), written=True))
    installation.work()
    installation.send(second)
    reject(installation, first, second)
    assert installation.revisions() == ["superseded", "superseded", "delivered"]
    assert status(installation, "reports") == "cancelled"


def test_a_note_about_a_study_that_no_destination_was_sent_makes_no_report(installation: Installation):
    first = image()
    installation.send(first)
    for destination in installation.destinations.values():
        destination.matches.append(Held("no patient has this identifier"))
    installation.work()
    assert installation.revisions() == ["held"]
    reject(installation, first)
    assert installation.revisions() == ["superseded", "unselected"]
    assert status(installation, "reports") is None


def test_a_note_about_one_of_two_images_leads_to_a_report_about_the_other(installation: Installation):
    first = image()
    second = another(first)
    installation.send(first, second)
    installation.work()
    reject(installation, second)
    assert installation.revisions() == ["delivered", "delivered"]
    assert (installation.members(2), status(installation, "reports")) == (1, "partial")
    assert installation.standings() == ["current", "rejected", "unselected"]
