"""Recurring work: end intake epochs whose objects have all moved to their patients' keys, remove what rows say is
finished.
"""

import time
from contextlib import suppress
from typing import Final

import sqlalchemy as sa

from adapters.keys import KeyStoreError
from adapters.storage import Batch, KeyKind, KeyName, ObjectDamaged, ObjectMissing, ObjectRef, StoreError
from daemon import queue
from daemon.audit import AuditEvent, Kind, Name
from daemon.database import database_now
from daemon.database import schema as t
from daemon.intake import DOES_NOT_OPEN, is_indexed, use_good_copy
from daemon.node import Node
from daemon.queue import Task, TaskState
from daemon.states import RevisionState, Standing, move
from daemon.steps.deidentify import KIND as DEIDENTIFY
from daemon.steps.step import Commit, Context, nothing

EPOCHS: Final = "epochs"
LEFTOVERS: Final = "leftovers"
_DONE_TASKS_KEPT_SECONDS: Final = 7 * 86_400.0


class Epochs:
    """Closes the open epoch when it is old enough; destroys a closed one once no object needs its key any more."""

    kind = EPOCHS

    def run(self, context: Context, task: Task) -> Commit:
        """Look at every epoch. What is done to a key cannot be undone, so the log says it first: after a crash it may
        say it twice, but never too little.
        """
        node = context.node
        for epoch in node.keys.epochs():
            age_hours = (time.time() - epoch.created_at) / 3600
            if epoch.closed_at is None and age_hours >= node.settings.keys.epoch_hours:
                _record(node, Kind.EPOCH_CLOSED, epoch.id)
                node.keys.close_epoch(epoch.id)
            elif epoch.closed_at is not None and not _is_needed(context, epoch.id):
                _record(node, Kind.EPOCH_DESTROYED, epoch.id)
                node.keys.destroy_epoch(epoch.id)
        return nothing

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The next one is due soon."""


def _record(node: Node, kind: Kind, epoch_id: str) -> None:
    event = AuditEvent(kind, actor="engine", details={"epoch": Name(epoch_id)})
    node.database.retrying(lambda connection: node.audit.record(connection, event))


class Leftovers:
    """Removes the bytes of duplicates that a committed row names, abandoned temporary files, and old finished tasks."""

    kind = LEFTOVERS

    def run(self, context: Context, task: Task) -> Commit:
        """Only what a committed row says is finished is removed."""
        node = context.node
        with node.database.read() as connection:
            refs = connection.execute(
                sa.select(t.instance.c.object_ref).where(
                    t.instance.c.standing == Standing.DUPLICATE, t.instance.c.reason.is_(None)
                )
            ).scalars()
            duplicates = list(refs.all())
        duplicates = [ref for ref in duplicates if _is_spare(node, ref)]
        for ref in duplicates:
            node.store.delete(ObjectRef.parse(ref))
        node.store.remove_abandoned()

        def commit(connection: sa.Connection) -> None:
            connection.execute(
                sa.update(t.instance)
                .where(t.instance.c.object_ref.in_(duplicates), t.instance.c.standing == Standing.DUPLICATE)
                .values(reason="removed: the same bytes are stored once")
            )
            connection.execute(
                sa.delete(t.task).where(
                    t.task.c.state == TaskState.DONE,
                    t.task.c.kind.in_((EPOCHS, LEFTOVERS)),
                    t.task.c.updated_at < database_now() - _DONE_TASKS_KEPT_SECONDS,
                )
            )

        return commit

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """The next one is due soon."""


def _is_spare(node: Node, ref: str) -> bool:
    """Whether the same bytes are kept elsewhere, and can be read. Where they are damaged there, this copy comes into
    use, and a study that failed for want of it is tried again.
    """
    twin = sa.alias(t.instance)
    same = (
        sa.select(twin.c.id, twin.c.object_ref)
        .join(
            t.instance,
            sa.and_(t.instance.c.uid_tag == twin.c.uid_tag, t.instance.c.content_tag == twin.c.content_tag),
        )
        .where(t.instance.c.object_ref == ref, twin.c.object_ref != ref, twin.c.standing != Standing.DUPLICATE)
    )
    with node.database.read() as connection:
        others = connection.execute(same).all()
    for other in others:
        with suppress(StoreError, KeyStoreError):
            try:
                node.store.open(ObjectRef.parse(other.object_ref))
            except (ObjectDamaged, ObjectMissing):
                if use_good_copy(node, other.id):
                    _try_again(node, other.id)
            else:
                return True
    return False


def _try_again(node: Node, instance_id: str) -> None:
    """Let the newest revision of the instance's study be de-identified again, if it was given up."""
    of_study = sa.select(t.instance.c.study_id).where(t.instance.c.id == instance_id).scalar_subquery()
    given_up = (
        sa.select(t.task.c.id, t.revision.c.id.label("revision"))
        .join(t.revision, t.revision.c.id == t.task.c.key)
        .where(
            t.task.c.kind == DEIDENTIFY,
            t.task.c.state == TaskState.DEAD,
            t.revision.c.state == RevisionState.FAILED,
            t.revision.c.study_id == of_study,
        )
        .order_by(t.revision.c.number.desc())
        .limit(1)
    )

    def work(connection: sa.Connection) -> None:
        if (found := connection.execute(given_up).first()) is None:
            return
        queue.requeue(connection, found.id)
        move(connection, node.audit, found.revision, RevisionState.CLOSED)
        event = AuditEvent(Kind.TASK_RETRIED, actor="engine", details={"task": found.id})
        node.audit.record(connection, event)

    node.database.retrying(work)


def _is_needed(context: Context, epoch_id: str) -> bool:
    """Whether an object that is not indexed yet is wrapped under the epoch; what is indexed has moved to its
    patient's key.

    Complete batches are indexed for good, so only the others are looked at. (What the receivers noted as events stays
    under the epoch's key: it is in the index and the audit log, and goes with the key.)
    """
    node = context.node
    with node.database.read() as connection:
        complete = dict(connection.execute(sa.select(t.receiver.c.id, t.receiver.c.complete_batch)).tuples().all())
    for receiver_id in node.store.receivers():
        for batch in node.store.batches(receiver_id):
            if batch.number > complete.get(receiver_id, -1) and _has_unindexed(node, batch, epoch_id):
                return True
    # Last, since the indexer works meanwhile: what it set aside only now was not indexed above, or is found here. It
    # may open again once a key or a disk is restored.
    return _holds_unopened(node)


def _holds_unopened(node: Node) -> bool:
    """Whether an object was set aside because it did not open."""
    set_aside = sa.select(t.instance.c.id).where(
        t.instance.c.standing == Standing.QUARANTINED, t.instance.c.reason.startswith(DOES_NOT_OPEN)
    )
    with node.database.read() as connection:
        return connection.execute(set_aside.limit(1)).first() is not None


def _has_unindexed(node: Node, batch: Batch, epoch_id: str) -> bool:
    refs = node.store.objects(batch)
    with node.database.read() as connection:
        unindexed = [ref for ref in refs if not is_indexed(connection, ref.id)]
    return any(node.store.key_of(ref) == KeyName(KeyKind.EPOCH, epoch_id) for ref in unindexed)


MAINTENANCE: Final = (Epochs(), Leftovers())
