"""The vault: no identity without a purpose, an actor and a committed audit event; none where the instances disagree."""

import itertools
from dataclasses import replace

import pytest
import sqlalchemy as sa

from adapters.keys import KeyDestroyed, KeyStore, PatientEntry, Tampered
from daemon.audit import EventError
from daemon.database import Database
from daemon.database import schema as t
from daemon.node import Node
from daemon.states import RevisionState, Standing
from daemon.vault import (
    IdentityContradiction,
    Purpose,
    PurposeMissing,
    Vault,
    open_column,
    said_by_instance,
    seal_column,
)
from pipelines.identity import PatientIdentity, StudyDescription
from tests.daemon.rows import add_instance, add_patient, add_revision, add_study, events, new_id
from tests.planted import search_bytes

BELGIN = PatientIdentity("98765432198", "hospital", "KURMACA^BELGIN", "19700101", "F")
CHEST = StudyDescription("2.25.4711", "ACC-555-KURMACA", "2026-01-31T10:00:00+03:00", "Thorax PA KURMACA")
PLANTED = (BELGIN.patient_id, BELGIN.name, CHEST.accession_number, CHEST.description)
WITH_ANY_DATABASE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what has nothing to do with the database: one will do."""


class Archive:
    """Studies of patients who have keys."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._scopes = itertools.count()

    def patient(self) -> PatientEntry:
        entry = self.node.keys.create_patient(f"{next(self._scopes):064x}")
        with self.node.database.write() as connection:
            add_patient(connection, entry)
        return entry

    def revision(self, entry: PatientEntry, *said: PatientIdentity, standing: Standing = Standing.CURRENT) -> str:
        """A revision with an instance for each identity; what was taken back is no member."""
        with self.node.database.write() as connection:
            study = add_study(connection, entry.id)
            revision = add_revision(connection, study, RevisionState.INFERRED)
            for number, identity in enumerate(said):
                member = revision if standing is Standing.CURRENT else None
                self.add(connection, member, study, entry, identity, standing=standing, received_at=1000.0 + number)
        return revision

    @staticmethod
    def add(connection: sa.Connection, revision: str | None, study: str, entry: PatientEntry, identity, **columns):
        instance = new_id()
        sealed = seal_column(entry, "instance.identity", instance, said_by_instance(identity, CHEST))
        add_instance(connection, revision, study, entry.id, id=instance, sealed_identity=sealed, **columns)


@pytest.fixture
def archive(node: Node) -> Archive:
    return Archive(node)


@pytest.fixture
def revision(archive: Archive) -> str:
    return archive.revision(archive.patient(), BELGIN)


def answers(database: Database) -> list[tuple]:
    found = events(database, "vault.answered")
    return [(e["actor"], e["details"]["purpose"], e["details"]["revision"], e["subject"]) for e in found]


def test_each_answer_is_audited_with_purpose_actor_revision_and_the_patients_audit_tag(node: Node, archive: Archive):
    entry = archive.patient()
    revision = archive.revision(entry, BELGIN)
    expected = []
    for purpose, actor in itertools.product(Purpose, ("engine", "user:somebody")):
        assert node.vault.reidentify(revision, purpose, actor) == (BELGIN, CHEST)
        expected.append((actor, purpose.value, revision, entry.audit_tag))
        assert answers(node.database) == expected


def test_the_event_is_committed_before_the_key_is_even_asked_for(node: Node, revision: str):
    seen = []

    class Watched(KeyStore):
        def patient(self, patient_id: str) -> PatientEntry:
            seen.append(len(answers(node.database)))  # another connection: what it sees is committed
            return super().patient(patient_id)

    keys = Watched(node.settings.keys.mirrors, node.master)
    assert Vault(node.database, keys, node.audit).reidentify(revision, Purpose.CARE, "engine") == (BELGIN, CHEST)
    assert seen == [1]


class Unopened(KeyStore):
    """Keys that nobody may ask for."""

    def patient(self, patient_id: str) -> PatientEntry:
        raise AssertionError("the vault asked for a patient's key")


@pytest.fixture
def locked(node: Node) -> Vault:
    """A vault of which no test here may get so far that it opens anything."""
    return Vault(node.database, Unopened(node.settings.keys.mirrors, node.master), node.audit)


def test_without_an_audit_log_nobody_is_named(node: Node, locked: Vault, revision: str):
    with node.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_event RENAME TO audit_event_gone")
    with pytest.raises(sa.exc.DBAPIError) as error:
        locked.reidentify(revision, Purpose.REPORT, "engine")
    assert search_bytes(str(error.value).encode(), PLANTED, "message") == []


def test_an_audit_event_that_cannot_be_committed_names_nobody(node: Node, locked: Vault, revision: str):
    def fail(_connection: sa.Connection) -> None:
        raise OSError("the disk is full")

    sa.event.listen(node.database.engine, "commit", fail)
    with pytest.raises(OSError, match="disk is full"):
        locked.reidentify(revision, Purpose.REPORT, "engine")
    sa.event.remove(node.database.engine, "commit", fail)
    assert answers(node.database) == []


@WITH_ANY_DATABASE
@pytest.mark.parametrize("purpose", [None, "", "report", "curiosity", 0, Purpose])
def test_without_a_purpose_nobody_is_named_and_nothing_is_recorded(
    node: Node, locked: Vault, revision: str, purpose: object
):
    with pytest.raises(PurposeMissing):
        locked.reidentify(revision, purpose, "engine")
    assert events(node.database) == []


@WITH_ANY_DATABASE
@pytest.mark.parametrize("actor", ["", "two words", "98765432198", "KURMACA^BELGIN"])
def test_without_an_actor_nobody_is_named(node: Node, locked: Vault, revision: str, actor: str):
    with pytest.raises(EventError):
        locked.reidentify(revision, Purpose.REPORT, actor)
    assert events(node.database) == []


def test_a_revision_of_which_nothing_says_whose_it_is_names_nobody(node: Node, locked: Vault, archive: Archive):
    empty = archive.revision(archive.patient())
    for revision in (empty, new_id()):
        with pytest.raises(IdentityContradiction):
            locked.reidentify(revision, Purpose.REPORT, "engine")
    assert answers(node.database) == []
    refused = [(e["actor"], e["subject"], e["details"]["reason"]) for e in events(node.database, "vault.refused")]
    assert refused == [("engine", None, "no-instance")] * 2


@pytest.mark.parametrize("standing", [Standing.REJECTED, Standing.REJECTED_BY_OPERATOR])
def test_what_was_taken_back_still_says_whose_report_is_to_be_withdrawn(
    node: Node, archive: Archive, standing: Standing
):
    revision = archive.revision(archive.patient(), BELGIN, standing=standing)
    assert node.vault.reidentify(revision, Purpose.REPORT, "engine") == (BELGIN, CHEST)
    assert len(answers(node.database)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"patient_id": "11111111110"},
        {"name": "KURMACA^BAHAR"},
        {"name": "^KURMACA^BELGIN"},
        {"name": "KURMACA^BELGIN=OTHER^GROUP"},
        {"birth_date": "19700102"},
        {"sex": "M"},
        {"issuer": "another hospital"},
    ],
)
@pytest.mark.parametrize("first", [0, 1])
@WITH_ANY_DATABASE
def test_instances_that_disagree_name_nobody_and_the_error_tells_no_value(
    node: Node, archive: Archive, other: dict[str, str], first: int
):
    said = [BELGIN, replace(BELGIN, **other)]
    revision = archive.revision(archive.patient(), said[first], said[1 - first])
    with pytest.raises(IdentityContradiction) as error:
        node.vault.reidentify(revision, Purpose.REPORT, "engine")
    assert not any(value in str(error.value) for value in (*PLANTED, *other.values()) if len(value) > 1)
    (refused,) = events(node.database, "vault.refused")
    assert refused["details"] == {"reason": "contradiction", "revision": revision}
    assert refused["subject"] is not None


@pytest.mark.parametrize(
    "other",
    [
        {"name": ""},
        {"name": "kurmaca^belgin^^^"},
        {"name": "KURMACA^BELGIN=="},
        {"birth_date": " "},
        {"patient_id": "98765432198 "},
        {"sex": ""},
    ],
)
@WITH_ANY_DATABASE
def test_what_one_instance_leaves_out_or_pads_is_no_contradiction(node: Node, archive: Archive, other: dict[str, str]):
    revision = archive.revision(archive.patient(), BELGIN, replace(BELGIN, **other))
    named, _ = node.vault.reidentify(revision, Purpose.REPORT, "engine")
    assert {name: getattr(named, name).strip() for name in ("patient_id", "birth_date", "sex")} == {
        "patient_id": BELGIN.patient_id,
        "birth_date": BELGIN.birth_date,
        "sex": BELGIN.sex,
    }


def test_an_instance_of_another_patient_in_the_revision_names_neither(node: Node, archive: Archive):
    one, two = archive.patient(), archive.patient()
    revision = archive.revision(one, BELGIN)
    with node.database.write() as connection:
        study = connection.execute(sa.select(t.revision.c.study_id).where(t.revision.c.id == revision)).scalar_one()
        archive.add(connection, revision, study, two, BELGIN)
    with pytest.raises((Tampered, IdentityContradiction)):
        node.vault.reidentify(revision, Purpose.REPORT, "engine")


@WITH_ANY_DATABASE
def test_an_erased_patient_cannot_be_named_any_more(node: Node, archive: Archive):
    entry = archive.patient()
    revision = archive.revision(entry, BELGIN)
    node.keys.destroy_patient(entry.id)
    with pytest.raises(KeyDestroyed):
        node.vault.reidentify(revision, Purpose.REPORT, "engine")


@WITH_ANY_DATABASE
def test_a_sealed_column_opens_in_its_own_place_only(archive: Archive):
    entry, other = archive.patient(), archive.patient()
    sealed = seal_column(entry, "result", "row-1", b"value")
    assert open_column(entry, "result", "row-1", sealed) == b"value"
    for place in ((entry, "result", "row-2"), (entry, "delivery", "row-1"), (other, "result", "row-1")):
        with pytest.raises(Tampered):
            open_column(*place, sealed)


def test_what_deidentification_gets_holds_nothing_of_the_identity_and_makes_no_event(node: Node, archive: Archive):
    entry = archive.patient()
    archive.revision(entry, BELGIN)
    pseudonym = node.vault.pseudonym(entry.id)
    assert pseudonym.pseudonym == entry.pseudonym
    assert search_bytes(repr(pseudonym).encode(), PLANTED, "pseudonym") == []
    assert entry.key.hex() not in repr(pseudonym)
    assert events(node.database) == []


@WITH_ANY_DATABASE
def test_answers_show_nothing_in_a_traceback_or_a_log(node: Node, revision: str):
    answer = node.vault.reidentify(revision, Purpose.CARE, "engine")
    assert search_bytes(f"{answer!r} {answer}".encode(), PLANTED, "repr") == []
