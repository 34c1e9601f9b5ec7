"""Settles a study that contradicts itself: gives it to its rightful patient, takes back what was sent about another.

What is clear is settled by itself: every instance in use has come again, later, under one other patient, with the same
UIDs and the same image, and it is quiet as at a study's end. So an administrator's correction of a Patient ID arrives.
Nothing else is: not a part, not a third patient, not a placeholder for one, not a patient whom the study had before
(an archive may send what was corrected once more), not one whom a person has decided against. Then a person
decides (`daemon.control.contradictions`).

What a transaction of `Settlement.apply` does, in this order, all of it or nothing:

1. revisions that were not sent are superseded; of those that are being sent, all deliveries but those in flight;
2. where the patient changes: all revisions so far are about the former one; rows are sealed under the rightful key;
3. for each report that a destination has or may have, a revision that takes it back, with its task (`steps.withdraw`);
4. what was in use and came again is replaced; what came is placed anew, into a new revision that closes as usual.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import sqlalchemy as sa
import structlog

from adapters.keys import KeyStoreError, PatientEntry
from adapters.storage import ObjectDamaged, ObjectMissing, ObjectRef, StoreError
from anonymize import MalformedDataSet, read_header
from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind
from daemon.database import database_now
from daemon.database import schema as t
from daemon.intake.arrival import Arrival
from daemon.intake.closing import Write, decide, facts
from daemon.intake.placing import IN_USE, add_revision, begin_revision, place, supersede_unsent
from daemon.intake.reading import Reader, pixel_tag
from daemon.node import Node
from daemon.queue import Priority
from daemon.registry.log import tag_anew
from daemon.states import DeliveryState, RevisionState, Standing
from daemon.vault import CORRECTION, IDENTITY, corrected_identity, sealed_anew

WITHDRAW: Final = "withdraw"
HAND_OVER: Final = "hand-over"
"""Kinds of the tasks that follow."""

A_LATER_ONE: Final = "a later one is right"
PATIENT_CORRECTED: Final = "the patient of its study was corrected"
_LONGEST_BACK_OFF_SECONDS: Final = 600.0
_MOST_DOUBLINGS: Final = 10  # after a week of failures, a float holds no more of them
_TAKES_BACK: Final = "takes back what was sent about the former patient"
_REJECTED: Final = (Standing.REJECTED, Standing.REJECTED_BY_OPERATOR)
_D = DeliveryState
_log = structlog.get_logger(__name__)


class StudyChanged(Exception):
    """What was looked at is not what there is any more: look again."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A study with instances that contradict it. Rows are of `instance`, oldest first."""

    study_id: str
    patient_id: str
    in_use: tuple[sa.Row[Any], ...]
    conflicts: tuple[sa.Row[Any], ...]
    ruled_out: frozenset[str]  # whose the study was held to be before, or whose a person has decided it is not
    elsewhere: tuple[sa.Row[Any], ...]  # what has a UID of `conflicts` and is no part of `in_use` or `conflicts`
    taken_out: tuple[sa.Row[Any], ...]  # what says the study's patient and was rejected, but may be needed again

    @property
    def others(self) -> frozenset[str]:
        """The patients, other than the study's, whom the contradicting instances say."""
        return frozenset(row.patient_id for row in self.conflicts) - {self.patient_id}

    @property
    def concerned(self) -> frozenset[str]:
        """All patients whom it is about: the study's, those whom its instances say, and whose has the same UIDs."""
        rows = (*self.in_use, *self.conflicts, *self.elsewhere)
        return frozenset({self.patient_id, *(row.patient_id for row in rows)})

    @property
    def clearly_of(self) -> str | None:
        """The patient whose the study has clearly become; None where a person must decide."""
        patients = {row.patient_id for row in self.conflicts}
        if len(patients) != 1 or patients & {self.patient_id, *self.ruled_out}:
            return None
        known = {row.uid_tag for row in (*self.in_use, *self.elsewhere)}
        if any(row.repeats is None and row.uid_tag in known for row in self.conflicts):
            return None  # another image under its UID, or one that is not in use or in another study
        again = {row.repeats: row.received_at for row in self.conflicts}
        if not self.in_use or any(again.get(row.id, 0.0) <= row.received_at for row in self.in_use):
            return None
        return str(next(iter(patients)))

    def is_as(self, other: "Contradiction | None") -> bool:
        """Whether nothing has changed since."""
        return other is not None and _ids(self) == _ids(other)


def _ids(found: Contradiction) -> tuple[object, ...]:
    return found.patient_id, *({row.id for row in rows} for rows in (found.in_use, found.conflicts, found.elsewhere))


def contradiction_of(connection: sa.Connection, study_id: str, by: str | None = None) -> Contradiction | None:
    """How the study contradicts itself; None if it does not, or is not there. With `by`, as if only what says this
    patient contradicted it, and what others say had been set aside.
    """
    patient_id = connection.execute(sa.select(t.study.c.patient_id).where(t.study.c.id == study_id)).scalar()
    mine = sa.select(t.instance).where(t.instance.c.study_id == study_id)
    in_order = (t.instance.c.received_at, t.instance.c.id)
    against = connection.execute(mine.where(t.instance.c.standing == Standing.CONFLICT).order_by(*in_order)).all()
    conflicts = [row for row in against if by in (None, row.patient_id)]
    if patient_id is None or not conflicts:
        return None
    in_use = connection.execute(mine.where(t.instance.c.standing.in_(IN_USE)).order_by(*in_order)).all()
    known = {row.id for row in (*in_use, *against)}
    rejected = mine.where(t.instance.c.standing.in_(_REJECTED), t.instance.c.patient_id == patient_id)
    taken_out = [row for row in against if row not in conflicts and row.patient_id == patient_id]
    taken_out += connection.execute(rejected.order_by(*in_order)).all()
    twins = sa.select(t.instance).where(t.instance.c.uid_tag.in_({row.uid_tag for row in conflicts}))
    not_counted = (Standing.DUPLICATE, Standing.CORRECTED, Standing.REJECTED_BY_OPERATOR)
    elsewhere = connection.execute(twins.where(t.instance.c.standing.not_in(not_counted)).order_by(*in_order)).all()
    earlier = sa.select(t.revision.c.former_patient_id).where(
        t.revision.c.study_id == study_id, t.revision.c.former_patient_id.is_not(None)
    )
    set_aside = sa.select(t.instance.c.patient_id).where(
        t.instance.c.study_id == study_id, t.instance.c.standing == Standing.REJECTED_BY_OPERATOR
    )
    return Contradiction(
        study_id,
        patient_id,
        tuple(in_use),
        tuple(conflicts),
        frozenset(connection.execute(sa.union(earlier, set_aside)).scalars()),
        tuple(row for row in elsewhere if row.id not in known),
        tuple(taken_out),
    )


class Corrections:
    """Corrects the patient of each study where that is clear and quiet. Used by one thread, the indexer's.

    One that fails (an object or a key that cannot be read) leaves its study held and keeps no other from going on. It
    is tried again, each time after twice as long.
    """

    def __init__(self, node: Node, reader: Reader) -> None:
        self._node, self._reader = node, reader
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}  # by the monotonic clock

    def make_due(
        self, write: Write, beat: Callable[[], object], indexed_until: float, waiting: Collection[str] = ()
    ) -> None:
        """Correct what is due. `beat` is called often; `waiting`: see `close_due`."""
        is_again = sa.and_(t.instance.c.standing == Standing.CONFLICT, t.instance.c.repeats.is_not(None))
        held = (
            sa.select(t.revision.c.id, t.revision.c.study_id, t.study.c.source, t.study.c.uid_tag)
            .join(t.study, t.study.c.id == t.revision.c.study_id)
            .where(
                t.revision.c.state == RevisionState.HELD,
                t.revision.c.closed_at.is_(None),
                sa.exists().where(t.instance.c.study_id == t.study.c.id, is_again),
            )
        )
        with self._node.database.read() as connection:
            candidates = connection.execute(held).all()
        for revision_id, study_id, source, uid_tag in candidates:
            if uid_tag in waiting or monotonic() < self._not_before.get(study_id, 0.0):
                continue
            with self._node.database.read() as connection:
                found = contradiction_of(connection, study_id)
                known = facts(connection, revision_id, study_id, indexed_until)
            if found and found.clearly_of and decide(known, self._node.settings.source_for(source)):
                self._correct(found, write, beat)

    def _correct(self, found: Contradiction, write: Write, beat: Callable[[], object]) -> None:
        study = found.study_id
        try:
            write(Settlement.prepare(self._node, self._reader, found, "indexer", beat).try_to_apply)
        except (StoreError, KeyStoreError, MalformedDataSet, OSError) as error:
            failures = self._failures[study] = self._failures.get(study, 0) + 1
            seconds = min(2.0 ** min(failures, _MOST_DOUBLINGS), _LONGEST_BACK_OFF_SECONDS)
            self._not_before[study] = monotonic() + seconds
            _log.error(
                "patient_not_corrected", study=study, error=type(error).__name__, attempt=failures, again_in=seconds
            )
        else:
            self._failures.pop(study, None)
            self._not_before.pop(study, None)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The decision that the later instances are right, with all that a transaction needs to carry it out."""

    node: Node = field(repr=False)
    found: Contradiction
    actor: str
    former: PatientEntry = field(repr=False)
    rightful: PatientEntry = field(repr=False)
    arrivals: tuple[Arrival, ...]
    pixel_tags: Mapping[str, str]  # of what is in use, did not come again and gets another patient's key

    @classmethod
    def prepare(
        cls, node: Node, reader: Reader, found: Contradiction, actor: str, beat: Callable[[], object] = lambda: None
    ) -> "Settlement":
        """Read what came, and put what will be the rightful patient's under their key, too. `beat` is called between.

        There must be one other patient at most.
        """
        former = node.keys.patient(found.patient_id)
        rightful = node.keys.patient(next(iter(found.others), found.patient_id))
        arrivals = []
        for row in {row.uid_tag: row for row in found.conflicts}.values():  # the last of each UID
            ref = ObjectRef.parse(row.object_ref)
            arrivals.append(reader.read(ref, *node.store.open(ref))[0])
            beat()
        tags = {}
        if former.id != rightful.id:
            again = {row.uid_tag for row in found.conflicts}
            for row in (*(row for row in found.in_use if row.uid_tag not in again), *found.taken_out):
                tags[row.id] = _pixel_tag_anew(node, rightful, row)
                beat()
            with node.database.read() as connection:
                refs = objects_of(connection, found.study_id, former.id)
            # So that erasing the former takes nothing of the rightful one's.
            node.store.rewrap(node.store.with_keys(refs), rightful)
        arrivals.sort(key=lambda arrival: (arrival.received_at, arrival.instance_id))
        return cls(node, found, actor, former, rightful, tuple(arrivals), tags)

    def try_to_apply(self, connection: sa.Connection) -> None:
        """As `apply`; does nothing where the study has changed meanwhile."""
        try:
            self.apply(connection)
        except StudyChanged:
            return

    def apply(self, connection: sa.Connection) -> str:
        """Carry it out; gives the id of the new revision. Raises `StudyChanged` before anything is done."""
        audit, study_id = self.node.audit, self.found.study_id
        lock(connection, study_id, *(row.study_id for row in self.found.elsewhere))
        if not self.found.is_as(contradiction_of(connection, study_id)):
            raise StudyChanged
        supersede_unsent(connection, audit, study_id, self.actor)
        if self.former.id != self.rightful.id:
            self._change_patient(connection)
        stay = self._replace(connection)
        priority = min(arrival.priority for arrival in self.arrivals)
        last = max(row.received_at for row in (*self.found.in_use, *self.found.conflicts))
        revision_id = begin_revision(connection, audit, study_id, priority, last, actor=self.actor)
        for arrival in self.arrivals:
            if arrival.instance_id not in stay:
                place(connection, audit, arrival)
        if self.former.id != self.rightful.id:
            queue.enqueue(connection, HAND_OVER, revision_id, {"study": study_id})
        return revision_id

    def _replace(self, connection: sa.Connection) -> set[str]:
        """Take out of use what came again, and out of the index what is to be placed anew.

        Gives the ids of those that stay, and are in use again: earlier revisions have them, so their rows stay.
        """
        anew = {arrival.instance_id for arrival in self.arrivals}
        again = {arrival.uid_tag for arrival in self.arrivals}
        there = (*self.found.in_use, *self.found.elsewhere)
        twins = [row.id for row in there if row.uid_tag in again and row.standing in IN_USE]
        twins += [row.id for row in self.found.conflicts if row.id not in anew]
        # What a person set aside is known when it comes again; what a correction replaced may come to correct it back.
        standing, reason = Standing.REJECTED_BY_OPERATOR, f"rejected by an operator: {A_LATER_ONE}"
        if self.former.id != self.rightful.id:
            standing, reason = Standing.CORRECTED, PATIENT_CORRECTED
        change = sa.update(t.instance).values(standing=standing, reason=reason)
        connection.execute(change.where(t.instance.c.id.in_(twins)))
        members = sa.select(t.revision_instance.c.instance_id).where(t.revision_instance.c.instance_id.in_(anew))
        stay = set(connection.execute(members).scalars())
        in_use_again = sa.update(t.instance).where(t.instance.c.id.in_(stay))
        connection.execute(in_use_again.values(standing=Standing.CURRENT, reason=None))
        connection.execute(sa.delete(t.instance).where(t.instance.c.id.in_(anew - stay)))
        return stay

    def _change_patient(self, connection: sa.Connection) -> None:
        """Make the study the rightful patient's, with all that was made of it, and take back what was sent."""
        study_id, last = self.found.study_id, self.arrivals[-1]
        of_study = sa.select(t.revision.c.id).where(
            t.revision.c.study_id == study_id, t.revision.c.former_patient_id.is_(None)
        )
        ended = (_D.DELIVERED, _D.SENDING, _D.SUPERSEDED)
        connection.execute(
            sa.update(t.delivery)
            .where(t.delivery.c.revision_id.in_(of_study), t.delivery.c.state.not_in(ended))
            .values(state=_D.SUPERSEDED, updated_at=database_now())
        )
        sent = connection.execute(_sent(study_id)).all()
        connection.execute(
            sa.update(t.revision).where(t.revision.c.id.in_(of_study)).values(former_patient_id=self.former.id)
        )
        connection.execute(
            sa.update(t.study)
            .where(t.study.c.id == study_id)
            .values(
                patient_id=self.rightful.id,
                sealed_description=last.sealed_description,
                accession_tag=last.accession_tag,
            )
        )
        self._seal_anew(connection)
        for report_id in dict.fromkeys(row.report_id for row in sent):
            self._take_back(connection, [row for row in sent if row.report_id == report_id])
        details: dict[str, Detail] = {"study": Id(study_id), "instances": len(self.arrivals), "reports": len(sent)}
        for subject, role, other in (
            (self.rightful, "former", self.former.audit_tag),
            (self.former, "rightful", self.rightful.audit_tag),
        ):
            event = AuditEvent(
                Kind.PATIENT_CORRECTED,
                actor=self.actor,
                subject=subject.audit_tag,
                details={**details, role: Id(other)},
            )
            self.node.audit.record(connection, event)

    def _seal_anew(self, connection: sa.Connection) -> None:
        """Seal the columns of all of the study's rows of the former patient under the rightful one's key."""
        study_id = self.found.study_id
        revisions = sa.select(t.revision.c.id).where(t.revision.c.study_id == study_id)
        tag_anew(connection, revisions, self.former.id, self.rightful)
        for table, of_study, columns in (
            (t.instance, t.instance.c.study_id == study_id, {IDENTITY: "identity", CORRECTION: "correction"}),
            (t.result, t.result.c.revision_id.in_(revisions), {"result": "result"}),
            (t.inference, t.inference.c.revision_id.in_(revisions), {"inference.answer": "answer"}),
            (t.delivery, t.delivery.c.revision_id.in_(revisions), {"delivery": "document"}),
        ):
            theirs = (of_study, table.c.patient_id == self.former.id)
            for context, name in columns.items():
                column = table.c[f"sealed_{name}"]
                rows = connection.execute(sa.select(table.c.id, column).where(*theirs, column.is_not(None))).tuples()
                for row_id, sealed in rows.all():
                    anew = sealed_anew(self.former, self.rightful, context, row_id, sealed)
                    connection.execute(sa.update(table).where(table.c.id == row_id).values({column.name: anew}))
            connection.execute(sa.update(table).where(*theirs).values(patient_id=self.rightful.id))
        self._correct_identities(connection)

    def _correct_identities(self, connection: sa.Connection) -> None:
        """What did not come again is about the rightful patient all the same: a person has decided so."""
        by = self.arrivals[-1]
        reason = sa.case((t.instance.c.standing.in_(IN_USE), PATIENT_CORRECTED), else_=t.instance.c.reason)
        for instance_id, tag in self.pixel_tags.items():
            sealed = connection.execute(
                sa.select(t.instance.c.sealed_identity).where(t.instance.c.id == instance_id)
            ).scalar_one()
            corrected = corrected_identity(self.rightful, instance_id, sealed, by.instance_id, by.sealed_identity)
            values = {"sealed_correction": corrected, "pixel_tag": tag, "reason": reason}
            connection.execute(sa.update(t.instance).where(t.instance.c.id == instance_id).values(values))

    def _take_back(self, connection: sa.Connection, sent: Iterable[sa.Row[Any]]) -> None:
        """Add the revision that takes one report back, with a delivery to each destination that has or may have it."""
        report = next(iter(sent))
        revision_id = add_revision(
            connection,
            self.node.audit,
            self.found.study_id,
            Priority.STAT,
            self.arrivals[-1].received_at,
            RevisionState.INFERRED,
            reason=_TAKES_BACK,
            actor=self.actor,
            former_patient_id=self.former.id,
        )
        connection.execute(sa.update(t.revision).where(t.revision.c.id == revision_id).values(pipeline=report.pipeline))
        for row in sent:
            delivery_id = str(uuid.uuid4())
            connection.execute(
                sa.insert(t.delivery).values(
                    id=delivery_id,
                    revision_id=revision_id,
                    destination=row.destination,
                    report_id=row.report_id,
                    patient_id=self.rightful.id,  # under whose key it will be sealed
                    state=_D.PENDING,
                    created_at=database_now(),
                    updated_at=database_now(),
                )
            )
            queue.enqueue(connection, WITHDRAW, delivery_id, {"delivery": delivery_id}, priority=Priority.STAT)


def _pixel_tag_anew(node: Node, rightful: PatientEntry, row: sa.Row[Any]) -> str:
    """The digest of an instance's image under the rightful patient's key. For what is damaged it stays what it was, and
    so is no image's: what lies at a destination about the wrong patient must not stay there for want of it.
    """
    try:
        receipt, data = node.store.open(ObjectRef.parse(row.object_ref))
    except (ObjectDamaged, ObjectMissing) as error:
        _log.error("object_unreadable", object=row.object_ref, error=type(error).__name__)
        return str(row.pixel_tag)
    return pixel_tag(rightful, read_header(data, receipt.transfer_syntax_uid), data)


def lock(connection: sa.Connection, *study_ids: str) -> None:
    """Hold the rows of studies, as whoever changes one does."""
    for study_id in sorted(set(study_ids)):
        connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study_id).with_for_update())


def objects_of(connection: sa.Connection, study_id: str, patient_id: str) -> list[ObjectRef]:
    """The objects of a study that are, or are to be, under a patient's key: as received, and de-identified."""
    received = sa.select(t.instance.c.object_ref).where(
        t.instance.c.study_id == study_id, t.instance.c.patient_id == patient_id
    )
    derived = (
        sa.select(t.revision_instance.c.deidentified_ref)
        .join(t.instance, t.instance.c.id == t.revision_instance.c.instance_id)
        .where(
            t.instance.c.study_id == study_id,
            t.instance.c.patient_id == patient_id,
            t.revision_instance.c.deidentified_ref.is_not(None),
        )
    )
    return [ObjectRef.parse(ref) for query in (received, derived) for ref in connection.execute(query).scalars()]


def _sent(study_id: str) -> sa.Select[Any]:
    """Which reports, or copies, which destinations have or may have of the study's patient until now."""
    return (
        sa.select(
            t.delivery.c.report_id, t.delivery.c.destination, sa.func.max(t.revision.c.pipeline).label("pipeline")
        )
        .join(t.revision, t.revision.c.id == t.delivery.c.revision_id)
        .where(t.revision.c.study_id == study_id, t.revision.c.former_patient_id.is_(None), t.delivery.c.attempts > 0)
        .group_by(t.delivery.c.report_id, t.delivery.c.destination)
        .order_by(t.delivery.c.report_id, t.delivery.c.destination)
    )
