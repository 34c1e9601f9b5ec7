"""Rows of associations, and of what receivers tell of them and of what they refused.

What a peer says of itself is cut to what a database takes and a terminal does not obey; the audit log repeats no text
of a peer that is not plainly what it should be.
"""

import time
from ipaddress import ip_address

import sqlalchemy as sa

from adapters.storage import EventKind as ReceiverEvent
from adapters.storage import ObjectRef, Receipt
from daemon.audit import AETitle, AuditEvent, AuditWriter, Detail, Id, Kind, Name
from daemon.database import schema as t

_EVENT_KINDS = {
    ReceiverEvent.ASSOCIATION_OPENED: Kind.ASSOCIATION_OPENED,
    ReceiverEvent.ASSOCIATION_RELEASED: Kind.ASSOCIATION_RELEASED,
    ReceiverEvent.ASSOCIATION_ABORTED: Kind.ASSOCIATION_ABORTED,
    ReceiverEvent.ASSOCIATION_REJECTED: Kind.ASSOCIATION_REJECTED,
    ReceiverEvent.CONNECTION_REFUSED: Kind.ASSOCIATION_REJECTED,
    ReceiverEvent.INSTANCE_REFUSED: Kind.INSTANCE_REFUSED,
}
_ENDED = {ReceiverEvent.ASSOCIATION_RELEASED: "released", ReceiverEvent.ASSOCIATION_ABORTED: "aborted"}


def insert_event(connection: sa.Connection, audit: AuditWriter, ref: ObjectRef, receipt: Receipt) -> None:
    """Have a row and an audit event for what a receiver left behind, and the association in the state that it tells."""
    if receipt.event is None:
        return
    connection.execute(sa.insert(t.intake_event).values(_event_row(ref, receipt)))
    if receipt.association_id and receipt.event in (ReceiverEvent.ASSOCIATION_OPENED, *_ENDED):
        ensure_association(connection, receipt.association_id, ref, receipt)
    if receipt.event in _ENDED:
        connection.execute(
            sa.update(t.association)
            .where(t.association.c.id == receipt.association_id)
            .values(
                state=_ENDED[receipt.event],
                closed_at=receipt.received_at,
                stored=receipt.stored,
                refused=receipt.refused,
            )
        )
    details: dict[str, Detail] = {
        "source": AETitle.claimed(receipt.calling_ae),
        "peer": _peer_name(receipt.peer_address),
        "status": receipt.status,
        "stored": receipt.stored,
        "refused": receipt.refused,
    }
    if receipt.association_id:
        details["association"] = Id(receipt.association_id)
    audit.record(connection, AuditEvent(_EVENT_KINDS[receipt.event], actor="receiver", details=details))


def ensure_association(connection: sa.Connection, association_id: str, ref: ObjectRef, receipt: Receipt) -> None:
    """Have a row for the association, open unless it is known to have ended: its opening may be indexed later than
    its instances.
    """
    known = connection.execute(sa.select(t.association.c.id).where(t.association.c.id == association_id)).first()
    if known is None:
        connection.execute(
            sa.insert(t.association).values(
                id=association_id,
                receiver_id=_receiver_of(ref),
                source=plain(receipt.calling_ae, 16),
                called=plain(receipt.called_ae, 16),
                peer=plain(receipt.peer_address, 64),
                state="open",
                opened_at=receipt.received_at,
                stored=0,
                refused=0,
            )
        )


def open_associations(receiver_id: str) -> sa.Select[tuple[str]]:
    """The ids of a receiver's associations that have not ended, as far as is known."""
    return sa.select(t.association.c.id).where(
        t.association.c.state == "open", t.association.c.receiver_id == receiver_id
    )


def mark_lost(connection: sa.Connection, audit: AuditWriter, receiver_id: str) -> None:
    """End the associations of a receiver that has died."""
    for association_id in connection.execute(open_associations(receiver_id)).scalars().all():
        connection.execute(
            sa.update(t.association)
            .where(t.association.c.id == association_id)
            .values(state="lost", closed_at=time.time())
        )
        details: dict[str, Detail] = {"association": Id(association_id)}
        audit.record(connection, AuditEvent(Kind.ASSOCIATION_LOST, actor="indexer", details=details))


def plain(text: str, length: int) -> str:
    """Text from a peer, cut to a column's length, without what a database refuses or a terminal obeys."""
    return "".join(character for character in text if character.isprintable())[:length]


def _event_row(ref: ObjectRef, receipt: Receipt) -> dict[str, object]:
    return {
        "id": ref.id,
        "at": receipt.received_at,
        "kind": receipt.event,
        "association_id": receipt.association_id or None,
        "source": plain(receipt.calling_ae, 16),
        "peer": plain(receipt.peer_address, 64),
        "status": receipt.status,
        "detail": plain(receipt.detail, 400),
    }


def _receiver_of(ref: ObjectRef) -> str:
    """The receiver whose intake the object lies in (`objects/<receiver>/<batch>`)."""
    return ref.folder.split("/")[1]


def _peer_name(address: str) -> Name:
    """The network address as the audit log takes it; a text that is no address is not repeated."""
    try:
        return Name(f"ip:{ip_address(address.partition('%')[0])}")
    except ValueError:
        return Name("ip:unknown")
