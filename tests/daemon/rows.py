"""Rows as intake and steps leave them, put straight into the database: one study in whatever state a test needs."""

import json
import uuid
from collections.abc import Iterable

import sqlalchemy as sa

from adapters.keys import PatientEntry
from daemon.database import Database
from daemon.database import schema as t
from daemon.states import DeliveryState, RevisionState, Standing


def new_id() -> str:
    return str(uuid.uuid4())


def add_patient(connection: sa.Connection, entry: PatientEntry | None = None) -> str:
    """A patient; with an entry of the key store, the patient whose key that is."""
    number = uuid.uuid4().hex
    row = {
        "id": entry.id if entry else number,
        "scope_tag": entry.scope_tag if entry else number,
        "pseudonym": entry.pseudonym if entry else f"KP-{number[:12]}",
        "audit_tag": entry.audit_tag if entry else number,
    }
    connection.execute(sa.insert(t.patient).values(**row, sealed_identity=b"sealed", created_at=1000.0))
    return row["id"]


def add_study(connection: sa.Connection, patient_id: str) -> str:
    study_id = new_id()
    connection.execute(
        sa.insert(t.study).values(
            id=study_id,
            patient_id=patient_id,
            uid_tag=uuid.uuid4().hex,
            sealed_description=b"sealed",
            source="CT1",
            created_at=1000.0,
        )
    )
    return study_id


def add_revision(
    connection: sa.Connection, study_id: str, state: RevisionState, *, number: int = 1, reason: str | None = None
) -> str:
    revision_id = new_id()
    connection.execute(
        sa.insert(t.revision).values(
            id=revision_id,
            study_id=study_id,
            number=number,
            state=state,
            reason=reason,
            priority=10,
            forced=False,
            opened_at=1000.0,
            last_instance_at=1000.0,
            updated_at=1000.0,
        )
    )
    return revision_id


def add_instance(connection: sa.Connection, revision_id: str | None, study_id: str, patient_id: str, **columns) -> str:
    """An instance of the study, and of the revision if one is given."""
    instance_id = columns.pop("id", None) or new_id()
    row = {
        "object_ref": f"objects/r/00000000/{instance_id}",
        "uid_tag": uuid.uuid4().hex,
        "sop_class_uid": "1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "standing": Standing.CURRENT,
        "content_tag": uuid.uuid4().hex,
        "identity_tag": uuid.uuid4().hex,
        "pixel_tag": uuid.uuid4().hex,
        "byte_length": 10,
        "received_at": 1000.0,
    }
    connection.execute(
        sa.insert(t.instance).values(id=instance_id, study_id=study_id, patient_id=patient_id, **(row | columns))
    )
    if revision_id:
        connection.execute(sa.insert(t.revision_instance).values(revision_id=revision_id, instance_id=instance_id))
    return instance_id


def add_deliveries(
    connection: sa.Connection, revision_id: str, patient_id: str, states: Iterable[DeliveryState], outcome: str | None
) -> None:
    rows = [
        {
            "id": new_id(),
            "revision_id": revision_id,
            "destination": f"ehr-{number}",
            "report_id": new_id(),
            "patient_id": patient_id,
            "state": state,
            "outcome": outcome,
            "created_at": 1000.0,
            "updated_at": 1000.0,
        }
        for number, state in enumerate(states)
    ]
    if rows:
        connection.execute(sa.insert(t.delivery), rows)


def add_revision_of_its_own(database: Database, state: RevisionState, **columns) -> str:
    """A patient with one study with one revision in `state`."""
    with database.write() as connection:
        return add_revision(connection, add_study(connection, add_patient(connection)), state, **columns)


def events(database: Database, *kinds: str) -> list[dict]:
    """The audit events of these kinds (of all, if none are named), as recorded, oldest first."""
    query = sa.select(t.audit_event.c.body).order_by(t.audit_event.c.id)
    with database.read() as connection:
        bodies = [json.loads(body) for body in connection.execute(query).scalars()]
    return [body for body in bodies if not kinds or body["kind"] in kinds]
