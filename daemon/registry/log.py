"""The log of inferences: a row for each answer about an instance, written with the result that it led to.

In the clear stand codes, versions and times. What was answered, and how sure the model was of it, is sealed under the
patient's key (of a model with one label, how sure it is says what it found), and input and instance are named by tags
under it, so that an erasure leaves counts and nothing else.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from adapters.keys import PatientEntry
from daemon.database import database_now
from daemon.database import schema as t
from daemon.vault import open_column, seal_column

_COLUMN: Final = "inference.answer"


@dataclass(frozen=True, slots=True)
class Run:
    """How the runtime came to an answer, as far as it told."""

    route: str | None
    precision: str | None
    batch_size: int
    queue_ms: float
    run_ms: float
    latency_ms: float
    cached: bool
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """One question to a model: about which instance (its de-identified UID), with which input, and what came of it.

    `scores` and `present` are by label: what the pipeline found in the answer, and which of it counts as present.
    Without them and without a `failure`, the kind of error, the gate has refused the input.
    """

    sop_instance_uid: str
    input_sha256: str
    run: Run | None = None
    scores: Mapping[str, float] | None = None
    present: Sequence[str] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What all rows of one step have in common."""

    revision_id: str
    patient: PatientEntry
    patient_id: str
    version_id: str
    experiment_id: str | None
    reported: bool


def record(connection: sa.Connection, about: About, logged: Sequence[Logged]) -> None:
    """Add rows in the caller's transaction."""
    for one in logged:
        connection.execute(sa.insert(t.inference).values(at=database_now(), **_row(about, one)))


def _row(about: About, logged: Logged) -> dict[str, Any]:
    row_id = str(uuid.uuid4())
    key = about.patient.subkey("inference")
    row: dict[str, Any] = {
        "id": row_id,
        "revision_id": about.revision_id,
        "patient_id": about.patient_id,
        "version_id": about.version_id,
        "experiment_id": about.experiment_id,
        "reported": about.reported,
        "instance_tag": _tag(key, "instance", logged.sop_instance_uid),
        "input_tag": _tag(key, "input", logged.input_sha256),
        "failure": logged.failure,
        "cached": False,
    }
    if logged.run is not None:
        row |= {name: getattr(logged.run, name) for name in Run.__dataclass_fields__}
    if logged.scores is not None:
        answer = {"scores": dict(logged.scores), "present": list(logged.present)}
        row["sealed_answer"] = seal_column(about.patient, _COLUMN, row_id, json.dumps(answer).encode())
    return row


def tag_anew(connection: sa.Connection, revisions: sa.Select[tuple[str]], former_id: str, to: PatientEntry) -> None:
    """Put the tags of the rows about a former patient's revisions under the key of whoever has them now, so that
    the former's key tells nothing of them. Equal ones stay equal.
    """
    key = to.subkey("inference")
    theirs = (t.inference.c.revision_id.in_(revisions), t.inference.c.patient_id == former_id)
    tagged = sa.select(t.inference.c.id, t.inference.c.instance_tag, t.inference.c.input_tag)
    for row in connection.execute(tagged.where(*theirs)).all():
        tags = {"instance_tag": _tag(key, "former", row.instance_tag), "input_tag": _tag(key, "former", row.input_tag)}
        connection.execute(sa.update(t.inference).where(t.inference.c.id == row.id).values(tags))


def open_answer(patient: PatientEntry, row_id: str, sealed: bytes) -> tuple[dict[str, float], frozenset[str]]:
    """The scores of a row's answer, and the labels that are present."""
    answer = json.loads(open_column(patient, _COLUMN, row_id, sealed))
    return answer["scores"], frozenset(answer["present"])


def _tag(key: bytes, what: str, value: str) -> str:
    return hmac.new(key, f"{what}/{value}".encode(), hashlib.sha256).hexdigest()
