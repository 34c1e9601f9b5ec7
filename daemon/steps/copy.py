"""Step 3, for one DICOM destination: de-identify the study once more, under that destination's own policy, and seal the
list of what is to be sent into the outbox.

The instances are those that the pipeline selected, opened again as they were received: what a pipeline may see says
nothing about what may leave the house. Nobody asks who the patient is. One instance that cannot be proven clean under
the destination's policy holds the whole delivery; nothing of the study is sent. What a model outlined goes along where
the destination wants it, and its slices have the same UIDs there.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from anonymize import DeidentifiedInstance
from daemon.audit import AuditEvent, Detail, Id, Kind, Name
from daemon.queue import Task
from daemon.settings import DicomDestination
from daemon.steps.consignment import Consignment
from daemon.steps.deidentify import NOT_PROVEN_CLEAN, Refused, deidentified
from daemon.steps.manifest import CopiedInstance, CopyManifest, NotAManifest
from daemon.steps.outbox import ENGINE, DeliveryStep, held
from daemon.steps.outlines import open_outline
from daemon.steps.step import Commit, Context, GiveUp, nothing
from pipelines.results import StudyResult

KIND: Final = "copy"


class Copy(DeliveryStep):
    """Delivery: pending → prepared or held; the revision follows (`outbox.settle`)."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make the instances for one destination.

        What was de-identified for the pipeline is never taken, be its policy the same today: the settings, or the
        program, may have been others when it was made.
        """
        consignment = Consignment.waiting(context.node, task)
        if consignment is None:
            return nothing
        row, result = consignment.row, consignment.result
        if row.destination not in context.archives:
            raise GiveUp("no DICOM destination has this name in the settings any more")
        copies: list[CopiedInstance] = []
        try:
            for member in consignment.members:
                recipe = context.recipes.of_destination(row.destination, *member.sources)
                # A person vouched for what comes out under the pipeline's policy, for the pipeline; not for this.
                is_vouched_for = recipe == context.recipes.of(row.pipeline, *member.sources)
                ref, made = deidentified(context, member if is_vouched_for else replace(member, accepted=()), recipe)
                copies.append(_copied(ref, made))
        except Refused as refused:
            return _hold(context, row, refused)
        outlines = _outlines(context, row.destination, result, copies)
        manifest = _compared([*copies, *outlines], consignment.earlier)
        event = AuditEvent(
            Kind.DEIDENTIFIED,
            actor=ENGINE,
            details={
                **_named(row),
                "pipeline": Name(row.pipeline),
                "instances": len(copies),
                "outlines": len(outlines),
                "outlines_left_out": len(result.outlines) - len(outlines),
            },
        )
        return consignment.with_manifest(context, manifest, event)


def _outlines(
    context: Context, destination: str, result: StudyResult, copies: list[CopiedInstance]
) -> list[CopiedInstance]:
    """The Segmentations that may go to the destination, as they were made for the result.

    They hold of patient and study what every policy leaves: the pseudonym, and UIDs. Where one of the two policies
    retains UIDs and the other does not, they are of a study, and on slices, that the destination does not have (and
    may not know of): then they stay here.
    """
    settings = context.node.settings.destination(destination)
    if not isinstance(settings, DicomDestination) or not settings.segmentations:
        return []
    slices = {copy.sop_instance_uid for copy in copies}
    return [
        _copied(made.segmentation, open_outline(context.node, made))
        for made in result.outlines
        if made.sop_instance_uid in slices
    ]


def _copied(ref: str, made: DeidentifiedInstance) -> CopiedInstance:
    digest = hashlib.sha256()
    for piece in made.pieces:
        digest.update(piece)
    uids = made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid
    return CopiedInstance(ref, *uids, digest.hexdigest())


def _compared(copies: list[CopiedInstance], earlier: Iterable[bytes]) -> CopyManifest:
    """The copies, held against what the earlier documents list."""
    sent: dict[str, set[str]] = {}
    for document in earlier:
        try:
            for copy in CopyManifest.from_json(document).listed:
                sent.setdefault(copy.sop_instance_uid, set()).add(copy.digest)
        except NotAManifest:  # a report, when the destination of this name was of another kind
            continue
    there = {copy.sop_instance_uid for copy in copies}
    return CopyManifest(
        tuple(replace(copy, differs=bool(sent.get(copy.sop_instance_uid, set()) - {copy.digest})) for copy in copies),
        gone=tuple(sorted(sent.keys() - there)),
    )


def _named(row: sa.Row[Any]) -> dict[str, Detail]:
    return {"revision": Id(row.revision_id), "delivery": Id(row.id), "destination": Name(row.destination)}


def _hold(context: Context, row: sa.Row[Any], refused: Refused) -> Commit:
    details: dict[str, Detail] = {
        **_named(row),
        "instance": Id(refused.instance_id),
        "reason": Name(refused.reason),
    }
    reason = (
        f"instance {refused.instance_id} {NOT_PROVEN_CLEAN} under this destination's policy: {refused.reason}; choose "
        "another policy for it and reprocess the study"
    )
    event = AuditEvent(Kind.DEIDENTIFICATION_REFUSED, actor=ENGINE, details=details)
    return held(context, row, reason, event)
