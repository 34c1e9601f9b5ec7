"""Who a pseudonym is. The only code that opens an identity, and it says so in the audit log before it answers
(DESIGN §2.4).

Report, matching, console, erasure and export use it, each with a purpose and an actor; models and de-identified steps
have no access: they get a `PatientPseudonym`, which holds nothing of the identity.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from adapters.keys import KeyStore, PatientEntry, open_value, seal_value
from anonymize import PatientPseudonym
from daemon.audit import AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import Database
from daemon.database import schema as t
from daemon.states import Standing
from pipelines.identity import PatientIdentity, StudyDescription

IDENTITY: Final = "instance.identity"
CORRECTION: Final = "instance.correction"
STUDY_DESCRIPTION: Final = "study.description"
"""Names of sealed columns."""


class Purpose(StrEnum):
    """Why an identity is asked for."""

    REPORT = "report"
    PACS = "pacs"
    WITHDRAWAL = "withdrawal"
    MATCHING = "matching"
    CARE = "care"
    ERASURE = "erasure"
    EXPORT = "export"


class Vault:
    """Opens sealed columns. Every identity given out is an audit event first."""

    def __init__(self, database: Database, keys: KeyStore, audit: AuditWriter) -> None:
        self._database, self._keys, self._audit = database, keys, audit

    def pseudonym(self, patient_id: str) -> PatientPseudonym:
        """What de-identification needs to know of the patient; no identity, hence no event."""
        entry = self._keys.patient(patient_id)
        return PatientPseudonym(entry.pseudonym, entry.subkey("uid"), entry.date_offset_days)

    def reidentify(self, revision_id: str, purpose: Purpose, actor: str) -> tuple[PatientIdentity, StudyDescription]:
        """Who the patient of the revision is, and what the hospital calls the study, as the revision's own instances
        say.

        Raises `IdentityContradiction` where they do not agree: then nobody may be named; `PurposeMissing` without a
        purpose, `daemon.audit.EventError` without an actor that the log can name.
        """
        if not isinstance(purpose, Purpose):
            raise PurposeMissing("an identity is given out for a `Purpose` only; none was given")
        with self._database.read() as connection:
            rows = connection.execute(_of_members(revision_id)).all()
            if not rows:  # everything was taken back: as what was taken back said
                rows = connection.execute(_of_rejected(revision_id)).all()
        if not rows:
            self._refuse(revision_id, actor, "no-instance")
            raise IdentityContradiction("no instance says whose study this is")
        event = AuditEvent(
            Kind.VAULT_ANSWERED,
            actor=actor,
            subject=rows[0].audit_tag,
            details={"revision": Id(revision_id), "purpose": purpose},
        )
        self._database.retrying(lambda connection: self._audit.record(connection, event))
        entry = self._keys.patient(rows[0].patient_id)
        one_for_each = {row.identity_tag: row for row in rows}.values()
        said = [_read(open_column(entry, row.said_in, row.id, row.sealed_identity)) for row in one_for_each]
        try:
            return agreed([identity for identity, _ in said]), said[-1][1]
        except IdentityContradiction:
            self._refuse(revision_id, actor, "contradiction", rows[0].audit_tag)
            raise

    def withdraw(self, revision_id: str, actor: str) -> StudyDescription:
        """What the hospital calls the study of a revision, to take back what was said of its former patient."""
        query = (
            sa.select(t.study.c.sealed_description, t.study.c.patient_id, t.patient.c.audit_tag)
            .join(t.revision, t.revision.c.study_id == t.study.c.id)
            .join(t.patient, t.patient.c.id == t.revision.c.former_patient_id)
            .where(t.revision.c.id == revision_id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one()
        details: dict[str, Detail] = {"revision": Id(revision_id), "purpose": Purpose.WITHDRAWAL}
        event = AuditEvent(Kind.VAULT_ANSWERED, actor=actor, subject=row.audit_tag, details=details)
        self._database.retrying(lambda connection: self._audit.record(connection, event))
        entry = self._keys.patient(row.patient_id)
        return StudyDescription.from_json(open_column(entry, STUDY_DESCRIPTION, "", row.sealed_description))

    def _refuse(self, revision_id: str, actor: str, reason: str, subject: str | None = None) -> None:
        """Record that nobody was named, and why."""
        details: dict[str, Detail] = {"revision": Id(revision_id), "reason": Name(reason)}
        event = AuditEvent(Kind.VAULT_REFUSED, actor=actor, subject=subject, details=details)
        self._database.retrying(lambda connection: self._audit.record(connection, event))


class PurposeMissing(Exception):
    """Somebody asked who a pseudonym is and did not say what for."""


class IdentityContradiction(Exception):
    """The instances of one revision say different things about who the patient is."""


def said_by_instance(identity: PatientIdentity, description: StudyDescription) -> bytes:
    """What one instance says of patient and study, to be sealed with its row."""
    return identity.to_json() + b"\n" + description.to_json()


def _read(data: bytes) -> tuple[PatientIdentity, StudyDescription]:
    identity, _, description = data.partition(b"\n")
    return PatientIdentity.from_json(identity), StudyDescription.from_json(description)


def agreed(identities: Sequence[PatientIdentity]) -> PatientIdentity:
    """The one identity that all tell; what is missing in one is taken from another. Raises `IdentityContradiction`
    where they differ.
    """
    agreed: dict[str, str] = {}
    for name in ("patient_id", "issuer", "name", "birth_date", "sex"):
        told = {_normal(name, getattr(i, name)): getattr(i, name) for i in identities if getattr(i, name).strip(" ^=")}
        if len(told) > 1:
            raise IdentityContradiction(f"the study's instances do not agree on the patient's {name.replace('_', ' ')}")
        agreed[name] = next(iter(told.values()), "")
    return PatientIdentity(**agreed)


def _normal(name: str, value: str) -> str:
    """A value without what makes no difference: case, padding, empty components and component groups at the end of a
    name (PS3.5 6.2, VR PN). A component that is empty at the beginning does make one.
    """
    if name != "name":
        return value.strip()
    return "=".join(group.strip().rstrip(" ^") for group in value.casefold().split("=")).rstrip("=")


def _said(revision_id: str) -> sa.Select[Any]:
    """What the instances of a revision's study say; what a person has decided against one counts from then on, not for
    revisions about a former patient.
    """
    former = t.revision.c.former_patient_id
    corrected = sa.and_(former.is_(None), t.instance.c.sealed_correction.is_not(None))
    return (
        sa.select(
            t.instance.c.id,
            t.instance.c.identity_tag,
            t.instance.c.patient_id,
            sa.case((corrected, CORRECTION), else_=IDENTITY).label("said_in"),
            sa.case((corrected, t.instance.c.sealed_correction), else_=t.instance.c.sealed_identity).label(
                "sealed_identity"
            ),
            t.patient.c.audit_tag,
        )
        .join(t.study, t.study.c.id == t.instance.c.study_id)
        .join(t.revision, t.revision.c.study_id == t.study.c.id)
        .join(t.patient, t.patient.c.id == sa.func.coalesce(former, t.instance.c.patient_id))
        .where(t.revision.c.id == revision_id, t.instance.c.sealed_identity.is_not(None))
        .order_by(t.instance.c.received_at, t.instance.c.id)
    )


def _of_members(revision_id: str) -> sa.Select[Any]:
    members = sa.select(t.revision_instance.c.instance_id).where(t.revision_instance.c.revision_id == revision_id)
    return _said(revision_id).where(t.instance.c.id.in_(members))


def _of_rejected(revision_id: str) -> sa.Select[Any]:
    rejected = (Standing.REJECTED, Standing.REJECTED_BY_OPERATOR)
    of_its_patient = t.instance.c.patient_id == t.study.c.patient_id  # what was set aside may be another's
    return _said(revision_id).where(of_its_patient, t.instance.c.standing.in_(rejected))


def sealed_anew(before: PatientEntry, after: PatientEntry, column: str, row_id: str, sealed: bytes) -> bytes:
    """A column's value under another patient's key. Nobody learns it."""
    return seal_column(after, column, row_id, open_column(before, column, row_id, sealed))


def corrected_identity(entry: PatientEntry, instance_id: str, sealed: bytes, by: str, sealed_by: bytes) -> bytes:
    """The column `CORRECTION` of an instance: what it says of its study, and who the patient is as the instance `by`
    says. Both `sealed…` are columns `IDENTITY`. Nobody learns them.
    """
    _, description = _read(open_column(entry, IDENTITY, instance_id, sealed))
    identity, _ = _read(open_column(entry, IDENTITY, by, sealed_by))
    return seal_column(entry, CORRECTION, instance_id, said_by_instance(identity, description))


def seal_column(entry: PatientEntry, column: str, row_id: str, value: bytes) -> bytes:
    """Seal a column's value under the patient's key, bound to its column and row."""
    return seal_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), value)


def open_column(entry: PatientEntry, column: str, row_id: str, sealed: bytes) -> bytes:
    """Open what `seal_column` sealed; raises `adapters.keys.Tampered` if it was changed or moved."""
    return open_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), sealed)
