"""What is known of an object besides its bytes: sealed in its first chunk, so that the index can be rebuilt."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum, unique
from typing import Any


@unique
class ReceiptKind(StrEnum):
    """What an object holds."""

    INSTANCE = "instance"  # one received data set, byte for byte
    EVENT = "event"  # something that happened at the receiver; no data
    DERIVED = "derived"  # something that we made, under a patient's key


@unique
class EventKind(StrEnum):
    """What happened at the receiver. The values are stable: they are stored and audited."""

    ASSOCIATION_OPENED = "association-opened"
    ASSOCIATION_RELEASED = "association-released"
    ASSOCIATION_ABORTED = "association-aborted"  # by either side, or by the loss of the connection
    ASSOCIATION_REJECTED = "association-rejected"
    CONNECTION_REFUSED = "connection-refused"  # what came was not an association request
    INSTANCE_REFUSED = "instance-refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an object came from. `received_at` is UTC epoch seconds; unknown texts are empty.

    For `INSTANCE`, the UIDs are those of the C-STORE request (PS3.7 9.3.1.1), compared with the data set, and of the
    presentation context; `high_priority` is the sender's wish. For `EVENT`, `event` says what happened, `status` is
    the DIMSE status of a refused instance (PS3.7 Annex C), `detail` a sentence without data, `stored` and `refused`
    count the instances of an association that ended.
    """

    kind: ReceiptKind
    received_at: float
    association_id: str = ""
    calling_ae: str = ""
    called_ae: str = ""
    peer_address: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = field(default="", repr=False)
    transfer_syntax_uid: str = ""
    high_priority: bool = False
    event: EventKind | None = None
    status: int | None = None
    detail: str = ""
    stored: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        if (self.kind is ReceiptKind.EVENT) != (self.event is not None):
            raise ValueError("an event's receipt, and no other, says which event")

    def to_json(self) -> bytes:
        """Canonical JSON, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt":
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(data)
        event = raw.pop("event")
        return cls(**{**raw, "kind": ReceiptKind(raw["kind"])}, event=None if event is None else EventKind(event))
