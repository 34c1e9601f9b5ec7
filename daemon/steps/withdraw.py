"""Takes back, at one destination, what was sent there about the wrong patient: makes the document that says so.

The report at a FHIR server or in a folder becomes entered-in-error, together with all it said, and still names whom it
named: it is in that patient's record that it must be taken back. Instances, be they copies in an archive or what was
made for a PACS, cannot be taken back by C-STORE (PS3.4 B): a person is told, in the audit log and by the delivery's
state.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from adapters.fhir import DocumentError, ReportError, build_withdrawal
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import schema as t
from daemon.intake import WITHDRAW
from daemon.queue import Priority, Task
from daemon.steps.manifest import CopyManifest, manifest_in
from daemon.steps.outbox import ENGINE, DeliveryStep, begun_before, held, prepared, previous_document, wants_document
from daemon.steps.step import Commit, Context, GiveUp, nothing
from daemon.vault import open_column, seal_column

_CANNOT_BE_RECALLED: Final = (
    "{} instances were sent there under the former patient's {} and cannot be taken back from here: have those that are"
    " there taken out, and say so with `kopru studies recalled`"
)


class Withdraw(DeliveryStep):
    """Delivery of a revision that takes back: pending → prepared or held; the revision follows (`outbox.settle`)."""

    kind = WITHDRAW

    def run(self, context: Context, task: Task) -> Commit:
        """Make the document for one destination."""
        node = context.node
        delivery_id = str(task.payload["delivery"])
        with node.database.read() as connection:
            row = connection.execute(
                sa.select(t.delivery, t.revision.c.number, t.revision.c.state.label("revision_state"))
                .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
                .where(t.delivery.c.id == delivery_id)
            ).one()
            sent = previous_document(connection, row)
            begun = begun_before(connection, row)
        if not wants_document(row, row.revision_state):
            return nothing
        if sent is None:
            raise GiveUp(
                "nothing that was made for this destination is left; look there for the former patient's report"
            )
        entry = node.keys.patient(row.patient_id)
        before = open_column(entry, "delivery", sent.id, sent.sealed_document)
        details: dict[str, Detail] = {"delivery": Id(row.id), "destination": Name(row.destination)}
        if manifest := manifest_in(before):
            count = len(_listed_in(open_column(entry, "delivery", one.id, one.sealed_document) for one in begun))
            called = "pseudonym" if isinstance(manifest, CopyManifest) else "name"
            event = AuditEvent(Kind.NOT_RECALLED, actor=ENGINE, details={**details, "instances": count})
            return held(context, row, _CANNOT_BE_RECALLED.format(count, called), event)
        study = node.vault.withdraw(row.revision_id, ENGINE)
        try:
            document = build_withdrawal(before, row.number, datetime.now(UTC).replace(microsecond=0), study)
        except (ReportError, DocumentError) as error:
            return held(context, row, str(error))
        sealed = seal_column(entry, "delivery", delivery_id, document)
        return prepared(context, row, Priority.STAT, sealed, AuditEvent(Kind.WITHDRAWN, actor=ENGINE, details=details))


def _listed_in(documents: Iterable[bytes]) -> set[str]:
    """The UIDs of all instances that these documents list."""
    manifests = (manifest_in(document) for document in documents)
    return {instance.sop_instance_uid for manifest in manifests if manifest for instance in manifest.listed}
