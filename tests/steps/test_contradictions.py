"""Patients contradict a study, or two images one UID: a person decides, and only then does anything go out."""

import copy

import pytest
import sqlalchemy as sa

from adapters.storage import ObjectRef
from daemon.audit import Kind
from daemon.control import CommandFailed
from daemon.database import schema as t
from daemon.vault import Purpose
from tests.daemon.rows import events
from tests.steps.corrections import TAKEN_BACK, WITH_ANY_DATABASE, A, B, C, keys_of, of, reports, settle
from tests.steps.installation import Installation, another, image


def test_a_person_gives_a_study_to_the_patient_whom_only_a_part_names(installation: Installation):
    first = image()
    second = another(first)
    installation.send(first, second)
    installation.work()
    installation.send(of(B, first))
    answer = installation.ask("studies.correct", study=installation.shown()["study"])
    assert answer["moved"] == 1
    settle(installation)
    assert reports(installation) == reports(installation, "archive") == TAKEN_BACK
    assert installation.standings() == ["corrected", "current", "current"]
    newest = installation.shown()["revisions"][-1]
    assert installation.members(newest["number"]) == 2
    identity, _ = installation.node.vault.reidentify(newest["id"], Purpose.EXPORT, "test")
    assert identity.patient_id == B.patient_id
    installation.send(of(B, second))  # the rest of the correction, late
    settle(installation)
    assert installation.standings() == ["corrected", "corrected", "current", "current"]
    assert installation.revisions()[-1] == "delivered"


def test_a_person_keeps_a_study_with_the_patient_whom_it_had(installation: Installation):
    first = image()
    installation.send(first, another(first, 98))
    installation.work()
    installation.send(of(B, first), of(B, another(first)))
    assert installation.revisions()[-1] == "held"
    answer = installation.ask("studies.keep", study=installation.shown()["study"])
    assert len(answer["set_aside"]) == 2
    settle(installation)
    assert installation.revisions() == ["delivered", "superseded", "delivered"]
    assert reports(installation) == {A.family: "partial"}
    assert installation.standings() == ["current", "current", "rejected-by-operator", "rejected-by-operator"]
    installation.send(of(B, first))  # the same bytes: it is decided
    assert installation.revisions()[-1] == "delivered"


@WITH_ANY_DATABASE
def test_a_patient_whom_a_person_has_decided_against_gets_the_study_by_nothing_that_comes(installation: Installation):
    first = image()
    installation.send(first, of(B, another(first)))
    installation.ask("studies.keep", study=installation.shown()["study"])
    settle(installation)
    installation.send(of(B, first))
    settle(installation)
    assert installation.revisions()[-1] == "held"
    assert reports(installation) == {A.family: "partial"}


def test_a_person_who_was_wrong_to_keep_a_study_can_decide_otherwise(installation: Installation):
    first = image()
    installation.send(first)
    installation.work()
    corrected = of(B, first)
    corrected.SeriesInstanceUID = "2.25.99"  # which makes it a person's to decide
    installation.send(corrected)
    study = installation.shown()["study"]
    (set_aside,) = installation.ask("studies.keep", study=study)["set_aside"]
    settle(installation)
    installation.ask("quarantine.restore", instance=set_aside)
    settle(installation)
    assert installation.revisions()[-1] == "held"
    assert reports(installation) == {A.family: "partial"}
    installation.ask("studies.correct", study=study)
    settle(installation)
    assert reports(installation) == reports(installation, "archive") == TAKEN_BACK
    assert installation.standings() == ["corrected", "current"]


@WITH_ANY_DATABASE
def test_what_was_set_aside_comes_back_to_no_study_that_a_third_patient_is_in(installation: Installation):
    first = image()
    installation.send(first, of(B, another(first)))
    study = installation.shown()["study"]
    (set_aside,) = installation.ask("studies.keep", study=study)["set_aside"]
    installation.send(of(C, another(first, 97)))
    with pytest.raises(CommandFailed, match="settle that first") as refused:
        installation.ask("quarantine.restore", instance=set_aside)
    assert refused.value.exit_code == 3
    installation.ask("studies.keep", study=study)
    installation.ask("quarantine.restore", instance=set_aside)
    assert installation.revisions()[-1] == "held"


@WITH_ANY_DATABASE
@pytest.mark.parametrize("command", ["studies.keep", "studies.correct"])
def test_nothing_is_decided_where_nothing_contradicts(installation: Installation, command: str):
    installation.send(image())
    with pytest.raises(CommandFailed, match="nothing contradicts") as refused:
        installation.ask(command, study=installation.shown()["study"])
    assert refused.value.exit_code == 1


def three_patients(installation: Installation) -> tuple[str, dict[str, str]]:
    """A study of A that was reported, and that B and C contradict: its id, and the instances that do, by pseudonym."""
    first = image()
    installation.send(first, another(first))
    installation.work()
    installation.send(of(B, first), of(C, first))
    with installation.database.read() as connection:
        rows = connection.execute(
            sa.select(t.patient.c.pseudonym, t.instance.c.id)
            .join(t.patient, t.patient.c.id == t.instance.c.patient_id)
            .where(t.instance.c.standing == "conflict")
        ).tuples()
        return installation.shown()["study"], dict(rows.all())


def named(installation: Installation, kind: Kind) -> tuple[set[str], set[str]]:
    """Whom the events of a kind name by their tags: the subjects, and the others."""
    found = events(installation.database, kind)
    return {event["subject"] for event in found}, {event["details"]["other"] for event in found}


def test_a_person_keeps_a_study_whatever_number_of_patients_contradict_it(installation: Installation):
    study, conflicts = three_patients(installation)
    own = keys_of(installation)[installation.shown()["pseudonym"]].audit_tag
    assert set(installation.ask("studies.keep", study=study)["set_aside"]) == set(conflicts.values())
    settle(installation)
    assert installation.revisions()[-1] == "delivered"
    assert reports(installation) == {A.family: "partial"}
    tags = {keys_of(installation)[pseudonym].audit_tag for pseudonym in conflicts}
    assert named(installation, Kind.CONTRADICTION_KEPT) == ({own}, tags)


def test_a_person_says_which_of_several_patients_is_right(installation: Installation):
    study, conflicts = three_patients(installation)
    keys, own = keys_of(installation), installation.shown()["pseudonym"]
    with pytest.raises(CommandFailed, match=r"studies correct STUDY --to INSTANCE.*studies keep") as refused:
        installation.ask("studies.correct", study=study)
    assert refused.value.exit_code == 3
    with pytest.raises(CommandFailed, match="no such instance contradicts"):
        installation.ask("studies.correct", study=study, to=installation.shown()["instances"][0]["id"])
    assert installation.revisions()[-1] == "held"
    rightful, wrong = sorted(conflicts)
    answer = installation.ask("studies.correct", study=study, to=conflicts[rightful])
    assert answer["set_aside"] == [conflicts[wrong]]
    settle(installation)
    assert installation.shown()["pseudonym"] == rightful
    assert sorted(reports(installation).values()) == ["entered-in-error", "partial"]
    assert reports(installation)[A.family] == "entered-in-error"
    assert installation.standings() == ["corrected", "current", "current", "rejected-by-operator"]
    tags = {keys[own].audit_tag, keys[wrong].audit_tag}
    assert named(installation, Kind.CONTRADICTION_CORRECTED) == ({keys[rightful].audit_tag}, tags)


@WITH_ANY_DATABASE
@pytest.mark.parametrize("command", ["studies.keep", "studies.correct"])
def test_instances_of_several_other_studies_and_patients_keep_nobody_from_deciding(
    installation: Installation, command: str
):
    theirs = [image(1), image(2), image(3)]
    installation.send(*theirs)
    installation.work()
    strays = [of(A, one) for one in theirs]
    for stray in strays:
        stray.StudyInstanceUID = "2.25.4712"
    installation.send(*strays)
    installation.work()
    states = {row["state"]: row["study"] for row in installation.ask("studies.list")}
    installation.ask(command, study=states["held"])
    settle(installation)
    there = {row["study"]: (row["state"], row["instances"]) for row in installation.ask("studies.list")}
    given = (("unselected", 0), ("delivered", 1)) if command == "studies.keep" else (("delivered", 3), ("delivered", 0))
    assert there.pop(states["held"]) == given[0]
    assert set(there.values()) == {given[1]}
    kind = Kind.CONTRADICTION_KEPT if command == "studies.keep" else Kind.CONTRADICTION_CORRECTED
    assert len(set.union(*named(installation, kind))) == 3


@WITH_ANY_DATABASE
@pytest.mark.parametrize(("command", "pixels"), [("studies.keep", 0), ("studies.correct", 1)])
def test_a_person_chooses_among_two_images_under_one_uid(installation: Installation, command: str, pixels: int):
    first = image()
    later = copy.deepcopy(first)
    later.PixelData = b"\1" + later.PixelData[1:]
    installation.send(first)
    installation.work()
    installation.send(later)
    installation.ask(command, study=installation.shown()["study"])
    settle(installation)
    assert installation.revisions()[-1] == "delivered"
    assert installation.standings() == ["current", "rejected-by-operator"]
    with installation.database.read() as connection:
        ref = connection.execute(sa.select(t.instance.c.object_ref).where(t.instance.c.standing == "current")).scalar()
    _, data = installation.node.store.open(ObjectRef.parse(ref))
    assert (first, later)[pixels].PixelData in data
    installation.send(first, later)  # it is decided
    assert installation.revisions()[-1] == "delivered"
    with installation.database.read() as connection:
        aside = sa.select(t.instance.c.id).where(t.instance.c.standing == "rejected-by-operator")
        instance = connection.execute(aside).scalar_one()
    installation.ask("quarantine.restore", instance=instance)  # it was decided wrongly
    assert installation.revisions()[-1] == "held"
    installation.ask("studies.correct", study=installation.shown()["study"])
    settle(installation)
    with installation.database.read() as connection:
        ref = connection.execute(sa.select(t.instance.c.object_ref).where(t.instance.c.standing == "current")).scalar()
    assert (later, first)[pixels].PixelData in installation.node.store.open(ObjectRef.parse(ref))[1]


@WITH_ANY_DATABASE
@pytest.mark.parametrize("command", ["studies.keep", "studies.correct"])
def test_a_person_chooses_in_which_of_two_studies_an_instance_is(installation: Installation, command: str):
    first = image()
    stray = copy.deepcopy(first)
    stray.StudyInstanceUID = "2.25.4712"
    installation.send(first)
    installation.work()
    installation.send(first)  # once more: a duplicate in that study claims nothing
    installation.send(stray)
    installation.work()
    studies = {row["state"]: row["study"] for row in installation.ask("studies.list")}
    installation.ask(command, study=studies["held"])
    settle(installation)
    states = {row["study"]: (row["state"], row["instances"]) for row in installation.ask("studies.list")}
    if command == "studies.keep":
        assert states == {studies["delivered"]: ("delivered", 1), studies["held"]: ("unselected", 0)}
    else:
        assert states == {studies["delivered"]: ("delivered", 0), studies["held"]: ("delivered", 1)}
