"""Lesions in the lungs on CT: outlined and measured by a sample of a model (the bundled package ``ct-lesion-sample``).

It carries the way volume → mask → millilitres → DICOM SEG and is not for any image of a person: the model knows drawn
phantoms alone, so the pipeline runs only where the settings name it. Each series is one volume, or none: a series that
is not plainly one volume, axial and about as large as what the model was made for gets a reason and no mask. Several
volumes of a study are several outcomes; they may show the same lesion, so they are never added up.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from anonymize import DeidentifiedInstance
from pipelines.chest import wrong_body_part
from pipelines.errors import InvalidOutput, UndecodablePixels, UnsuitableImage
from pipelines.image import read_data_set
from pipelines.pipeline import NotAnalysable, Pipeline, PreparedInput, Selection, Technical
from pipelines.results import Coding, Finding, Quantity
from pipelines.segmentation import Segment
from pipelines.series import Slice, Volume, read_slice, stack
from pipelines.volume import millilitres_of_cells
from runtime.package import DType, ModelPackage

CT_IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.2"

THRESHOLD: Final = 0.5
"""The probability from which a voxel counts as found, as the model's card has it."""
_LESION_CHANNEL: Final = 1  # of the mask; channel 0 is the lungs
_LABEL: Final = "Lesion"
_LESION: Final = Coding("http://snomed.info/sct", "52988006", "Lesion")
_ABNORMAL: Final = Coding("http://snomed.info/sct", "49755003", "Morphologically Abnormal Structure")

_AXIAL: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # rows run to the patient's left, columns to the back
_MOST_TURNED: Final = 0.1  # radians, about six degrees
_EXTENT_MM: Final = (240.0, 350.0, 350.0)  # of a phantom: training/ct_phantoms.py
_MOST_SCALED: Final = 1.25  # how much longer or shorter a volume may be: the model has seen 1.05


@dataclass(frozen=True, slots=True)
class Refused:
    """An instance of a series that is no slice of a volume, and why."""

    sop_instance_uid: str
    series_instance_uid: str
    reason: str


class CtLesion(Pipeline):
    """The pipeline's steps. Stateless, so that a worker process can be handed one."""

    name = "ct-lesion"
    by_series = True

    def select(self, technical: Technical) -> Selection:
        """Refuse for the first of: SOP class, modality, number of frames, image type, body part."""
        refusal = _wrong_kind(technical) or wrong_body_part(technical)
        return Selection(selected=refusal is None, reason=refusal or "a slice of a CT of the chest")

    def flaw(self, package: ModelPackage) -> str:
        """The grid is the package's; what is on it is not."""
        channels, *grid = package.inputs[0].sample_shape
        mask = package.outputs[0].sample_shape
        if channels != 1 or len(grid) != 3 or min(grid) < 2:
            return "the first must be a volume: (batch, 1, slices, rows, columns)"
        if package.inputs[0].dtype is not DType.FLOAT32 or mask[1:] != tuple(grid) or mask[0] <= _LESION_CHANNEL:
            return "the first must be float32, and the first output a mask of lungs and lesions on its grid"
        return ""

    def read(self, instance: DeidentifiedInstance, package: ModelPackage) -> Slice | Refused:
        """Decode a slice, in Hounsfield units, and average it over the cells of the model's grid."""
        _, _, rows, columns = package.inputs[0].sample_shape
        try:
            data_set = read_data_set(instance)
            selection = self.select(Technical.of_data_set(data_set))
            if not selection.selected:
                raise UnsuitableImage(selection.reason)
            return read_slice(data_set, instance, (rows, columns))
        except (UnsuitableImage, UndecodablePixels) as error:
            return Refused(instance.sop_instance_uid, instance.series_instance_uid, error.reason)

    def combine(
        self, parts: Sequence[Slice | Refused], package: ModelPackage
    ) -> tuple[PreparedInput | NotAnalysable, ...]:
        """A volume for each series, in the order of their numbers. One instance that is no slice spoils its series."""
        series: dict[str, list[Slice | Refused]] = {}
        for part in parts:
            series.setdefault(part.series_instance_uid, []).append(part)
        depth = package.inputs[0].sample_shape[1]
        made = [(uid, _combined(members, depth)) for uid, members in series.items()]
        return tuple(item for _, item in sorted(made, key=lambda pair: (_series_number(pair[1]), pair[0])))

    def findings(
        self, item: PreparedInput, output: npt.NDArray[np.float32], package: ModelPackage
    ) -> tuple[Finding, ...]:
        """How much of the volume is lesion: on its own voxels, not on the model's."""
        assert item.volume is not None  # `combine` makes no other
        if output.shape != package.outputs[0].sample_shape:
            raise InvalidOutput("the model's output is no mask of lungs and lesions; the package is wrong")
        probabilities = output[_LESION_CHANNEL]
        if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1):
            raise InvalidOutput("the model's output is no set of probabilities; the package is wrong")
        measured = millilitres_of_cells(probabilities >= THRESHOLD, item.volume.shape, item.volume.spacing_mm)
        quantity = Quantity(round(measured, 3), "mL")
        return (Finding(_LABEL, _LESION, float(probabilities.max()), THRESHOLD, quantity),)

    def segments(self, output: npt.NDArray[np.float32]) -> tuple[Segment, ...]:
        """The lesions, if there are any."""
        mask = output[_LESION_CHANNEL] >= THRESHOLD
        return (Segment(_LABEL, _ABNORMAL, _LESION, mask),) if mask.any() else ()


def _wrong_kind(technical: Technical) -> str | None:
    if technical.sop_class_uid != CT_IMAGE_STORAGE:
        return "the SOP class is not CT Image Storage"
    if technical.modality != "CT":
        return "the modality is not CT"
    if technical.number_of_frames != 1:
        return "the image has more than one frame"
    if "LOCALIZER" in technical.image_type:
        return "the image is a localizer"
    if "SECONDARY" in technical.image_type[1:2]:
        return "the image was made after the examination: Image Type is SECONDARY"
    return None


def _combined(members: Sequence[Slice | Refused], depth: int) -> PreparedInput | NotAnalysable:
    slices = [member for member in members if isinstance(member, Slice)]
    number = slices[0].series_number if slices else None
    refusals = [member.reason for member in members if isinstance(member, Refused)]
    try:
        if refusals:
            raise UnsuitableImage(refusals[0])
        volume, values = stack(slices, depth)
        _check_suits(volume)
    except UnsuitableImage as error:
        return NotAnalysable(members[0].sop_instance_uid, error.reason, len(members), number)
    tensor = np.ascontiguousarray(values[np.newaxis])
    return PreparedInput(volume.slices[0], tensor, hashlib.sha256(tensor.tobytes()).hexdigest(), volume)


def _series_number(item: PreparedInput | NotAnalysable) -> int:
    number = item.volume.series_number if isinstance(item, PreparedInput) and item.volume else None
    number = item.series_number if isinstance(item, NotAnalysable) else number
    return -1 if number is None else number


def _check_suits(volume: Volume) -> None:
    """Refuse what the model would see turned, or larger or smaller than it is."""
    if not np.allclose(volume.orientation, _AXIAL, rtol=0, atol=_MOST_TURNED):
        raise UnsuitableImage("the slices are not axial with rows to the left and columns to the back of the patient")
    for extent, usual in zip(volume.extent_mm, _EXTENT_MM, strict=True):
        if not 1 / _MOST_SCALED <= extent / usual <= _MOST_SCALED:
            raise UnsuitableImage("the volume is much longer or shorter than those that the model was made for")
