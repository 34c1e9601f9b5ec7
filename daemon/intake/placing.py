"""Places an arrival in its study: which standing it gets, and which revision it joins, opens or holds (DESIGN §5).

What decides is tried in this order, and the first that holds gives the standing:

1. its Patient ID is a pseudonym that we gave → own result: a copy that we made for an archive, come back (it would be
   copied anew each time, and with retained UIDs hold its original's study);
2. the same UID and the same bytes were here before, and were not corrected → duplicate;
3. our own result → own result, whoever its patient is: what an archive says of it says nothing about images;
4. another patient's study, or a SOP Instance UID that counts in another study → conflict, the study is held; but if
   what corrects it was received later and is here already → corrected (`correcting` tells how a study gets its
   rightful patient);
5. named by a rejection note, before or after it → rejected;
6. the same UID is here with other pixels → conflict, held; with another identity → the later one corrects the earlier;
   with neither → variant, the first stays in use;
7. a kind that no pipeline wants → unselected; a rejection note → unselected, and what it names is rejected;
8. else → current: part of the study's open revision, or of a new one.

Runs inside the indexer's transaction and does nothing outside it.
"""

import uuid
from dataclasses import dataclass
from time import time
from typing import Any, Final

import sqlalchemy as sa

from daemon.audit import AETitle, AuditEvent, AuditWriter, Detail, Id, Kind
from daemon.database import CLOCK_TOLERANCE_SECONDS, database_now
from daemon.database import schema as t
from daemon.intake.arrival import Arrival, ArrivalKind
from daemon.states import MOVES, DeliveryState, RevisionState, Standing, move

TWO_PATIENTS: Final = "two patients in one study"
UID_IN_TWO_STUDIES: Final = "one SOP Instance UID in two studies"
NAMED_BY_A_NOTE = "named by a rejection note"
_OWN_COPY = "a copy made here for a destination has come back"
PIXELS_DIFFER: Final = "one SOP Instance UID with different pixels"


IN_USE: Final = (Standing.CURRENT, Standing.UNSELECTED)
"""What counts when an instance comes again."""

NOT_IT: Final = (Standing.CORRECTED, Standing.DUPLICATE)
"""What is not what comes again with the same bytes: what is a duplicate is one of something else that is here."""

_NOT_IN_IT: Final = (*NOT_IT, Standing.VARIANT, Standing.REJECTED_BY_OPERATOR)  # of another study: it has no claim
_KINDS = {
    Standing.CURRENT: Kind.INSTANCE_RECEIVED,
    Standing.UNSELECTED: Kind.INSTANCE_UNSELECTED,
    Standing.DUPLICATE: Kind.INSTANCE_DUPLICATE,
    Standing.VARIANT: Kind.INSTANCE_VARIANT,
    Standing.CONFLICT: Kind.INSTANCE_CONFLICT,
    Standing.OWN_RESULT: Kind.INSTANCE_OWN_RESULT,
    Standing.REJECTED: Kind.INSTANCE_REJECTED,
    Standing.CORRECTED: Kind.INSTANCE_CORRECTION,
}


@dataclass(frozen=True, slots=True)
class _Verdict:
    standing: Standing
    reason: str | None = None
    replaces: str | None = None  # id of the instance that this one corrects
    repeats: str | None = None  # id of the instance that it repeats under another patient


def place(connection: sa.Connection, audit: AuditWriter, arrival: Arrival) -> Standing:
    """Insert the arrival and everything that follows from it; gives the standing it got."""
    _ensure_patient(connection, audit, arrival)
    study_id, patient_id = _ensure_study(connection, arrival)
    verdict = _judge(connection, arrival, study_id, patient_id)
    connection.execute(sa.insert(t.instance).values(_instance_row(arrival, study_id, verdict)))
    if verdict.replaces:
        connection.execute(
            sa.update(t.instance)
            .where(t.instance.c.id == verdict.replaces)
            .values(standing=Standing.CORRECTED, reason="replaced by a correction of its identity")
        )
        _correct(connection, arrival, study_id)
        _note(connection, audit, Kind.INSTANCE_CORRECTION, arrival, verdict.replaces)
    if verdict.standing is Standing.CONFLICT:
        reason = verdict.reason or "contradiction"
        hold(connection, audit, study_id, reason, arrival.priority, arrival.received_at)
    elif verdict.standing is Standing.CURRENT:
        _join(connection, audit, arrival, study_id)
    elif arrival.kind is ArrivalKind.REJECTION_NOTE and verdict.standing is Standing.UNSELECTED:
        _reject(connection, audit, arrival, study_id)
    audit.record(
        connection,
        AuditEvent(
            _KINDS[verdict.standing],
            actor="indexer",
            subject=arrival.patient.audit_tag,
            details={
                "instance": Id(arrival.instance_id),
                "study": Id(study_id),
                "source": AETitle.claimed(arrival.source),
                "association": Id(arrival.association_id),
            },
        ),
    )
    return verdict.standing


def _ensure_patient(connection: sa.Connection, audit: AuditWriter, arrival: Arrival) -> None:
    patient = arrival.patient
    known = connection.execute(sa.select(t.patient.c.id).where(t.patient.c.id == patient.id)).first()
    if known is None:
        connection.execute(
            sa.insert(t.patient).values(
                id=patient.id,
                scope_tag=patient.scope_tag,
                pseudonym=patient.pseudonym,
                audit_tag=patient.audit_tag,
                sealed_identity=patient.sealed_identity,
                created_at=database_now(),
            )
        )
        audit.record(connection, AuditEvent(Kind.PATIENT_CREATED, actor="indexer", subject=patient.audit_tag))


def _ensure_study(connection: sa.Connection, arrival: Arrival) -> tuple[str, str]:
    """The study's id and the id of the patient it belongs to."""
    known = connection.execute(
        sa.select(t.study.c.id, t.study.c.patient_id)
        .where(t.study.c.uid_tag == arrival.study_uid_tag)
        .with_for_update()  # whoever changes a study's revisions holds its row
    ).first()
    if known is not None:
        if known.patient_id == arrival.patient.id or not _says_first_whose_it_is(connection, arrival, known.id):
            return known.id, known.patient_id
        connection.execute(
            sa.update(t.study)
            .where(t.study.c.id == known.id)
            .values(
                patient_id=arrival.patient.id,
                sealed_description=arrival.sealed_description,
                accession_tag=arrival.accession_tag,
            )
        )
        return known.id, arrival.patient.id
    study_id = str(uuid.uuid4())
    connection.execute(
        sa.insert(t.study).values(
            id=study_id,
            patient_id=arrival.patient.id,
            uid_tag=arrival.study_uid_tag,
            accession_tag=arrival.accession_tag,
            sealed_description=arrival.sealed_description,
            source=arrival.source,
            created_at=database_now(),
        )
    )
    return study_id, arrival.patient.id


def _says_first_whose_it_is(connection: sa.Connection, arrival: Arrival, study_id: str) -> bool:
    """Whether the study has nothing yet but our own results, which say nothing of that; nor is the arrival one."""
    said = sa.select(t.instance.c.id).where(
        t.instance.c.study_id == study_id, t.instance.c.standing.not_in((Standing.OWN_RESULT, Standing.DUPLICATE))
    )
    return arrival.kind is not ArrivalKind.OWN_RESULT and connection.execute(said.limit(1)).first() is None


def _judge(connection: sa.Connection, arrival: Arrival, study_id: str, patient_id: str) -> _Verdict:
    """The standing, by the order in the module's docstring."""
    if arrival.is_own_copy or (arrival.pseudonym is not None and _is_ours(connection, arrival.pseudonym)):
        return _Verdict(Standing.OWN_RESULT, _OWN_COPY)
    twins = connection.execute(sa.select(t.instance).where(t.instance.c.uid_tag == arrival.uid_tag)).all()
    if any(twin.content_tag == arrival.content_tag and twin.standing not in NOT_IT for twin in twins):
        return _Verdict(Standing.DUPLICATE)
    if arrival.kind is ArrivalKind.OWN_RESULT:
        return _Verdict(Standing.OWN_RESULT)
    if patient_id != arrival.patient.id:
        return _of_another_patient(arrival, [twin for twin in twins if twin.study_id == study_id])
    if any(twin.study_id != study_id and twin.standing not in _NOT_IN_IT for twin in twins):
        return _Verdict(Standing.CONFLICT, UID_IN_TWO_STUDIES)
    if is_named_by_a_note(connection, study_id, arrival.uid_tag):
        return _Verdict(Standing.REJECTED, NAMED_BY_A_NOTE)
    in_use = [twin for twin in twins if twin.standing in IN_USE]
    if any(twin.pixel_tag != arrival.pixel_tag and twin.id not in arrival.same_pixels for twin in in_use):
        return _Verdict(Standing.CONFLICT, PIXELS_DIFFER)
    wanted = Standing.CURRENT if arrival.kind is ArrivalKind.IMAGE else Standing.UNSELECTED
    for twin in in_use:
        if twin.identity_tag != arrival.identity_tag:
            if _came_before(arrival, twin):  # indexed later, but received before
                return _Verdict(Standing.CORRECTED, "a later correction of its identity is here")
            return _Verdict(wanted, replaces=twin.id)
        return _Verdict(Standing.VARIANT)
    return _Verdict(wanted)


def _of_another_patient(arrival: Arrival, twins: list[sa.Row[Any]]) -> _Verdict:
    same = [
        twin
        for twin in twins
        if twin.standing in IN_USE and twin.series_tag == arrival.series_tag and twin.id in arrival.same_pixels
    ]
    if any(_came_before(arrival, twin) for twin in same):  # indexed later, but received before
        return _Verdict(Standing.CORRECTED, "a later correction of its patient is here")
    corrects = same and not arrival.names_nobody  # what names nobody says nothing against a patient who was named
    return _Verdict(Standing.CONFLICT, TWO_PATIENTS, repeats=same[0].id if corrects else None)


def _came_before(arrival: Arrival, twin: sa.Row[Any]) -> bool:
    """Whether it was received before what is here. What seems to come from the future was received before the clock
    was set back: so before all that does not.
    """
    now = time() + CLOCK_TOLERANCE_SECONDS
    return (arrival.received_at <= now, arrival.received_at) < (twin.received_at <= now, twin.received_at)


def _is_ours(connection: sa.Connection, pseudonym: str) -> bool:
    """Whether it is that of a patient whom another host has made since this one looked at the key store."""
    known = sa.select(t.patient.c.id).where(t.patient.c.pseudonym == pseudonym)
    return connection.execute(known).first() is not None


def _instance_row(arrival: Arrival, study_id: str, verdict: _Verdict) -> dict[str, object]:
    return {
        "id": arrival.instance_id,
        "object_ref": arrival.object_ref,
        "study_id": study_id,
        "patient_id": arrival.patient.id,
        "association_id": arrival.association_id,
        "uid_tag": arrival.uid_tag,
        "series_tag": arrival.series_tag,
        "sop_class_uid": arrival.sop_class_uid,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "modality": arrival.modality,
        "sealed_identity": arrival.sealed_identity,
        "standing": verdict.standing,
        "reason": verdict.reason,
        "repeats": verdict.repeats,
        "content_tag": arrival.content_tag,
        "identity_tag": arrival.identity_tag,
        "pixel_tag": arrival.pixel_tag,
        "byte_length": arrival.byte_length,
        "received_at": arrival.received_at,
    }


def _join(connection: sa.Connection, audit: AuditWriter, arrival: Arrival, study_id: str) -> None:
    """Let the study's open revision take the arrival in; open one if there is none."""
    revision_id = open_revision_of(connection, study_id)
    if revision_id is None:
        begin_revision(connection, audit, study_id, arrival.priority, arrival.received_at)
        revision_id = open_revision_of(connection, study_id)
    changes: dict[str, object] = {
        "last_instance_at": _later(arrival.received_at),
        "priority": sa.case((t.revision.c.priority > arrival.priority, arrival.priority), else_=t.revision.c.priority),
        "updated_at": database_now(),
    }
    if arrival.expected_instances is not None:
        changes["expected_instances"] = arrival.expected_instances
    connection.execute(sa.update(t.revision).where(t.revision.c.id == revision_id).values(changes))


def hold(
    connection: sa.Connection,
    audit: AuditWriter,
    study_id: str,
    reason: str,
    priority: int,
    at: float,
    actor: str = "indexer",
) -> str:
    """Hold the study until it is settled: nothing more of it is processed or sent. Gives the id of the held revision.

    `at` is when the instance was received that contradicts it.
    """
    if reason == TWO_PATIENTS:
        reason += _how_much_came_again(connection, study_id) + _whether_sources_differ(connection, study_id)
    revision = connection.execute(
        sa.select(t.revision.c.id, t.revision.c.state).where(
            t.revision.c.study_id == study_id, t.revision.c.closed_at.is_(None), t.revision.c.state.in_(_OPEN)
        )
    ).first()
    if revision is None:
        return begin_revision(connection, audit, study_id, priority, at, RevisionState.HELD, reason=reason, actor=actor)
    if revision.state == RevisionState.ASSEMBLING:
        move(connection, audit, revision.id, RevisionState.HELD, reason=reason, actor=actor)
    values: dict[str, object] = {"last_instance_at": _later(at), "updated_at": database_now()}
    if reason.startswith(TWO_PATIENTS):
        values["reason"] = reason
    connection.execute(sa.update(t.revision).where(t.revision.c.id == revision.id).values(values))
    return str(revision.id)


def _how_much_came_again(connection: sa.Connection, study_id: str) -> str:
    """How the reason goes on where a correction of the patient seems to be under way."""
    of_study = t.instance.c.study_id == study_id
    in_use = sa.select(sa.func.count()).select_from(t.instance).where(of_study, t.instance.c.standing.in_(IN_USE))
    again = sa.select(sa.func.count(t.instance.c.repeats.distinct())).where(
        of_study, t.instance.c.standing == Standing.CONFLICT
    )
    number, of = connection.execute(again).scalar_one(), connection.execute(in_use).scalar_one()
    return f"; it seems to be corrected: {number} of {of} instances came again under the other one" if number else ""


def _whether_sources_differ(connection: sa.Connection, study_id: str) -> str:
    """How the reason goes on where it may be one patient whom two sources' settings give two issuers."""
    sources = (
        sa.select(sa.func.count(t.association.c.source.distinct()))
        .join(t.instance, t.instance.c.association_id == t.association.c.id)
        .where(t.instance.c.study_id == study_id, t.instance.c.standing.in_((*IN_USE, Standing.CONFLICT)))
    )
    if connection.execute(sources).scalar_one() < 2:
        return ""
    return "; it came from several sources: if it is one patient, let them have one `issuer` in [[sources]]"


def _later(at: float) -> sa.Case[float]:
    """The value for `last_instance_at` when something arrives."""
    return sa.case((t.revision.c.last_instance_at < at, at), else_=t.revision.c.last_instance_at)


def _reject(connection: sa.Connection, audit: AuditWriter, arrival: Arrival, study_id: str) -> None:
    """Take back what a rejection note names, now and when it comes later, and make a revision without it (IHE IOCM)."""
    known = connection.execute(sa.select(t.rejected_uid.c.uid_tag).where(t.rejected_uid.c.study_id == study_id))
    new = set(arrival.rejected_uid_tags) - set(known.scalars())
    if new:
        connection.execute(sa.insert(t.rejected_uid), [{"study_id": study_id, "uid_tag": tag} for tag in sorted(new)])
    taken_back = connection.execute(
        sa.update(t.instance)
        .where(
            t.instance.c.study_id == study_id,
            t.instance.c.standing == Standing.CURRENT,
            t.instance.c.uid_tag.in_(arrival.rejected_uid_tags),
        )
        .values(standing=Standing.REJECTED, reason=NAMED_BY_A_NOTE)
        .returning(t.instance.c.id)
    )
    rejected = taken_back.scalars().all()
    for instance_id in rejected:
        _note(connection, audit, Kind.INSTANCE_REJECTED, arrival, instance_id)
    if rejected:
        _join(connection, audit, arrival, study_id)


def is_named_by_a_note(connection: sa.Connection, study_id: str, uid_tag: str) -> bool:
    """Whether a rejection note has named the instance, before or after it came."""
    named = sa.select(t.rejected_uid.c.uid_tag).where(
        t.rejected_uid.c.study_id == study_id, t.rejected_uid.c.uid_tag == uid_tag
    )
    return connection.execute(named).first() is not None


def _correct(connection: sa.Connection, arrival: Arrival, study_id: str) -> None:
    """Let study and patient be called what the correction calls them."""
    connection.execute(
        sa.update(t.study)
        .where(t.study.c.id == study_id)
        .values(sealed_description=arrival.sealed_description, accession_tag=arrival.accession_tag)
    )
    connection.execute(
        sa.update(t.patient)
        .where(t.patient.c.id == arrival.patient.id)
        .values(sealed_identity=arrival.patient.sealed_identity)
    )


def _note(connection: sa.Connection, audit: AuditWriter, kind: Kind, arrival: Arrival, instance_id: str) -> None:
    """Record what an arrival did to another instance."""
    details: dict[str, Detail] = {"instance": Id(instance_id), "by": Id(arrival.instance_id)}
    audit.record(connection, AuditEvent(kind, actor="indexer", subject=arrival.patient.audit_tag, details=details))


_OPEN = (RevisionState.ASSEMBLING, RevisionState.HELD)


def open_revision_of(connection: sa.Connection, study_id: str) -> str | None:
    """The revision of the study that still takes instances in, held or not; None if there is none."""
    return connection.execute(
        sa.select(t.revision.c.id)
        .where(t.revision.c.study_id == study_id, t.revision.c.closed_at.is_(None), t.revision.c.state.in_(_OPEN))
        .order_by(t.revision.c.number.desc())
    ).scalar()


def begin_revision(
    connection: sa.Connection,
    audit: AuditWriter,
    study_id: str,
    priority: int,
    at: float,
    state: RevisionState = RevisionState.ASSEMBLING,
    *,
    reason: str | None = None,
    actor: str = "indexer",
) -> str:
    """Begin the study's next revision; those before it that have not been sent are superseded. Gives its id."""
    supersede_unsent(connection, audit, study_id, actor)
    return add_revision(connection, audit, study_id, priority, at, state, reason=reason, actor=actor)


def add_revision(
    connection: sa.Connection,
    audit: AuditWriter,
    study_id: str,
    priority: int,
    at: float,
    state: RevisionState,
    *,
    reason: str | None = None,
    actor: str,
    former_patient_id: str | None = None,
) -> str:
    """Add a revision and touch no other; with a former patient, one that is about that patient. Gives its id."""
    number = connection.execute(
        sa.select(sa.func.coalesce(sa.func.max(t.revision.c.number), 0)).where(t.revision.c.study_id == study_id)
    ).scalar_one()
    revision_id = str(uuid.uuid4())
    connection.execute(
        sa.insert(t.revision).values(
            id=revision_id,
            study_id=study_id,
            number=number + 1,
            former_patient_id=former_patient_id,
            state=state,
            reason=reason,
            priority=priority,
            forced=False,
            opened_at=at,
            last_instance_at=at,
            closed_at=None if former_patient_id is None else database_now(),  # it takes nothing in
            updated_at=database_now(),
        )
    )
    subject = connection.execute(
        sa.select(t.patient.c.audit_tag)
        .join(t.study, t.patient.c.id == sa.func.coalesce(former_patient_id, t.study.c.patient_id))
        .where(t.study.c.id == study_id)
    ).scalar_one()
    details = {"revision": Id(revision_id), "study": Id(study_id), "number": number + 1, "after": state}
    audit.record(connection, AuditEvent(Kind.REVISION_OPENED, actor=actor, subject=subject, details=details))
    return revision_id


def supersede_unsent(connection: sa.Connection, audit: AuditWriter, study_id: str, actor: str) -> None:
    """Stop the study's earlier revisions where nothing of them is on its way to a destination, but not those that take
    back what was sent about a former patient.
    """
    # Locked first and looked at then, in a statement of its own: a step that ends now, or a delivery that begins, holds
    # its revision's row, and what it has done must be seen.
    connection.execute(sa.select(t.revision.c.id).where(t.revision.c.study_id == study_id).with_for_update()).all()
    sending = sa.select(t.delivery.c.revision_id).where(t.delivery.c.state == DeliveryState.SENDING)
    earlier = connection.execute(
        sa.select(t.revision.c.id).where(
            t.revision.c.study_id == study_id,
            t.revision.c.former_patient_id.is_(None),
            t.revision.c.state.in_(MOVES[RevisionState.SUPERSEDED]),
            t.revision.c.id.not_in(sending),
        )
    ).scalars()
    for revision_id in earlier.all():
        connection.execute(
            sa.update(t.delivery)
            .where(
                t.delivery.c.revision_id == revision_id,
                t.delivery.c.state.in_((DeliveryState.PENDING, DeliveryState.PREPARED, DeliveryState.HELD)),
            )
            .values(
                state=DeliveryState.SUPERSEDED,
                # What a person had to see to there, and nobody has seen to, the next one tells again.
                status=sa.case((t.delivery.c.state != DeliveryState.HELD, t.delivery.c.status)),
                updated_at=database_now(),
            )
        )
        move(
            connection, audit, revision_id, RevisionState.SUPERSEDED, reason="a newer revision replaces it", actor=actor
        )
