"""What every clinical pipeline is: the protocol that the engine drives, and the values that pass between its steps.

Steps are pure functions from values to values: no I/O, no clock, no patient. The engine calls them in this order, each
where it may run: `select` (in the engine, on attributes alone) → `read` (in a worker process, since it decodes
untrusted pixels, an instance at a time, so that a series of a thousand slices takes the memory of one) → `combine` (in
the engine) → the model (in the runtime process) → `conclude` and `segments` (in the engine).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from anonymize import DeidentifiedInstance, Header
from pipelines.errors import InvalidOutput, UndecodablePixels
from pipelines.results import Finding, InstanceOutcome, ModelIdentity, StudyResult
from pipelines.segmentation import Segment
from pipelines.series import Volume
from runtime.package import ModelPackage
from runtime.preprocess import Sample


@dataclass(frozen=True, slots=True)
class Technical:
    """What an image is, technically: nothing that identifies anyone. Empty for what is missing, codes in upper case.

    `view_codes` and `region_codes` are (coding scheme, code) of View Code Sequence (0054,0220) and Anatomic Region
    Sequence (0008,2218); `None` where they were not looked at, since a `Header` has no sequences.
    """

    sop_class_uid: str
    modality: str
    image_type: tuple[str, ...]
    presentation_intent_type: str
    view_position: str
    body_part: str
    number_of_frames: int
    patient_orientation: tuple[str, ...] = ()
    view_codes: tuple[tuple[str, str], ...] | None = None
    region_codes: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def of_header(cls, header: Header) -> "Technical":
        """Take the technical fields out of a received instance's header, and leave the patient there."""
        return cls(
            sop_class_uid=header.sop_class_uid,
            modality=header.modality.upper(),
            image_type=tuple(value.upper() for value in header.image_type),
            presentation_intent_type=header.presentation_intent_type.upper(),
            view_position=header.view_position.upper(),
            body_part=header.body_part.upper(),
            number_of_frames=header.number_of_frames or 1,
        )

    @classmethod
    def of_data_set(cls, data_set: Dataset) -> "Technical":
        """Read all fields, sequences too, from a de-identified image.

        Raises `UndecodablePixels` if one of them holds what its attribute cannot.
        """
        try:
            return cls(
                sop_class_uid=str(data_set.get("SOPClassUID", "")),
                modality=_text(data_set, "Modality"),
                image_type=_texts(data_set, "ImageType"),
                presentation_intent_type=_text(data_set, "PresentationIntentType"),
                view_position=_text(data_set, "ViewPosition"),
                body_part=_text(data_set, "BodyPartExamined"),
                number_of_frames=int(data_set.get("NumberOfFrames") or 1),
                patient_orientation=_texts(data_set, "PatientOrientation"),
                view_codes=_codes(data_set, "ViewCodeSequence"),
                region_codes=_codes(data_set, "AnatomicRegionSequence"),
            )
        except Exception as error:  # noqa: BLE001  # pydicom decodes on access and may raise anything
            raise UndecodablePixels(f"an attribute of the image cannot be read ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Selection:
    """Whether a pipeline takes an image, and why. `reason` is a fixed sentence without data, for operators."""

    selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class NotAnalysable:
    """One instance that the model does not see, and why: a fixed sentence without data.

    Of a volume it is the first instance that stands for all; `slices` says how many there are, `series_number` which
    series it is.
    """

    sop_instance_uid: str
    reason: str
    slices: int | None = None
    series_number: int | None = None


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """What the model is to see of one instance, or of one volume: as the package's first input without its
    batch, with the digest of its bytes. A volume is named by the instance of its first slice.
    """

    sop_instance_uid: str
    tensor: Sample = field(repr=False)
    sha256: str
    volume: Volume | None = None

    def refused(self, reason: str) -> NotAnalysable:
        """The same, as something of which there is no answer."""
        if self.volume is None:
            return NotAnalysable(self.sop_instance_uid, reason)
        return NotAnalysable(self.sop_instance_uid, reason, len(self.volume.slices), self.volume.series_number)


Part: TypeAlias = Any
"""What a pipeline read of one instance: only the pipeline itself looks at it. It can be sent between processes."""


class Pipeline(ABC):
    """One clinical question: which images it takes, how the model sees them, what its answers mean."""

    name: ClassVar[str]
    """The pipeline's name in settings, results and the audit log."""
    by_series: ClassVar[bool] = False
    """Whether the model sees the instances of a series together, not each by itself."""

    @abstractmethod
    def select(self, technical: Technical) -> Selection:
        """Decide on attributes alone. What a `Header` cannot show is left to `read`, which must decide again."""

    def flaw(self, package: ModelPackage) -> str:  # noqa: ARG002
        """Why the pipeline cannot work with a package, found before it is asked anything; empty if it can."""
        return ""

    @abstractmethod
    def read(self, instance: DeidentifiedInstance, package: ModelPackage) -> Part:
        """Decode one instance as far as the model needs it, or say why not. Raises nothing for bad images.

        Of the package, only its preprocessing and its first input count, here and in `combine`: packages in which these
        agree share what is made.
        """

    def combine(
        self,
        parts: Sequence[Part],
        package: ModelPackage,  # noqa: ARG002  # what joins parts needs the model's shape
    ) -> tuple[PreparedInput | NotAnalysable, ...]:
        """Make the model's inputs of what was read of all instances, none of which is left unmentioned.

        Unless a pipeline says otherwise, what it reads of an instance is an input, or why there is none.
        """
        return tuple(parts)

    def prepare(
        self, instances: Iterable[DeidentifiedInstance], package: ModelPackage
    ) -> tuple[PreparedInput | NotAnalysable, ...]:
        """`read` and `combine` in one process."""
        return self.combine([self.read(instance, package) for instance in instances], package)

    @abstractmethod
    def findings(
        self, item: PreparedInput, output: npt.NDArray[np.float32], package: ModelPackage
    ) -> tuple[Finding, ...]:
        """Say what the model's first output for one input means, without its batch.

        Raises `InvalidOutput` rather than conclude from what is no probability.
        """

    def conclude(
        self,
        prepared: Sequence[PreparedInput | NotAnalysable],
        outputs: Mapping[str, npt.NDArray[np.float32]],
        package: ModelPackage,
        *,
        received_instances: int,
        forced: bool,
    ) -> StudyResult:
        """Say what the outputs mean, and keep every instance. `outputs` has the model's first output for each prepared
        SOP Instance UID.

        Raises `InvalidOutput` rather than conclude from less than all, or from what is no probability.
        """
        outcomes = tuple(self._outcome(item, outputs, package) for item in prepared)
        return StudyResult(self.name, identity_of(package), outcomes, received_instances, forced)

    def _outcome(
        self,
        item: PreparedInput | NotAnalysable,
        outputs: Mapping[str, npt.NDArray[np.float32]],
        package: ModelPackage,
    ) -> InstanceOutcome:
        if isinstance(item, NotAnalysable):
            return InstanceOutcome(
                item.sop_instance_uid,
                not_analysable=item.reason,
                slices=item.slices,
                series_number=item.series_number,
            )
        if (output := outputs.get(item.sop_instance_uid)) is None:
            raise InvalidOutput("the model gave no output for one of its inputs; run the inference again")
        return InstanceOutcome(
            item.sop_instance_uid,
            self.findings(item, output, package),
            input_sha256=item.sha256,
            slices=len(item.volume.slices) if item.volume else None,
            series_number=item.volume.series_number if item.volume else None,
        )

    def segments(self, output: npt.NDArray[np.float32]) -> tuple[Segment, ...]:  # noqa: ARG002
        """What the output outlines in a volume and `conclude` has found; a model that outlines nothing has none."""
        return ()


def identity_of(package: ModelPackage) -> ModelIdentity:
    """Which model a package is, for a result."""
    return ModelIdentity(
        name=package.name,
        version=package.version,
        weights_sha256=package.weights_sha256,
        intended_use=package.intended_use,
        research_only=package.research_only,
        licence=package.licence,
    )


def _text(data_set: Dataset, keyword: str) -> str:
    values = _texts(data_set, keyword)
    return values[0] if values else ""


def _texts(data_set: Dataset, keyword: str) -> tuple[str, ...]:
    value = data_set.get(keyword)
    if value is None or value == "":
        return ()
    return tuple(str(v).strip().upper() for v in ([value] if isinstance(value, str) else value))


def _codes(data_set: Dataset, keyword: str) -> tuple[tuple[str, str], ...]:
    items = data_set.get(keyword) or ()
    return tuple((_text(item, "CodingSchemeDesignator"), _text(item, "CodeValue")) for item in items)
