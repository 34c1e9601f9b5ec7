"""Who a pseudonym is. The only code that opens an identity, and it says so in the audit log before it answers
(DESIGN §2.4).

Report, matching, console, erasure and export use it, each with a purpose and an actor; models and de-identified steps
have no access: they get a `PatientPseudonym`, which holds nothing of the identity.
"""

from enum import StrEnum

import sqlalchemy as sa

from adapters.keys import KeyStore, PatientEntry, open_value, seal_value
from anonymize import PatientPseudonym
from daemon.audit import AuditEvent, AuditWriter, Id, Kind
from daemon.database import Database
from daemon.database import schema as t
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

    def reidentify(self, study_id: str, purpose: Purpose, actor: str) -> tuple[PatientIdentity, StudyDescription]:
        """Who the patient of the study is, and what the hospital calls the study."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(
                    t.patient.c.id, t.patient.c.audit_tag, t.patient.c.sealed_identity, t.study.c.sealed_description
                )
                .join(t.study, t.study.c.patient_id == t.patient.c.id)
                .where(t.study.c.id == study_id)
            ).one()
        event = AuditEvent(
            Kind.VAULT_ANSWERED,
            actor=actor,
            subject=row.audit_tag,
            details={"study": Id(study_id), "purpose": purpose},
        )
        self._database.retrying(lambda connection: self._audit.record(connection, event))
        entry = self._keys.patient(row.id)
        return (
            PatientIdentity.from_json(open_column(entry, "patient.identity", row.id, row.sealed_identity)),
            StudyDescription.from_json(open_column(entry, "study.description", "", row.sealed_description)),
        )


def seal_column(entry: PatientEntry, column: str, row_id: str, value: bytes) -> bytes:
    """Seal a column's value under the patient's key, bound to its column and row."""
    return seal_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), value)


def open_column(entry: PatientEntry, column: str, row_id: str, sealed: bytes) -> bytes:
    """Open what `seal_column` sealed; raises `adapters.keys.Tampered` if it was changed or moved."""
    return open_value(entry.subkey("columns"), f"{column}/{row_id}".encode(), sealed)
