"""What a person can decide about a study that contradicts itself: that what was there first is right, or what came
later. Shows no value.
"""

import time
from typing import Any, Final

import sqlalchemy as sa

from adapters.keys import KeyDestroyed, KeyStoreError
from adapters.storage import StoreError
from anonymize import MalformedDataSet
from daemon.audit import AuditEvent, Detail, Id, Kind
from daemon.control.errors import CommandFailed, no_such_study
from daemon.control.processing import process_again
from daemon.control.quarantine import REJECTED
from daemon.database import schema as t
from daemon.intake import Contradiction, Reader, Settlement, StudyChanged, contradiction_of, lock
from daemon.intake.placing import IN_USE, begin_revision
from daemon.node import Node
from daemon.states import RevisionState, Standing

_HELD: Final = 3
_THIRD_PATIENT: Final = (
    "instances of three patients or more are in this study; have what does not belong to it sent under its own study"
)


def studies_keep(node: Node, actor: str, study: str) -> dict[str, Any]:
    """Decide that what was in the study first is right: what contradicts it is set aside, and the study goes on."""

    def work(connection: sa.Connection) -> dict[str, Any]:
        lock(connection, study)
        found = _decidable(connection, study)
        ids = [row.id for row in found.conflicts]
        for row in found.conflicts:
            reason = f"{REJECTED}: {row.reason}"[:400]
            change = sa.update(t.instance).where(t.instance.c.id == row.id)
            connection.execute(change.values(standing=Standing.REJECTED_BY_OPERATOR, reason=reason, repeats=None))
        newest = sa.select(t.revision.c.priority).where(t.revision.c.study_id == study)
        priority = connection.execute(newest.order_by(t.revision.c.number.desc()).limit(1)).scalar_one()
        last = max((row.received_at for row in (*found.in_use, *found.conflicts)), default=time.time())
        revision = begin_revision(connection, node.audit, study, priority, last, actor=actor)
        _record(connection, node, Kind.CONTRADICTION_KEPT, actor, found, found.patient_id)
        return {"study": study, "revision": revision, "set_aside": ids}

    return node.database.retrying(work)


def studies_correct(node: Node, actor: str, study: str) -> dict[str, Any]:
    """Decide that what came later is right: it takes the place of what was there, and the study becomes the patient's
    whom it says.
    """
    with node.database.read() as connection:
        found = _decidable(connection, study)
    try:
        settlement = Settlement.prepare(node, Reader.of(node), found, actor)
    except KeyDestroyed:
        raise CommandFailed(
            "the key of one of the two patients was destroyed; what it sealed is erased", _HELD
        ) from None
    except (StoreError, KeyStoreError, MalformedDataSet, OSError) as error:
        raise CommandFailed(
            f"an object of this study cannot be read now ({type(error).__name__}); see the log"
        ) from None

    def work(connection: sa.Connection) -> dict[str, Any]:
        lock(connection, study, *_other_studies(found))
        for other in _other_studies(found):
            _refuse_if_held(connection, other)
        revision = settlement.apply(connection)
        for other in _other_studies(found):
            process_again(connection, node, actor, other, "an instance was given to another study", may_be_empty=True)
        _record(connection, node, Kind.CONTRADICTION_CORRECTED, actor, found, settlement.rightful.id)
        return {"study": study, "revision": revision, "moved": len(settlement.pixel_tags)}

    try:
        return node.database.retrying(work)
    except StudyChanged:
        raise CommandFailed("the study has changed just now; look at it again", _HELD) from None


def _decidable(connection: sa.Connection, study: str) -> Contradiction:
    found = contradiction_of(connection, study)
    if found is None:
        if connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study)).first() is None:
            raise no_such_study()
        raise CommandFailed("nothing contradicts this study, so there is nothing to decide; see `kopru studies show`")
    patients = {found.patient_id, *(row.patient_id for row in (*found.in_use, *found.conflicts, *found.elsewhere))}
    if len(patients) > 2 or len(found.others) > 1:
        raise CommandFailed(_THIRD_PATIENT, _HELD)
    return found


def _other_studies(found: Contradiction) -> list[str]:
    """The studies that lose an instance if the later one is right."""
    return sorted(
        {row.study_id for row in found.elsewhere if row.study_id != found.study_id and row.standing in IN_USE}
    )


def _refuse_if_held(connection: sa.Connection, study: str) -> None:
    state = connection.execute(
        sa.select(t.revision.c.state).where(t.revision.c.study_id == study).order_by(t.revision.c.number.desc())
    ).scalar()
    if state == RevisionState.HELD:
        raise CommandFailed(f"study {study}, which has the same instance, is held, too; settle that one first", _HELD)


def _record(connection: sa.Connection, node: Node, kind: Kind, actor: str, found: Contradiction, rightful: str) -> None:
    """With the audit tags of all patients concerned."""
    tags = dict(
        connection.execute(
            sa.select(t.patient.c.id, t.patient.c.audit_tag).where(
                t.patient.c.id.in_({found.patient_id, *found.others})
            )
        )
        .tuples()
        .all()
    )
    subject = tags.pop(rightful)
    details: dict[str, Detail] = {"study": Id(found.study_id), "instances": len(found.conflicts)}
    for tag in tags.values():  # one at most
        details["other"] = Id(tag)
    node.audit.record(connection, AuditEvent(kind, actor=actor, subject=subject, details=details))
