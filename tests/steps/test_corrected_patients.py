"""The Patient ID of a study is corrected: the study is its rightful patient's, and nothing stands about the other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from time import time
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from adapters.fhir import Retry
from adapters.keys import KeyDestroyed, KeyStoreUnavailable
from adapters.storage import IntakeWriter, KeyKind, KeyName, ObjectRef
from adapters.storage.wraps import read_wraps
from daemon.audit import Kind
from daemon.control import CommandFailed
from daemon.database import schema as t
from daemon.database.schema import metadata
from daemon.intake import correcting
from daemon.vault import Purpose, open_column
from tests.daemon.rows import events
from tests.steps.corrections import TAKEN_BACK, WITH_ANY_DATABASE, A, B, C, keys_of, of, reports, settle
from tests.steps.installation import Association, Installation, Instead, another, image


def test_a_study_that_came_again_whole_under_another_patient_is_that_patients(installation: Installation):
    first = image()
    second = another(first)
    installation.send(first, second)
    installation.work()
    assert reports(installation) == {A.family: "partial"}
    before = installation.shown()["pseudonym"]
    installation.send(of(B, first), of(B, second))
    settle(installation)
    shown = installation.shown()
    assert [(row["state"], row["pseudonym"] == before) for row in shown["revisions"]] == [
        ("delivered", True),  # what was sent about A
        ("superseded", True),  # held
        ("delivered", True),  # takes it back
        ("delivered", False),
    ]
    assert shown["pseudonym"] != before
    assert reports(installation) == reports(installation, "archive") == TAKEN_BACK
    assert installation.standings() == ["corrected", "corrected", "current", "current"]


@WITH_ANY_DATABASE
def test_a_part_that_came_again_holds_the_study_and_says_how_much(installation: Installation):
    first = image()
    second = another(first)
    installation.send(first, second)
    installation.work()
    installation.send(of(B, first))
    settle(installation)
    assert installation.revisions() == ["delivered", "held"]
    assert "1 of 2 instances came again" in installation.shown()["revisions"][-1]["reason"]
    assert reports(installation) == {A.family: "partial"}
    installation.send(of(B, second))
    settle(installation)
    assert reports(installation) == TAKEN_BACK


@WITH_ANY_DATABASE
def test_nothing_is_decided_while_more_may_come(installation: Installation):
    first = image()
    installation.send(first)
    association = Association(installation)
    association.store(of(B, first))
    installation.indexer.pass_once()
    installation.indexer.pass_once()
    assert installation.revisions()[-1] == "held"
    association.release()
    settle(installation)
    assert reports(installation) == {B.family: "partial"}


@WITH_ANY_DATABASE
@pytest.mark.parametrize("what", ["third patient", "other pixels", "other series", "in part", "back again"])
def test_what_is_not_clear_waits_for_a_person(installation: Installation, what: str):
    first = image()
    second = another(first)
    installation.send(first, second)
    again = [of(B, first), of(B, second)]
    if what == "third patient":
        again[1] = of(C, second)
    elif what == "other pixels":
        again[1].PixelData = b"\1" + again[1].PixelData[1:]
    elif what == "other series":
        again[1].SeriesInstanceUID = "2.25.99"
    elif what == "in part":
        again.pop()
    else:  # an archive that has not heard of the correction sends the study once more
        installation.send(*again)
        settle(installation)
        again = [first, second]
    installation.send(*again)
    settle(installation)
    assert installation.revisions()[-1] == "held"
    with pytest.raises(CommandFailed) as refused:
        installation.ask("studies.reprocess", study=installation.shown()["study"])
    assert refused.value.exit_code == 3


@WITH_ANY_DATABASE
def test_a_correction_that_is_indexed_before_what_it_corrects_stands(installation: Installation):
    first, here = image(), installation.receiver
    association = Association(installation)
    association.store(first)
    association.release()
    installation.receiver = IntakeWriter(installation.node.store, "receiver-0")  # which is read before the other
    try:
        installation.send(of(B, first))
        settle(installation)
    finally:
        installation.receiver.close()
        installation.receiver = here
    assert installation.standings() == ["corrected", "current"]
    assert reports(installation) == {B.family: "partial"}


@WITH_ANY_DATABASE
def test_corrections_that_came_while_nobody_indexed_are_clear_all_the_same(installation: Installation):
    here, other = installation.receiver, IntakeWriter(installation.node.store, "receiver-0", objects_per_batch=64)
    studies = []
    for _ in range(6):
        first = image()
        studies.append([first, another(first)])
    for patient in (A, B):
        for study in studies:
            for number, one in enumerate(study):  # objects have random names, and lie in the folders of two receivers
                installation.receiver = (here, other)[(number + (patient is B)) % 2]
                association = Association(installation)
                association.store(of(patient, one))
                association.release()
    installation.receiver = here
    other.close()
    for _ in range(2):
        installation.indexer.pass_once()
    assert installation.standings() == ["corrected"] * 12 + ["current"] * 12


@WITH_ANY_DATABASE
def test_a_correction_that_came_after_the_clock_was_set_back_is_not_taken_for_the_earlier_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    first = image()
    with monkeypatch.context() as later:
        later.setattr("tests.steps.installation.time", lambda: time() + 7200)
        installation.send(first)
    installation.indexer.pass_once()
    assert installation.revisions() == ["closed"], "nor does it wait until then"
    installation.work()
    assert reports(installation) == {A.family: "partial"}
    installation.send(of(B, first))
    settle(installation)
    assert installation.revisions()[-1] == "held", "nothing tells which of the two was first: a person decides"
    assert installation.standings() == ["conflict", "current"]


@WITH_ANY_DATABASE
def test_what_came_before_the_clock_was_set_back_is_placed_before_what_came_after(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    first = image()
    with monkeypatch.context() as later:
        later.setattr("tests.steps.installation.time", lambda: time() + 7200)
        before = Association(installation)
        ref = before.store(first)
        before.release()
    os.utime(ref.path(installation.node.store.root), (time() + 7200,) * 2)
    after = Association(installation)
    after.store(of(B, first))
    after.release()
    settle(installation)
    assert (installation.revisions(), reports(installation)) == (["held"], {}), "a person decides"


@WITH_ANY_DATABASE
@pytest.mark.parametrize("patient_id", ["", "0", "ANONYMOUS"])
def test_no_study_is_taken_from_its_patient_by_what_names_nobody(installation: Installation, patient_id: str):
    first = image()
    installation.send(first)
    installation.work()
    nobodys = of(B, first)
    nobodys.PatientID = patient_id
    installation.send(nobodys)
    settle(installation)
    assert installation.revisions() == ["delivered", "held"]
    assert reports(installation) == {A.family: "partial"}


def with_one_rejected(installation: Installation) -> tuple[Dataset, ObjectRef]:
    """The image of a study that is delivered, and where the other one lies, which an operator has rejected."""
    first = image()
    doubtful = another(first)
    doubtful.BurnedInAnnotation = "YES"
    (_, rejected) = installation.send(first, doubtful)
    installation.work()
    installation.ask("quarantine.reject", instance=rejected.id)
    installation.work()
    return first, rejected


@WITH_ANY_DATABASE
def test_what_was_rejected_before_the_correction_is_the_rightful_patients_when_it_is_restored(
    installation: Installation,
):
    first, rejected = with_one_rejected(installation)
    assert reports(installation) == {A.family: "partial"}
    installation.send(of(B, first))
    settle(installation)
    assert reports(installation) == TAKEN_BACK
    installation.ask("quarantine.restore", instance=rejected.id)
    settle(installation)
    assert installation.revisions()[-1] == "quarantined"  # for what it was before
    installation.ask("quarantine.release", instance=rejected.id, reason="burned-in-annotation")
    settle(installation)
    assert installation.revisions()[-1] == "delivered"
    assert reports(installation) == TAKEN_BACK
    newest = installation.shown()["revisions"][-1]
    assert installation.members(newest["number"]) == 2
    identity, _ = installation.node.vault.reidentify(newest["id"], Purpose.EXPORT, "test")
    assert identity.patient_id == B.patient_id


@WITH_ANY_DATABASE
def test_a_damaged_object_that_was_rejected_before_keeps_no_report_on_the_wrong_patient(installation: Installation):
    first, rejected = with_one_rejected(installation)
    file = rejected.path(installation.node.store.root)
    damaged = bytearray(file.read_bytes())
    damaged[-100] ^= 1
    file.write_bytes(damaged)
    installation.send(of(B, first))
    settle(installation)
    assert reports(installation) == TAKEN_BACK


@WITH_ANY_DATABASE
@pytest.mark.parametrize("place", [0, 30, 60, 100], ids=["magic", "receipt's length", "key's name", "wrapped key"])
@pytest.mark.parametrize("what", ["received", "de-identified"])
def test_a_damaged_header_keeps_no_report_on_the_wrong_patient(installation: Installation, what: str, place: int):
    first = image()
    (ref,) = installation.send(first)
    installation.work()
    with installation.database.read() as connection:
        derived = connection.execute(sa.select(t.revision_instance.c.deidentified_ref)).scalar_one()
    file = (ref if what == "received" else ObjectRef.parse(derived)).path(installation.node.store.root)
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 0x55
    file.write_bytes(damaged)
    installation.send(of(B, first))
    settle(installation)
    assert reports(installation) == TAKEN_BACK
    assert installation.ask("tasks.list", state="dead") == []


# What cannot be taken back


def objects(installation: Installation) -> list[ObjectRef]:
    """All objects of the only study, as received and as made of it."""
    with installation.database.read() as connection:
        received = connection.execute(sa.select(t.instance.c.object_ref)).scalars().all()
        derived = connection.execute(
            sa.select(t.revision_instance.c.deidentified_ref).where(t.revision_instance.c.deidentified_ref.is_not(None))
        ).scalars()
        return [ObjectRef.parse(ref) for ref in (*received, *derived.all())]


SEALED = {
    "instance.sealed_identity": "instance.identity",
    "instance.sealed_correction": "instance.correction",
    "result.sealed_result": "result",
    "inference.sealed_answer": "inference.answer",
    "delivery.sealed_document": "delivery",
    "study.sealed_description": "study.description",
}
"""How each sealed column that belongs to a study is bound to it (`patient.sealed_identity` belongs to none)."""


def sealed_columns(installation: Installation) -> list[tuple[str, str, str, bytes]]:
    """(patient, context, row, value) of all sealed columns that the schema has: a new one must move, too."""
    found = []
    with installation.database.read() as connection:
        for table in metadata.sorted_tables:
            for column in (c for c in table.c if c.name.startswith("sealed_") and table is not t.patient):
                context = SEALED[f"{table.name}.{column.name}"]
                for row in connection.execute(sa.select(table).where(column.is_not(None))).mappings():
                    row_id = "" if table is t.study else row["id"]
                    found.append((row["patient_id"], context, row_id, row[column.name]))
    return found


@WITH_ANY_DATABASE
@pytest.mark.parametrize("by", ["itself", "a person"])
def test_after_it_only_the_rightful_patients_key_opens_what_the_study_is_made_of(installation: Installation, by: str):
    first = image()
    second = another(first)
    installation.model.heat = [0.1, 1.0, 0.2]
    installation.send(first, second)
    installation.work()
    former = installation.shown()["pseudonym"]
    installation.send(of(B, first), *([of(B, second)] if by == "itself" else []))
    if by == "a person":
        installation.ask("studies.correct", study=installation.shown()["study"])
    settle(installation)
    node, keys = installation.node, keys_of(installation)
    rightful = keys[installation.shown()["pseudonym"]]
    everything = {*objects(installation), *node.store.derived_objects()}  # pictures, too
    assert len(everything) > len(objects(installation))
    for ref in everything:
        assert node.store.key_of(ref) == KeyName(KeyKind.PATIENT, rightful.id)
        raw = ref.path(node.store.root).read_bytes()[:300]
        path = node.store.root / ref.folder / "wraps.log"
        log = path.read_bytes() if path.exists() else b""
        assert keys[former].id.encode() not in raw + log, "the former patient's key opens it, too"
        assert ref.id in read_wraps(node.store.root / ref.folder) or rightful.id.encode() in raw
    columns = sealed_columns(installation)
    assert {patient for patient, *_ in columns} == {rightful.id}
    node.keys.destroy_patient(keys[former].id)
    for ref in everything:
        assert node.store.open(ref)[1]
    for _, context, row, sealed in columns:
        assert open_column(rightful, context, row, sealed)
    for number in (0, -1):  # about the former patient, and about the rightful one
        revision = installation.shown()["revisions"][number]["id"]
        identity, _ = node.vault.reidentify(revision, Purpose.EXPORT, "test")
        assert identity.patient_id == (A, B)[number].patient_id
    node.keys.destroy_patient(rightful.id)
    for ref in everything:
        with pytest.raises(KeyDestroyed):
            node.store.open(ref)


@WITH_ANY_DATABASE
def test_the_other_studies_of_the_former_patient_stay_under_that_patients_key(installation: Installation):
    first, other = image(), image()
    installation.send(first, other)
    installation.work()
    installation.send(of(B, first))
    settle(installation)
    node = installation.node
    rightful = next(row["pseudonym"] for row in installation.ask("studies.list") if row["revision"] > 1)
    node.keys.destroy_patient(keys_of(installation)[rightful].id)
    opened = 0
    for ref in objects(installation):
        try:
            opened += bool(node.store.open(ref)[1])
        except KeyDestroyed:
            continue
    assert opened == 2  # as received, and de-identified


# What is under way


@WITH_ANY_DATABASE
@pytest.mark.parametrize("kind", ["deidentify", "infer", "report", "deliver"])
def test_a_correction_in_the_middle_of_a_step_leaves_nothing_about_the_former_patient(
    installation: Installation, kind: str
):
    first = image()
    installation.send(first)

    def corrected() -> None:
        installation.send(of(B, first))
        installation.indexer.pass_once()

    installation.meanwhile(kind, corrected)
    installation.work()
    settle(installation)
    for destination in ("reports", "archive"):
        found = reports(installation, destination)
        assert found.pop(B.family) == "partial"
        assert found in ({}, {A.family: "entered-in-error"})


@WITH_ANY_DATABASE
@pytest.mark.parametrize("written", [True, False])
def test_a_report_that_may_have_arrived_is_taken_back_whatever_was_answered(installation: Installation, written: bool):
    first = image()
    installation.send(first)
    installation.destinations["reports"].plan.append(Instead(Retry("no answer"), written=written))
    installation.work()
    installation.send(of(B, first))
    settle(installation)
    settle(installation)
    assert reports(installation) == TAKEN_BACK


@WITH_ANY_DATABASE
@pytest.mark.parametrize("place", ["before", "within", "after"])
def test_a_crash_at_any_place_of_a_correction_loses_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, place: str
):
    first = image()
    installation.send(first)
    installation.work()
    with crash(installation, monkeypatch, place):
        installation.send(of(B, first))
        settle(installation)
    installation.new_indexer()
    installation.database.retrying(
        lambda connection: connection.execute(
            sa.update(t.task).where(t.task.c.state == "running").values(state="ready", lease_owner=None)
        )
    )
    settle(installation)
    assert reports(installation) == TAKEN_BACK
    rightful = keys_of(installation)[installation.shown()["pseudonym"]]
    assert {installation.node.store.key_of(ref).id for ref in objects(installation)} == {rightful.id}
    assert installation.standings() == ["corrected", "current"]


@WITH_ANY_DATABASE
@pytest.mark.parametrize("where", ["prepare", "apply"])
def test_a_correction_that_fails_is_tried_again_ever_later_and_keeps_no_other_study_waiting(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, where: str
):
    first, attempts, now = image(), [], [1000.0]

    def fails(*_arguments: Any, **_named: Any) -> None:
        attempts.append(now[0])
        raise KeyStoreUnavailable("no mirror answers")

    monkeypatch.setattr(correcting, "monotonic", lambda: now[0])
    installation.send(first)
    with monkeypatch.context() as patch:
        patch.setattr(correcting.Settlement, where, fails)
        installation.send(of(B, first))
        for _ in range(30):  # half a second each, as an engine that has nothing else to do
            installation.indexer.pass_once()
            now[0] += 0.5
        assert [later - earlier for earlier, later in pairwise(attempts)] == [2.0, 4.0, 8.0]
        installation.send(image(4))
        assert sorted(row["state"] for row in installation.ask("studies.list")) == ["closed", "held"]
        (study,) = installation.indexer._corrections._failures
        installation.indexer._corrections._failures[study] = 5000  # a month
        now[0] += 3600.0
        installation.indexer.pass_once()
    now[0] += 3600.0
    settle(installation)
    assert reports(installation)[B.family] == "partial"


class Killed(BaseException):
    """Nothing catches it."""


@contextmanager
def crash(installation: Installation, monkeypatch: pytest.MonkeyPatch, place: str) -> Iterator[None]:
    def die(*_arguments: Any, **_named: Any) -> None:
        raise Killed

    if place == "before":
        monkeypatch.setattr(correcting.Settlement, "apply", die)
    elif place == "within":
        monkeypatch.setattr(correcting, "begin_revision", die)
    else:
        monkeypatch.setattr(type(installation.node.store), "hand_over", die)
    with pytest.raises(Killed):
        yield
    monkeypatch.undo()


@WITH_ANY_DATABASE
def test_the_audit_names_both_patients_by_their_tags(installation: Installation):
    first = image()
    installation.send(first)
    installation.work()
    former = keys_of(installation)[installation.shown()["pseudonym"]].audit_tag
    installation.send(of(B, first))
    settle(installation)
    rightful = keys_of(installation)[installation.shown()["pseudonym"]].audit_tag
    named = [(e["subject"], e["details"]) for e in events(installation.database, Kind.PATIENT_CORRECTED)]
    assert [(s, d.get("former"), d.get("rightful")) for s, d in named] == [
        (rightful, former, None),
        (former, None, rightful),
    ]
    answered = events(installation.database, Kind.VAULT_ANSWERED)
    assert {e["subject"] for e in answered if e["details"]["purpose"] == "withdrawal"} == {former}
