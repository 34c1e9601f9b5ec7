"""What is to be sent to a destination that gets instances, be they copies or made: the delivery that waits for its
manifest, and all that the manifest is made of.

It holds sealed columns opened under the patient's key, and lives no longer than the step that asked for it.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import sqlalchemy as sa

from adapters.keys import PatientEntry
from daemon.audit import AuditEvent
from daemon.node import Node
from daemon.queue import Task
from daemon.steps.deidentify import Member, members_of
from daemon.steps.manifest import CopyManifest, MadeManifest
from daemon.steps.outbox import delivery_with_result, prepared, sent_before, wants_document
from daemon.steps.step import Commit, Context
from daemon.vault import open_column, seal_column
from pipelines.results import StudyResult


@dataclass(frozen=True, slots=True)
class Consignment:
    """One delivery of instances, its revision's selected members and result, and the documents of earlier deliveries of
    which anything may be there (`outbox.sent_before`).
    """

    row: sa.Row[Any]
    entry: PatientEntry
    members: list[Member]
    result: StudyResult
    earlier: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def waiting(cls, node: Node, task: Task) -> Self | None:
        """That of the task; None if nobody waits for it any more."""
        with node.database.read() as connection:
            row = delivery_with_result(connection, str(task.payload["delivery"]))
            members = members_of(connection, row.revision_id, selected=True)
            earlier = sent_before(connection, row)
        if not wants_document(row, row.revision_state):
            return None
        entry = node.keys.patient(row.patient_id)
        result = StudyResult.from_json(open_column(entry, "result", row.result_id, row.sealed_result))
        documents = tuple(open_column(entry, "delivery", one.id, one.sealed_document) for one in earlier)
        return cls(row, entry, members, result, documents)

    def with_manifest(self, context: Context, manifest: CopyManifest | MadeManifest, event: AuditEvent) -> Commit:
        """Seal the manifest into the outbox, and let it be delivered."""
        sealed = seal_column(self.entry, "delivery", self.row.id, manifest.to_json())
        return prepared(context, self.row, self.row.priority, sealed, event)
