"""Step 1 of a closed revision: choose the pipeline, de-identify the instances it wants, seal what comes out.

Only what a pipeline selects is de-identified and goes on; the rest stays sealed. One instance that cannot be proven
clean quarantines the revision: a report about part of a study, picked by a failure, would mislead (DESIGN §2.3).
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from anonymize import (
    DeidentifiedInstance,
    MalformedDataSet,
    PatientPseudonym,
    Quarantine,
    QuarantineReason,
    ReceivedInstance,
    read_header,
)
from daemon import queue
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.database import schema as t
from daemon.deidentification import Recipe
from daemon.intake import open_instance
from daemon.queue import Task
from daemon.states import RevisionState, move
from daemon.steps.step import Commit, Context, nothing
from pipelines.pipeline import Technical

KIND: Final = "deidentify"
NOT_PROVEN_CLEAN: Final = "cannot be proven clean"
"""How the reason of a quarantined instance begins, before the code of the reason."""


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a revision."""

    instance_id: str
    ref: str
    patient_id: str
    accepted: tuple[QuarantineReason, ...]
    sources: tuple[str, ...]
    """Every AE title that sent these very bytes."""


class Deidentify:
    """Closed → deidentified, unselected or quarantined."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """De-identify what the pipeline selects."""
        node = context.node
        revision_id = str(task.payload["revision"])
        with node.database.read() as connection:
            revision = connection.execute(
                sa.select(t.revision, t.study.c.source)
                .join(t.study, t.study.c.id == t.revision.c.study_id)
                .where(t.revision.c.id == revision_id)
            ).one()
            members = members_of(connection, revision_id)
            reported = _was_reported(connection, revision.study_id)
        if revision.state != RevisionState.CLOSED:
            return nothing
        names = node.settings.source_for(revision.source).pipeline or node.settings.pipelines
        chosen = _choose(context, names, members)
        if chosen is None and reported is None:
            return lambda connection: move(
                connection,
                node.audit,
                revision_id,
                RevisionState.UNSELECTED,
                reason="no pipeline takes any instance of it",
            )
        pipeline, selected = chosen or (reported or "", [])
        try:
            made = {
                member.instance_id: deidentified(
                    context, member, context.recipes.of(pipeline, *member.sources, chosen=revision.policy)
                )[0]
                for member in selected
            }
        except Refused as refused:
            return _quarantine(context, revision_id, refused)
        return _commit(context, revision_id, pipeline, made, revision.priority)

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """A revision whose instances could not be worked on fails; it can be reprocessed."""
        move(connection, context.node.audit, str(task.payload["revision"]), RevisionState.FAILED, reason=reason)


class Refused(Exception):
    """An instance cannot be proven clean."""

    def __init__(self, instance_id: str, reason: str) -> None:
        super().__init__(reason)
        self.instance_id, self.reason = instance_id, reason


def members_of(connection: sa.Connection, revision_id: str, *, selected: bool = False) -> list[Member]:
    """The instances of a revision; only those that its pipeline selected, if that is wanted."""
    query = (
        sa.select(t.instance.c.id, t.instance.c.object_ref, t.instance.c.patient_id, t.instance.c.accepted)
        .join(t.revision_instance, t.revision_instance.c.instance_id == t.instance.c.id)
        .where(t.revision_instance.c.revision_id == revision_id)
        .order_by(t.instance.c.received_at, t.instance.c.id)
    )
    if selected:
        query = query.where(t.revision_instance.c.deidentified_ref.is_not(None))
    sources = _sources(connection, revision_id)
    return [
        Member(row.id, row.object_ref, row.patient_id, tuple(map(QuarantineReason, row.accepted)), sources[row.id])
        for row in connection.execute(query)
    ]


def _sources(connection: sa.Connection, revision_id: str) -> dict[str, tuple[str, ...]]:
    """By instance, who sent it, duplicates counted; where no association is known, who opened its study."""
    twin = t.instance.alias()
    same = (
        twin.c.study_id == t.instance.c.study_id,
        twin.c.uid_tag == t.instance.c.uid_tag,
        twin.c.content_tag == t.instance.c.content_tag,
    )
    rows = connection.execute(
        sa.select(t.instance.c.id, sa.func.coalesce(t.association.c.source, t.study.c.source).label("source"))
        .join(t.revision_instance, t.revision_instance.c.instance_id == t.instance.c.id)
        .join(t.study, t.study.c.id == t.instance.c.study_id)
        .join(twin, sa.and_(*same))
        .outerjoin(t.association, t.association.c.id == twin.c.association_id)
        .where(t.revision_instance.c.revision_id == revision_id)
        .distinct()
    )
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        found[row.id] = (*found.get(row.id, ()), row.source)
    return found


def _was_reported(connection: sa.Connection, study_id: str) -> str | None:
    """The pipeline of the study's latest report that was ever on its way, if there is one: a destination may have it,
    whatever it answered, and must be told when nothing is left of the study.
    """
    return connection.execute(
        sa.select(t.revision.c.pipeline)
        .join(t.delivery, t.delivery.c.revision_id == t.revision.c.id)
        .where(
            t.revision.c.study_id == study_id,
            t.revision.c.former_patient_id.is_(None),  # what was sent about another is taken back by itself
            t.delivery.c.attempts > 0,
        )
        .order_by(t.revision.c.number.desc())
    ).scalar()


def _choose(context: Context, names: tuple[str, ...], members: list[Member]) -> tuple[str, list[Member]] | None:
    """The first pipeline, in the order of the settings, that takes any of the instances; None if none does."""
    technical = {member: _technical(context, member) for member in members}
    for name in names:
        pipeline, _ = context.pipelines[name]
        if selected := [member for member in members if pipeline.select(technical[member]).selected]:
            return name, selected
    return None


def _technical(context: Context, member: Member) -> Technical:
    receipt, data = open_instance(context.node, member.instance_id, member.ref)
    return Technical.of_header(read_header(data, receipt.transfer_syntax_uid))


def deidentified(context: Context, member: Member, recipe: Recipe) -> tuple[str, DeidentifiedInstance]:
    """De-identify one instance in a worker and seal the outcome; gives its reference, too. Raises `Refused`."""
    node = context.node
    receipt, data = open_instance(node, member.instance_id, member.ref)
    received = ReceivedInstance(receipt.sop_class_uid, receipt.sop_instance_uid, receipt.transfer_syntax_uid, data)
    try:
        patient = node.vault.pseudonym(member.patient_id)
        instance = context.workers.call(_run_engine, recipe, received, patient, member.accepted)
    except Quarantine as error:
        raise Refused(member.instance_id, str(error.reason)) from None
    except MalformedDataSet:
        raise Refused(member.instance_id, "malformed-data-set") from None
    return str(node.store.put_derived(node.keys.patient(member.patient_id), instance.kept_form())), instance


def _run_engine(
    recipe: Recipe,
    received: ReceivedInstance,
    patient: PatientPseudonym,
    accepted: tuple[QuarantineReason, ...],
) -> DeidentifiedInstance:
    """In a worker process."""
    return recipe.apply(received, patient, accepted).instance


def _quarantine(context: Context, revision_id: str, refused: Refused) -> Commit:
    audit = context.node.audit
    reason = f"{NOT_PROVEN_CLEAN}: {refused.reason}"

    def commit(connection: sa.Connection) -> None:
        # The instance stays current: a revision that a late instance makes must not go on without it.
        connection.execute(sa.update(t.instance).where(t.instance.c.id == refused.instance_id).values(reason=reason))
        move(connection, audit, revision_id, RevisionState.QUARANTINED, reason=reason)
        details: dict[str, Detail] = {
            "revision": Id(revision_id),
            "instance": Id(refused.instance_id),
            "reason": Name(refused.reason),
        }
        audit.record(connection, AuditEvent(Kind.DEIDENTIFICATION_REFUSED, actor="engine", details=details))

    return commit


def _commit(context: Context, revision_id: str, pipeline: str, made: dict[str, str], priority: int) -> Commit:
    audit = context.node.audit

    def commit(connection: sa.Connection) -> None:
        move(connection, audit, revision_id, RevisionState.DEIDENTIFIED)
        connection.execute(sa.update(t.revision).where(t.revision.c.id == revision_id).values(pipeline=pipeline))
        connection.execute(  # what kept some of them back before holds no more
            sa.update(t.instance)
            .where(t.instance.c.id.in_(made), t.instance.c.reason.startswith(NOT_PROVEN_CLEAN))
            .values(reason=None)
        )
        for instance_id, ref in made.items():
            connection.execute(
                sa.update(t.revision_instance)
                .where(
                    t.revision_instance.c.revision_id == revision_id, t.revision_instance.c.instance_id == instance_id
                )
                .values(deidentified_ref=ref)
            )
        details: dict[str, Detail] = {"revision": Id(revision_id), "pipeline": Name(pipeline), "instances": len(made)}
        audit.record(connection, AuditEvent(Kind.DEIDENTIFIED, actor="engine", details=details))
        queue.enqueue(connection, "infer", revision_id, {"revision": revision_id}, priority=priority)

    return commit
