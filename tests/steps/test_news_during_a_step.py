"""What arrives while a study is being worked on: whichever step it meets, the last word reaches the destination."""

import json

import pytest
from pydicom import Dataset

from tests.steps.installation import Installation, another, image
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note

DESTINATIONS = ("reports",)
in_each_step = pytest.mark.parametrize("step", ["deidentify", "infer", "report", "deliver"])
before_and_in_delivery = pytest.mark.parametrize("step", ["report", "deliver"])


def corrected(first: Dataset) -> Dataset:
    other = Dataset(first)
    other.PatientName = "DUZELTILMIS^AD"
    return other


def with_other_pixels(first: Dataset) -> Dataset:
    other = Dataset(first)
    other.PixelData = bytes(len(first.PixelData))
    return other


def report(installation: Installation) -> dict:
    """The DiagnosticReport that lies at the destination; empty if none does."""
    document = installation.report()
    entries = json.loads(document)["entry"] if document else []
    return next((e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport"), {})


def work_while(installation: Installation, step: str, news: Dataset) -> None:
    """Work until nothing is left to be done, not even later; `news` arrives in the middle of a step."""
    installation.meanwhile(step, lambda: installation.send(news))
    for _ in range(6):
        installation.work()
        installation.hurry()
    assert installation.ask("tasks.list", state="ready") == []
    assert installation.ask("tasks.list", state="dead") == []


@in_each_step
def test_a_late_instance_is_in_the_report(installation: Installation, step: str):
    first = image()
    installation.send(first)
    work_while(installation, step, another(first))
    assert installation.revisions() == ["delivered" if step == "deliver" else "superseded", "delivered"]
    assert installation.members(2) == 2
    assert b'"valueInteger":2' in (installation.report() or b"").replace(b" ", b"")


@before_and_in_delivery
def test_a_correction_is_in_the_report(installation: Installation, step: str):
    first = image()
    installation.send(first)
    work_while(installation, step, corrected(first))
    assert installation.revisions()[-1] == "delivered"
    assert report(installation)["contained"][0]["name"][0]["family"] == "DUZELTILMIS"


@in_each_step
def test_a_rejection_leaves_no_report_that_stands(installation: Installation, step: str):
    first = image()
    installation.send(first)
    work_while(installation, step, rejection_note([first], MadeUpPatient(1)))
    if step == "deliver":
        assert installation.revisions() == ["delivered", "delivered"]
        assert report(installation)["status"] == "cancelled"
    else:
        assert installation.revisions() == ["superseded", "unselected"]
        assert report(installation) == {}


@before_and_in_delivery
def test_a_contradiction_holds_the_study(installation: Installation, step: str):
    first = image()
    installation.send(first)
    work_while(installation, step, with_other_pixels(first))
    assert installation.revisions()[-1] == "held"
    assert installation.standings() == ["conflict", "current"]
    assert bool(report(installation)) == (step == "deliver"), "what had not begun to be sent is not sent"
