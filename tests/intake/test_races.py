"""Instances that arrive while their study's revision is closed: they are in it or in the next one, never in neither."""

import time

from daemon.audit import AuditWriter, Kind
from daemon.control import processing
from daemon.intake import closing, placing
from daemon.intake.closing import close_due
from tests.steps.installation import Association, Installation, another, image, paused_after, records

DESTINATIONS = ("reports",)


def close_all(installation: Installation) -> None:
    """Close what is open, as an indexer does that finds it quiet for long."""
    node = installation.node
    close_due(node.database, node.database.retrying, node.audit, node.settings, time.time() + 100_000)


def every_current_instance_is_in_the_newest_revision(installation: Installation) -> bool:
    close_all(installation)
    number = len(installation.revisions())
    return installation.members(number) == installation.standings().count("current")


def test_an_instance_that_has_just_found_its_revision_open_is_in_it(installation: Installation):
    first = image()
    association = Association(installation)
    association.store(first)
    installation.indexer.pass_once()
    association.store(another(first))
    installation.collide(
        paused_after(placing, "open_revision_of"), installation.indexer.pass_once, lambda: close_all(installation)
    )
    assert every_current_instance_is_in_the_newest_revision(installation)


def test_an_instance_that_comes_while_its_revision_closes_is_in_the_next(installation: Installation):
    first = image()
    association = Association(installation)
    association.store(first)
    installation.indexer.pass_once()
    association.store(another(first))
    installation.collide(
        paused_after(closing, "close_revision"), lambda: close_all(installation), installation.indexer.pass_once
    )
    assert installation.revisions() == ["superseded", "assembling"]
    assert every_current_instance_is_in_the_newest_revision(installation)


def test_an_instance_that_comes_while_an_operator_reprocesses_is_in_the_next_revision(installation: Installation):
    first = image()
    installation.send(first)
    installation.work()
    study = installation.shown()["study"]
    installation.collide(
        paused_after(processing, "close_revision"),
        lambda: installation.ask("studies.reprocess", study=study),
        lambda: installation.send(another(first)),
    )
    assert installation.revisions() == ["delivered", "superseded", "closed"]
    assert every_current_instance_is_in_the_newest_revision(installation)
    installation.work()


def test_an_operator_who_reprocesses_while_an_instance_comes_reprocesses_it_too(installation: Installation):
    first = image()
    installation.send(first)
    installation.work()
    study = installation.shown()["study"]
    installation.collide(
        paused_after(AuditWriter, "record", records(Kind.INSTANCE_RECEIVED)),
        lambda: installation.send(another(first)),
        lambda: installation.ask("studies.reprocess", study=study),
    )
    assert every_current_instance_is_in_the_newest_revision(installation)
    installation.work()
    assert installation.revisions()[-1] == "delivered"


def test_two_operators_who_reprocess_at_once_make_two_revisions_and_one_of_them_is_delivered(
    installation: Installation,
):
    installation.send(image())
    study = installation.shown()["study"]
    installation.collide(
        paused_after(processing, "close_revision"),
        lambda: installation.ask("studies.reprocess", study=study),
        lambda: installation.ask("studies.reprocess", study=study),
    )
    installation.work()
    assert installation.revisions() == ["superseded", "superseded", "delivered"]


def test_a_study_that_comes_over_two_associations_at_once_is_complete_when_both_have_ended(installation: Installation):
    first = image()
    one, other = Association(installation), Association(installation)
    one.store(first)
    other.store(another(first))
    one.release()
    installation.indexer.pass_once()
    installation.indexer.pass_once()
    assert installation.revisions() == ["assembling"]
    other.store(another(first, 98))
    other.release()
    installation.indexer.pass_once()
    assert (installation.revisions(), installation.members()) == (["closed"], 3)


def test_an_association_whose_receiver_died_keeps_no_study_open(installation: Installation):
    Association(installation).store(image())
    installation.indexer.pass_once()
    assert installation.revisions() == ["assembling"]
    installation.receiver.close()
    installation.indexer.pass_once()
    installation.indexer.pass_once()
    assert (installation.revisions(), installation.members()) == (["closed"], 1)
    installation.receiver = type(installation.receiver)(installation.node.store, "receiver-2")
