"""After a study got another patient: leaves that patient's key the only one that opens what the study is made of.

The objects were put under the rightful patient's key, too, before a row was changed; here what the former one's had
wrapped is overwritten. May be done any number of times.
"""

import sqlalchemy as sa

from adapters.storage import ObjectRef
from daemon.audit import AuditEvent, Detail, Id, Kind
from daemon.database import schema as t
from daemon.intake import HAND_OVER, objects_of
from daemon.node import Node
from daemon.queue import Task
from daemon.steps.heatmaps import made_with_results
from daemon.steps.manifest import manifest_in
from daemon.steps.step import Commit, Context
from daemon.vault import open_column


class HandOver:
    """Objects of a study: under both keys → under the rightful patient's alone."""

    kind = HAND_OVER

    def run(self, context: Context, task: Task) -> Commit:
        """Hand over whatever rows say is the patient's."""
        node = context.node
        study_id = str(task.payload["study"])
        with node.database.read() as connection:
            patient_id, subject = (
                connection.execute(
                    sa.select(t.patient.c.id, t.patient.c.audit_tag)
                    .join(t.study, t.study.c.patient_id == t.patient.c.id)
                    .where(t.study.c.id == study_id)
                )
                .tuples()
                .one()
            )
            refs = objects_of(connection, study_id, patient_id)
        refs += _listed(node, study_id, patient_id) + made_with_results(node, study_id, patient_id)
        node.store.hand_over(refs, node.keys.patient(patient_id))
        details: dict[str, Detail] = {"study": Id(study_id), "objects": len(refs)}
        event = AuditEvent(Kind.HANDED_OVER, actor="engine", subject=subject, details=details)
        return lambda connection: node.audit.record(connection, event)

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """What the former patient's key opens stays listed as a dead task, until a person lets it run again."""


def _listed(node: Node, study_id: str, patient_id: str) -> list[ObjectRef]:
    """What was de-identified for archives or made for a PACS: only the sealed documents list it."""
    query = (
        sa.select(t.delivery.c.id, t.delivery.c.sealed_document)
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(
            t.revision.c.study_id == study_id,
            t.delivery.c.patient_id == patient_id,
            t.delivery.c.sealed_document.is_not(None),
        )
    )
    with node.database.read() as connection:
        rows = connection.execute(query).all()
    entry = node.keys.patient(patient_id)
    manifests = (manifest_in(open_column(entry, "delivery", row.id, row.sealed_document)) for row in rows)
    return [ObjectRef.parse(instance.ref) for manifest in manifests if manifest for instance in manifest.listed]
