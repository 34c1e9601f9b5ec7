"""Copies: where an instance's object is damaged or gone and the same bytes lie in the store again, those come into use.

The instance stays what it is: only the row of its copy and its own exchange their objects. Of bytes that differ by a
single bit it takes none, and nothing is removed here.
"""

import sqlalchemy as sa
import structlog

from adapters.storage import ObjectDamaged, ObjectMissing, ObjectRef, Receipt
from daemon.audit import AuditEvent, Id, Kind
from daemon.database import schema as t
from daemon.node import Node

_log = structlog.get_logger(__name__)


def open_instance(node: Node, instance_id: str, ref: str) -> tuple[Receipt, bytes]:
    """Open an instance's object at `ref`, else the same bytes elsewhere. Raises what `ObjectStore.open` raises."""
    try:
        return node.store.open(ObjectRef.parse(ref))
    except (ObjectDamaged, ObjectMissing) as error:
        if (copy := use_good_copy(node, instance_id)) is None:
            raise
        _log.warning("copy_used", object=ref, error=type(error).__name__)
        return copy


def use_good_copy(node: Node, instance_id: str) -> tuple[Receipt, bytes] | None:
    """Let the instance have an object that opens, and open it: its own, or that of a copy; None where none does."""
    with node.database.read() as connection:
        own = connection.execute(sa.select(t.instance).where(t.instance.c.id == instance_id)).one()
        copies = connection.execute(
            sa.select(t.instance.c.id, t.instance.c.object_ref)
            .where(
                t.instance.c.uid_tag == own.uid_tag,
                t.instance.c.content_tag == own.content_tag,
                t.instance.c.patient_id == own.patient_id,
                t.instance.c.transfer_syntax_uid == own.transfer_syntax_uid,
                t.instance.c.id != instance_id,
            )
            .order_by(t.instance.c.received_at, t.instance.c.id)
        ).all()
    for copy in (own, *copies):
        try:
            opened = node.store.open(ObjectRef.parse(copy.object_ref))
        except (ObjectDamaged, ObjectMissing):
            continue
        if copy.id != instance_id:
            _exchange(node, own, copy)
        return opened
    return None


def _exchange(node: Node, own: sa.Row[tuple[str, ...]], copy: sa.Row[tuple[str, ...]]) -> None:
    """Let two rows exchange their objects, unless that was done meanwhile."""

    def work(connection: sa.Connection) -> None:
        now = connection.execute(
            sa.select(t.instance.c.id, t.instance.c.object_ref)
            .where(t.instance.c.id.in_((own.id, copy.id)))
            .order_by(t.instance.c.id)
            .with_for_update()
        ).tuples()
        if dict(now.all()) != {own.id: own.object_ref, copy.id: copy.object_ref}:
            return
        aside = f"exchanged/{copy.id}"  # two rows never name the same object
        for row, ref in ((copy.id, aside), (own.id, copy.object_ref), (copy.id, own.object_ref)):
            connection.execute(sa.update(t.instance).where(t.instance.c.id == row).values(object_ref=ref))
        subject = connection.execute(
            sa.select(t.patient.c.audit_tag).where(t.patient.c.id == own.patient_id)
        ).scalar_one()
        details = {"instance": Id(own.id), "by": Id(copy.id)}
        event = AuditEvent(Kind.INSTANCE_COPY_USED, actor="engine", subject=subject, details=details)
        node.audit.record(connection, event)

    node.database.retrying(work)
