"""Who a pseudonym is. The only code that opens an identity, and it says so in the audit log before it answers
(DESIGN §2.4).

Report, matching, console, erasure and export use it, each with a purpose and an actor; models and de-identified steps
have no access: they get a `PatientPseudonym`, which holds nothing of the identity.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from adapters.keys import KeyStore, PatientEntry, open_value, seal_value
from anonymize import PatientPseudonym
from daemon.audit import AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import Database
from daemon.database import schema as t
from daemon.states import Standing
from pipelines.identity import PatientIdentity, StudyDescription


class Purpose(StrEnum):
    """Why an identity is asked for."""

    REPORT = "report"
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
        said = [_read(open_column(entry, "instance.identity", row.id, row.sealed_identity)) for row in one_for_each]
        try:
            return _agreed([identity for identity, _ in said]), said[-1][1]
        except IdentityContradiction:
            self._refuse(revision_id, actor, "contradiction", rows[0].audit_tag)
            raise

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


def _agreed(identities: Sequence[PatientIdentity]) -> PatientIdentity:
    """The one identity that all tell; what is missing in one is taken from another, what differs is a contradiction."""
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


def _said() -> sa.Select[Any]:
    columns = (t.instance.c.id, t.instance.c.identity_tag, t.instance.c.sealed_identity, t.patient.c.audit_tag)
    return (
        sa.select(*columns, t.patient.c.id.label("patient_id"))
        .join(t.patient, t.patient.c.id == t.instance.c.patient_id)
        .where(t.instance.c.sealed_identity.is_not(None))
        .order_by(t.instance.c.received_at, t.instance.c.id)
    )


def _of_members(revision_id: str) -> sa.Select[Any]:
    members = sa.select(t.revision_instance.c.instance_id).where(t.revision_instance.c.revision_id == revision_id)
    return _said().where(t.instance.c.id.in_(members))


def _of_rejected(revision_id: str) -> sa.Select[Any]:
    study = sa.select(t.revision.c.study_id).where(t.revision.c.id == revision_id).scalar_subquery()
    rejected = (Standing.REJECTED, Standing.REJECTED_BY_OPERATOR)
    return _said().where(t.instance.c.study_id == study, t.instance.c.standing.in_(rejected))


def seal_column(entry: PatientEntry, column: str, row_id: str, value: bytes) -> bytes:
    """Seal a column's value under the patient's key, bound to its column and row."""
    return seal_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), value)


def open_column(entry: PatientEntry, column: str, row_id: str, sealed: bytes) -> bytes:
    """Open what `seal_column` sealed; raises `adapters.keys.Tampered` if it was changed or moved."""
    return open_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), sealed)
