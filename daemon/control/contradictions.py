"""What a person can decide about a study that contradicts itself: that what was there first is right, or what came
later. Shows no value.
"""

import time
from collections.abc import Iterable
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
_WHICH_PATIENT: Final = (
    "instances of {} other patients contradict this study; see `kopru studies show`, and say whose it is with"
    " `kopru studies correct STUDY --to INSTANCE`, or set them all aside with `kopru studies keep STUDY`"
)


def studies_keep(node: Node, actor: str, study: str) -> dict[str, Any]:
    """Decide that what was in the study first is right: what contradicts it is set aside, however many patients it
    says, and the study goes on.
    """

    def work(connection: sa.Connection) -> dict[str, Any]:
        lock(connection, study)
        found = _contradiction(connection, study)
        _set_aside(connection, found.conflicts)
        newest = sa.select(t.revision.c.priority).where(t.revision.c.study_id == study)
        priority = connection.execute(newest.order_by(t.revision.c.number.desc()).limit(1)).scalar_one()
        last = max((row.received_at for row in (*found.in_use, *found.conflicts)), default=time.time())
        revision = begin_revision(connection, node.audit, study, priority, last, actor=actor)
        _record(connection, node, Kind.CONTRADICTION_KEPT, actor, found, found.patient_id)
        return {"study": study, "revision": revision, "set_aside": [row.id for row in found.conflicts]}

    return node.database.retrying(work)


def studies_correct(node: Node, actor: str, study: str, to: str | None = None) -> dict[str, Any]:
    """Decide that what came later is right: it takes the place of what was there, and the study becomes the patient's
    whom it says. `to` is an instance that says this patient: what others say is set aside. Where it says several, one
    must be named.
    """
    with node.database.read() as connection:
        every = _contradiction(connection, study)
        found = _decided(connection, every, to)
    counts = {row.id for row in found.conflicts}
    aside = [row for row in every.conflicts if row.id not in counts]
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
        if not every.is_as(contradiction_of(connection, study)):
            raise StudyChanged
        for other in _other_studies(found):
            _refuse_if_held(connection, other)
        _set_aside(connection, aside)
        revision = settlement.apply(connection)
        for other in _other_studies(found):
            process_again(connection, node, actor, other, "an instance was given to another study", may_be_empty=True)
        _record(connection, node, Kind.CONTRADICTION_CORRECTED, actor, every, settlement.rightful.id)
        moved = len(settlement.pixel_tags)
        return {"study": study, "revision": revision, "moved": moved, "set_aside": [row.id for row in aside]}

    try:
        return node.database.retrying(work)
    except StudyChanged:
        raise CommandFailed("the study has changed just now; look at it again", _HELD) from None


def _contradiction(connection: sa.Connection, study: str) -> Contradiction:
    found = contradiction_of(connection, study)
    if found is None:
        if connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study)).first() is None:
            raise no_such_study()
        raise CommandFailed("nothing contradicts this study, so there is nothing to decide; see `kopru studies show`")
    return found


def _decided(connection: sa.Connection, every: Contradiction, to: str | None) -> Contradiction:
    """What counts of a contradiction: all of it, or only what says the patient whom the instance `to` says."""
    if to is None:
        if len(every.others) > 1:
            raise CommandFailed(_WHICH_PATIENT.format(len(every.others)), _HELD)
        return every
    patient = next((row.patient_id for row in every.conflicts if row.id == to), None)
    found = patient and contradiction_of(connection, every.study_id, patient)
    if not found:
        raise CommandFailed(
            "no such instance contradicts this study; `kopru studies show` lists those that do as `conflict`"
        )
    return found


def _set_aside(connection: sa.Connection, conflicts: Iterable[sa.Row[Any]]) -> None:
    """Let instances contradict their study no more; they stay stored and listed, and can be restored."""
    for row in conflicts:
        reason = f"{REJECTED}: {row.reason}"[:400]
        change = sa.update(t.instance).where(t.instance.c.id == row.id)
        connection.execute(change.values(standing=Standing.REJECTED_BY_OPERATOR, reason=reason, repeats=None))


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
    """An event for each other patient concerned, so that each is named by the audit tag, however many there are."""
    patients = sa.select(t.patient.c.id, t.patient.c.audit_tag).where(t.patient.c.id.in_(found.concerned))
    tags = dict(connection.execute(patients).tuples().all())
    subject = tags.pop(rightful)
    details: dict[str, Detail] = {"study": Id(found.study_id), "instances": len(found.conflicts)}
    others: list[dict[str, Detail]] = [{"other": Id(tag)} for tag in sorted(tags.values())]
    events = (AuditEvent(kind, actor=actor, subject=subject, details=details | other) for other in others or [{}])
    node.audit.record(connection, *events)
