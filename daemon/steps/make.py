"""Step 3, for one PACS: make instances of what was concluded about its study, under the real patient, seal them, and
seal their list into the outbox.

It learns who the patient is, and the vault audits that (DESIGN §2.4). What an image says itself of patient and study
goes into what is made about that image, and only if it is what the vault answers: one that was received under another
patient than the study is held to be holds the delivery, and nothing is sent. There are pictures (heatmaps) and outlines
(Segmentations) to send; whatever else becomes an instance is one more function like `_pictures`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydicom import Dataset, dcmread

from adapters.dicom import (
    DanglingReference,
    MadeInstance,
    Picture,
    StudyContext,
    referenced_images,
    secondary_capture,
    segmentation_on,
)
from adapters.keys import PatientEntry
from adapters.storage import ObjectRef
from anonymize import Header, ReceivedInstance, map_uid, read_header
from daemon.audit import AuditEvent, Id, Kind, Name
from daemon.equipment import device_uid
from daemon.intake import identity_in, open_instance, zone_of
from daemon.node import Node
from daemon.queue import Task
from daemon.settings import SourceSettings
from daemon.steps.consignment import Consignment
from daemon.steps.deidentify import Member
from daemon.steps.heatmaps import open_heatmaps
from daemon.steps.manifest import ListedInstance, MadeManifest, NotAManifest
from daemon.steps.outbox import ENGINE, DeliveryStep, held, with_nothing
from daemon.steps.outlines import open_outline
from daemon.steps.step import Commit, Context, GiveUp, nothing
from daemon.vault import IdentityContradiction, Purpose, agreed
from pipelines.heatmap import LIMITS, in_ascii, marking, series_name
from pipelines.identity import PatientIdentity
from pipelines.results import StudyResult

KIND: Final = "make"
_NOTHING_TO_SEND: Final = "nothing to send: the result has no picture and no outline"
_OF_NO_IMAGE: Final = "what was made is about an image that the study does not have: reprocess the study"
_RECEIVED_UNDER_ANOTHER: Final = (
    "an image was received under another patient than the study is held to be, and so would be what is sent about it:"
    " have the PACS send the study again as it is there now, then reprocess the study"
)


class Make(DeliveryStep):
    """Delivery: pending → prepared, held, or delivered if there is nothing to send; the revision follows
    (`outbox.settle`).
    """

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Make the instances for one PACS."""
        consignment = Consignment.waiting(context.node, task)
        if consignment is None:
            return nothing
        row, result = consignment.row, consignment.result
        if row.destination not in context.pacs:
            raise GiveUp("no PACS has this name in the settings any more")
        there = _listed_in(consignment.earlier)
        something = result.explanations or result.outlines
        if not something and not there:
            return with_nothing(context, row, _NOTHING_TO_SEND)
        try:
            made = _made(_Subject.open(context.node, row, consignment.members, result)) if something else []
        except (IdentityContradiction, DanglingReference) as error:
            return held(context, row, str(error))
        # The very bytes that were sent before, where it is the same: when it was made may differ.
        listed = tuple(there.get(one.sop_instance_uid) or _keep(context.node, consignment.entry, one) for one in made)
        manifest = MadeManifest(listed, gone=tuple(sorted(there.keys() - {one.sop_instance_uid for one in listed})))
        event = AuditEvent(
            Kind.INSTANCES_MADE,
            actor=ENGINE,
            details={"delivery": Id(row.id), "destination": Name(row.destination), "instances": len(listed)},
        )
        return consignment.with_manifest(context, manifest, event)


@dataclass(frozen=True, slots=True)
class _Image:
    """A received image that something is made about, which says of its patient what the vault says."""

    header: Header
    source: SourceSettings
    study: StudyContext

    @classmethod
    def open(cls, node: Node, member: Member, identity: PatientIdentity) -> "_Image":
        """Raises `IdentityContradiction`."""
        receipt, data = open_instance(node, member.instance_id, member.ref)
        header = read_header(data, receipt.transfer_syntax_uid)
        source = node.settings.source_for(receipt.calling_ae)
        said = identity_in(header, source)
        try:
            agreed([identity, said])
        except IdentityContradiction:
            raise IdentityContradiction(_RECEIVED_UNDER_ANOTHER) from None
        if identity.patient_id and not said.patient_id:  # a placeholder stands in it, and would in what is made
            raise IdentityContradiction(_RECEIVED_UNDER_ANOTHER)
        received = ReceivedInstance(receipt.sop_class_uid, receipt.sop_instance_uid, receipt.transfer_syntax_uid, data)
        return cls(header, source, StudyContext.of(received))

    def local(self, at: float) -> datetime:
        """A moment in the time in which the image tells its own."""
        try:
            zone = zone_of(self.header, self.source)
        except ValueError:
            zone = ZoneInfo(self.source.timezone)
        return datetime.fromtimestamp(at, UTC).astimezone(zone)

    @property
    def uids(self) -> tuple[str, ...]:
        """Those by which something may refer to it, its series, its study, its frame of reference."""
        header = self.header
        uids = header.sop_instance_uid, header.series_instance_uid, header.study_instance_uid
        return (*uids, header.frame_of_reference_uid)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What instances are made about: the result of a revision, its patient, and its images by the UIDs under which the
    pipeline may know them. `uid_key` is for UIDs of what is made.
    """

    node: Node
    row: sa.Row[Any]
    result: StudyResult
    identity: PatientIdentity
    images: Mapping[str, Member]
    uid_key: bytes

    @classmethod
    def open(cls, node: Node, row: sa.Row[Any], members: Sequence[Member], result: StudyResult) -> "_Subject":
        """Ask the vault who the patient is. Raises `IdentityContradiction`."""
        identity, _ = node.vault.reidentify(row.revision_id, Purpose.PACS, ENGINE)
        uid_key = node.keys.patient(row.patient_id).subkey("made")
        return cls(node, row, result, identity, _by_uid(node, members), uid_key)

    @property
    def software(self) -> str:
        """The model, in 64 characters of ASCII."""
        model = self.result.model
        return in_ascii(f"{model.name} {model.version}").replace("\\", "/")[:64]

    def image(self, uid: str) -> _Image:
        """The image that the pipeline knows by this UID. Raises `IdentityContradiction`, `DanglingReference`."""
        if (member := self.images.get(uid)) is None:
            raise DanglingReference(_OF_NO_IMAGE)
        return _Image.open(self.node, member, self.identity)

    def instance(self, data_set: Dataset, study: StudyContext) -> MadeInstance:
        """The data set as an instance of the study's, made here."""
        return MadeInstance.make(data_set, study, self.uid_key, device_uid(self.node.master))


def _made(subject: _Subject) -> list[MadeInstance]:
    return [*_pictures(subject), *_outlines(subject)]


def _pictures(subject: _Subject) -> Iterator[MadeInstance]:
    """The heatmaps as images of the patient's: of one study, pipeline and model all in one series, since a series is of
    one equipment (PS3.3 A.1.2).
    """
    result, software, series = subject.result, subject.software, series_name(subject.result.model)
    for number, (heatmap, explanation) in enumerate(
        zip(open_heatmaps(subject.node, result), result.explanations, strict=True), start=1
    ):
        image = subject.image(explanation.sop_instance_uid)
        picture = Picture(
            png=heatmap.png,
            series_uid=map_uid(subject.uid_key, f"heatmaps {subject.row.report_id} {software} {series}"),
            series=series,
            number=number,
            derivation=f"Heatmap of what raised the score of {in_ascii(heatmap.label)}, by {software}"[:1024],
            comment=f"{marking(result.model)}. {LIMITS}",
            software=software,
            made_at=image.local(subject.row.concluded_at),
        )
        yield subject.instance(secondary_capture(picture, image.study), image.study)


def _outlines(subject: _Subject) -> Iterator[MadeInstance]:
    """The Segmentations, on the slices as the PACS has them: of one study, pipeline, model and frame of reference all
    in one series, since a series has one of each (PS3.3 A.1.2). Each slice is opened and must be the patient's.
    """
    row, key = subject.row, subject.uid_key
    known_as = subject.node.vault.pseudonym(row.patient_id).uid_key
    for number, outline in enumerate(subject.result.outlines, start=1):
        segmentation = dcmread(BytesIO(open_outline(subject.node, outline).file))
        slices = [subject.image(uid) for uid in referenced_images(segmentation)]
        uids = {uid for image in slices for uid in image.uids}
        frame = slices[0].header.frame_of_reference_uid
        series = f"{subject.software} {segmentation.SeriesDescription} {frame}"
        made = segmentation_on(
            segmentation,
            {known: uid for uid in uids for known in (uid, map_uid(known_as, uid))},
            series_uid=map_uid(key, f"outlines {row.report_id} {series}"),
            dimensions_uid=map_uid(key, f"dimensions {segmentation.SOPInstanceUID}"),
            number=number,
            made_at=slices[0].local(row.concluded_at),
        )
        yield subject.instance(made, slices[0].study.in_its_frame())


def _by_uid(node: Node, members: Sequence[Member]) -> dict[str, Member]:
    """The images by the UIDs under which the pipeline may know them: mapped, or retained."""
    found = {}
    for member in members:
        uid = node.store.open_receipt(ObjectRef.parse(member.ref)).sop_instance_uid
        found[uid] = found[map_uid(node.vault.pseudonym(member.patient_id).uid_key, uid)] = member
    return found


def _listed_in(documents: Sequence[bytes]) -> dict[str, ListedInstance]:
    """What these deliveries brought to the PACS, by UID."""
    found: dict[str, ListedInstance] = {}
    for document in documents:
        try:
            manifest = MadeManifest.from_json(document)
        except NotAManifest:  # the destination of this name was of another kind
            continue
        found |= {made.sop_instance_uid: made for made in manifest.listed}
    return found


def _keep(node: Node, patient: PatientEntry, made: MadeInstance) -> ListedInstance:
    ref = node.store.put_derived(patient, made.to_bytes())
    return ListedInstance(str(ref), made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid)
