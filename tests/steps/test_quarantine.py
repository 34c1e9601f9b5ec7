"""What an operator can do with an instance that could not be proven clean, and what then becomes of its study."""

import json

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from daemon.audit import Kind
from daemon.control import CommandFailed
from daemon.database import schema as t
from daemon.deidentification import Recipe, Recipes
from daemon.states import NEEDS_A_PERSON, Standing
from tests.steps.installation import OPERATOR, Installation, another, image
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note

STUDY = "2.25.4711"


def declared() -> Dataset:
    """An image that says that it has text burned in, where none will be found."""
    return image(StudyInstanceUID=STUDY, BurnedInAnnotation="YES")


def defective() -> Dataset:
    """An image whose pixels do not fit its description: nobody can vouch for it."""
    return image(StudyInstanceUID=STUDY, BitsStored=99)


def kept_back(installation: Installation) -> dict[str, object]:
    (row,) = installation.ask("quarantine.list")
    return dict(row)


def code_of(row: dict[str, object]) -> str:
    return str(row["reason"]).rpartition(": ")[2]


def seen(command: str, row: dict[str, object]) -> dict[str, object]:
    """What an operator who has seen the row gives the command."""
    return {"instance": row["instance"]} | ({"reason": code_of(row)} if command == "quarantine.release" else {})


def recorded(installation: Installation, kind: Kind) -> list[dict[str, object]]:
    with installation.database.read() as connection:
        bodies = connection.execute(sa.select(t.audit_event.c.body).where(t.audit_event.c.kind == kind)).scalars()
        return [json.loads(body) for body in bodies]


def test_what_is_kept_back_is_listed_with_its_reason_and_no_value(installation: Installation):
    installation.send(declared())
    installation.work()
    assert installation.revisions() == ["quarantined"]
    row = kept_back(installation)
    assert row["reason"] == "cannot be proven clean: burned-in-annotation"
    assert row["releasable"] is True
    assert row["study"] == installation.shown()["study"]


def test_a_released_instance_is_reported_and_the_log_names_who_vouched(installation: Installation):
    installation.send(declared())
    installation.work()
    instance = kept_back(installation)["instance"]
    installation.ask("quarantine.release", instance=instance, reason="burned-in-annotation")
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]
    assert installation.ask("quarantine.list") == []
    (record,) = recorded(installation, Kind.QUARANTINE_RELEASED)
    assert record["actor"] == OPERATOR
    assert record["details"] == {"instance": instance, "reason": "burned-in-annotation"}


def test_a_release_counts_for_its_instance_and_no_other(installation: Installation):
    first = image(StudyInstanceUID=STUDY, BurnedInAnnotation="YES")
    installation.send(first)
    installation.work()
    release = {"instance": kept_back(installation)["instance"], "reason": "burned-in-annotation"}
    installation.ask("quarantine.release", **release)
    installation.work()
    second = another(first)
    second.BurnedInAnnotation = "YES"
    installation.send(second)
    installation.work()
    assert installation.revisions()[-1] == "quarantined"
    assert kept_back(installation)["reason"] == "cannot be proven clean: burned-in-annotation"


def test_only_the_reason_that_the_operator_saw_is_set_aside(installation: Installation):
    installation.send(declared())
    installation.work()
    row = kept_back(installation)
    with installation.database.write() as connection:  # as a reload of the settings may bring about
        now = "cannot be proven clean: text-remains"
        connection.execute(sa.update(t.instance).where(t.instance.c.id == row["instance"]).values(reason=now))
    with pytest.raises(CommandFailed, match="which is text-remains; look") as refused:
        installation.ask("quarantine.release", **seen("quarantine.release", row))
    assert refused.value.exit_code == 3
    assert installation.revisions() == ["quarantined"]
    assert not recorded(installation, Kind.QUARANTINE_RELEASED)


def test_a_defect_cannot_be_released(installation: Installation):
    installation.send(defective())
    installation.work()
    row = kept_back(installation)
    assert row["releasable"] is False
    with pytest.raises(CommandFailed, match="defect of its data") as refused:
        installation.ask("quarantine.release", instance=row["instance"], reason=code_of(row))
    assert refused.value.exit_code == 3
    assert installation.revisions() == ["quarantined"]
    assert not recorded(installation, Kind.QUARANTINE_RELEASED)


def test_the_rest_of_a_study_goes_on_without_a_rejected_instance(installation: Installation):
    installation.send(image(StudyInstanceUID=STUDY), defective())
    installation.work()
    assert installation.revisions() == ["quarantined"]
    instance = kept_back(installation)["instance"]
    installation.ask("quarantine.reject", instance=instance)
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]
    assert installation.members(2) == 1
    assert installation.standings() == ["current", "rejected-by-operator"]
    assert recorded(installation, Kind.QUARANTINE_REJECTED)[0]["details"]["instance"] == instance


def rejected(installation: Installation, *instances: object) -> object:
    """The id of the only instance that an operator has rejected from these."""
    installation.send(*instances)
    installation.work()
    instance = kept_back(installation)["instance"]
    installation.ask("quarantine.reject", instance=instance)
    installation.work()
    return instance


def test_a_rejected_instance_can_be_restored_and_what_kept_it_back_is_judged_again(installation: Installation):
    instance = rejected(installation, image(StudyInstanceUID=STUDY), declared())
    answer = installation.ask("quarantine.restore", instance=instance)
    installation.work()
    assert installation.revisions() == ["superseded", "delivered", "quarantined"]
    assert installation.shown()["revisions"][-1]["id"] == answer["revision"]
    row = kept_back(installation)
    assert (row["instance"], code_of(row)) == (instance, "burned-in-annotation")
    (record,) = recorded(installation, Kind.QUARANTINE_RESTORED)
    assert (record["actor"], record["details"]["instance"]) == (OPERATOR, instance)
    installation.ask("quarantine.release", **seen("quarantine.release", row))
    installation.work()
    assert installation.revisions()[-1] == "delivered"
    assert installation.members(4) == 2


def test_what_is_sent_again_after_a_rejection_stays_out_until_it_is_restored(installation: Installation):
    sent = declared()
    instance = rejected(installation, sent)
    installation.send(sent)
    assert installation.standings() == ["duplicate", "rejected-by-operator"]
    installation.ask("quarantine.restore", instance=instance)
    assert installation.standings() == ["current", "duplicate"]


def test_what_its_sender_took_back_is_not_restored(installation: Installation):
    first = declared()
    instance = rejected(installation, first)
    installation.send(rejection_note([first], MadeUpPatient(1)))
    with pytest.raises(CommandFailed, match="named by a rejection note") as refused:
        installation.ask("quarantine.restore", instance=instance)
    assert refused.value.exit_code == 3
    assert "current" not in installation.standings()


def test_what_was_sent_anew_is_in_use_and_the_rejected_one_stays_out(installation: Installation):
    bad = defective()
    instance = rejected(installation, bad)
    installation.send(image(StudyInstanceUID=STUDY, SOPInstanceUID=bad.SOPInstanceUID))
    with pytest.raises(CommandFailed, match="sent this instance anew") as refused:
        installation.ask("quarantine.restore", instance=instance)
    assert refused.value.exit_code == 3
    installation.work()
    assert installation.revisions()[-1] == "delivered"


@pytest.mark.parametrize("asked", ["ORNEK^AYSE", "rejected by a note", "current"])
def test_only_what_an_operator_rejected_can_be_restored(installation: Installation, asked: str):
    first = image(StudyInstanceUID=STUDY)
    (ref,) = installation.send(first)
    if asked == "rejected by a note":
        installation.send(rejection_note([first], MadeUpPatient(1)))
    with pytest.raises(CommandFailed, match="no operator has rejected") as refused:
        installation.ask("quarantine.restore", instance="ORNEK^AYSE" if asked == "ORNEK^AYSE" else ref.id)
    assert "ORNEK" not in str(refused.value)


def test_a_restored_instance_does_not_lift_the_hold_of_its_study(installation: Installation):
    instance = rejected(installation, declared())
    installation.send(image(2, StudyInstanceUID=STUDY))
    assert installation.revisions()[-1] == "held"
    with pytest.raises(CommandFailed, match="held for another reason"):
        installation.ask("quarantine.restore", instance=instance)
    assert "rejected-by-operator" in installation.standings()


def test_a_study_of_which_nothing_is_left_ends_and_waits_for_nobody(installation: Installation):
    installation.send(defective())
    installation.work()
    installation.ask("quarantine.reject", instance=kept_back(installation)["instance"])
    installation.work()
    assert installation.revisions() == ["superseded", "unselected"]
    assert installation.revisions()[-1] not in NEEDS_A_PERSON
    assert installation.ask("quarantine.list") == []


@pytest.mark.parametrize("command", ["quarantine.release", "quarantine.reject"])
def test_an_instance_that_is_not_kept_back_is_refused_without_repeating_what_was_asked(
    installation: Installation, command: str
):
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    with pytest.raises(CommandFailed, match="no such instance") as refused:
        installation.ask(command, **seen(command, {"instance": "ORNEK^AYSE", "reason": "burned-in-annotation"}))
    assert "ORNEK" not in str(refused.value)


@pytest.mark.parametrize("command", ["quarantine.release", "quarantine.reject"])
def test_a_decision_about_an_instance_does_not_lift_the_hold_of_its_study(installation: Installation, command: str):
    installation.send(declared())
    installation.work()
    row = kept_back(installation)
    installation.send(image(2, StudyInstanceUID=STUDY))
    installation.work()
    assert installation.revisions()[-1] == "held"
    with pytest.raises(CommandFailed, match="held for another reason") as refused:
        installation.ask(command, **seen(command, row))
    assert refused.value.exit_code == 3
    installation.work()
    assert installation.revisions()[-1] == "held"
    assert installation.report() is None


def test_what_was_never_read_can_neither_be_released_nor_rejected(installation: Installation):
    installation.send(image(StudyInstanceUID=STUDY))
    with installation.database.write() as connection:
        values = {"standing": Standing.QUARANTINED, "reason": "the object does not open: damaged"}
        connection.execute(sa.update(t.instance).values(values))
        instance = connection.execute(sa.select(t.instance.c.id)).scalar_one()
    for command in ("quarantine.release", "quarantine.reject"):
        with pytest.raises(CommandFailed, match="never read"):
            installation.ask(command, **seen(command, {"instance": instance, "reason": "unreadable"}))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, "as-set"),
        ({"options": []}, "basic"),
        ({"options": ["retain-uids", "clean-pixel-data"]}, "clean-pixel-data+retain-uids"),
        ({"year_only": True}, "year-only"),
    ],
)
def test_a_study_is_tried_again_under_the_policy_that_the_operator_chose(
    installation: Installation, asked: dict[str, object], named: str, monkeypatch: pytest.MonkeyPatch
):
    installation.send(declared())
    installation.work()
    installation.ask("quarantine.retry", study=kept_back(installation)["study"], **asked)
    used: list[object] = []
    recipe_of = Recipes.of

    def noted(recipes: Recipes, *of: str, chosen: object) -> Recipe:
        used.append(chosen)
        return recipe_of(recipes, *of, chosen=chosen)

    monkeypatch.setattr(Recipes, "of", noted)
    installation.work()
    assert installation.revisions() == ["superseded", "quarantined"]
    expected = {"options": sorted(asked.get("options", [])), "year_only": asked.get("year_only", False)}
    assert used == [expected if asked else None]
    (record,) = recorded(installation, Kind.QUARANTINE_RETRIED)
    assert record["actor"] == OPERATOR
    assert record["details"]["policy"] == named


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"options": ["none-such"]}, 2),
        ({"options": [7]}, 2),
        ({"options": ["retain-longitudinal-full-dates"], "year_only": True}, 2),
    ],
)
def test_an_impossible_policy_is_refused_and_the_study_stays_as_it_was(
    installation: Installation, asked: dict[str, object], code: int
):
    installation.send(declared())
    installation.work()
    with pytest.raises(CommandFailed) as refused:
        installation.ask("quarantine.retry", study=kept_back(installation)["study"], **asked)
    assert refused.value.exit_code == code
    assert installation.revisions() == ["quarantined"]


def test_only_a_study_with_something_in_quarantine_is_tried_again(installation: Installation):
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    with pytest.raises(CommandFailed):
        installation.ask("quarantine.retry", study=installation.shown()["study"])
