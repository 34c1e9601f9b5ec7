"""What receivers have stored and the index does not know yet: how many objects, since when. Opens none of them."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from adapters.storage import ObjectRef
from daemon.database import schema as t
from daemon.node import Node


@dataclass(frozen=True, slots=True)
class Backlog:
    """`oldest_seconds` is the age of the oldest object that waits; None where none does."""

    waiting: int
    oldest_seconds: float | None


def backlog(node: Node) -> Backlog:
    """Look through the batches that are not indexed for good (some hundred objects each). Raises `StoreError`."""
    stored_at = [at for ref in _waiting(node) if (at := _stored_at(ref.path(node.store.root))) is not None]
    return Backlog(len(stored_at), max(0.0, time.time() - min(stored_at)) if stored_at else None)


def _waiting(node: Node) -> Iterator[ObjectRef]:
    with node.database.read() as connection:
        complete = dict(connection.execute(sa.select(t.receiver.c.id, t.receiver.c.complete_batch)).tuples().all())
    for receiver_id in node.store.receivers():
        for batch in node.store.batches(receiver_id):
            if batch.number <= complete.get(receiver_id, -1):
                continue
            refs = {ref.id: ref for ref in node.store.objects(batch)}
            with node.database.read() as connection:
                for table in (t.instance, t.intake_event):
                    known = connection.execute(sa.select(table.c.id).where(table.c.id.in_(list(refs)))).scalars()
                    for object_id in known.all():
                        del refs[object_id]
            yield from refs.values()


def _stored_at(path: Path) -> float | None:
    """When the object got its bytes; None if it was removed meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return None
