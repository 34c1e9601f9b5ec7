"""Arrivals that no object stands behind, for what only looks at rows."""

import itertools
import uuid
from dataclasses import replace
from typing import Any

from daemon.intake.arrival import Arrival, ArrivalKind, PatientKeyed

_numbers = itertools.count(1)


def patient(name: str) -> PatientKeyed:
    number = uuid.uuid5(uuid.NAMESPACE_URL, name).hex
    return PatientKeyed(number, f"scope {name}", f"KP-{name}", number, b"sealed")


def arrival(uid: str = "one", study: str = "study", **changes: Any) -> Arrival:
    """An image of patient A; each is another object, received a second later. `changes` are attributes of it."""
    number = next(_numbers)
    made = Arrival(
        instance_id=uuid.uuid4().hex,
        object_ref=f"objects/r/00000000/{number}",
        kind=ArrivalKind.IMAGE,
        patient=patient("A"),
        association_id=uuid.uuid4().hex,
        source="CT1",
        received_at=1000.0 + number,
        uid_tag=uid,
        study_uid_tag=study,
        series_tag="series",
        accession_tag=None,
        sealed_description=b"sealed",
        sealed_identity=b"sealed",
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        content_tag=f"content of {uid}",
        identity_tag="identity",
        pixel_tag=f"pixels of {uid}",
        byte_length=10,
        priority=10,
        expected_instances=None,
    )
    return replace(made, **changes)
