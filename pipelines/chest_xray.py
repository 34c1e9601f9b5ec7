"""Frontal chest radiographs: Normal, Pneumonia or COVID-19 (the bundled package ``chest-xray-3class``).

Takes DX and CR images meant for presentation. Never a lateral, never FOR PROCESSING, never another body part. That an
image is frontal and of the chest must be written in it: an image that does not say so is not analysed, and the result
says why. (View Position may be empty in CR, PS3.3 C.8.1.1: a site whose devices leave it empty has to fill it in.)
"""

import hashlib
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from anonymize import DeidentifiedInstance
from pipelines.chest import wrong_body_part
from pipelines.errors import InvalidOutput, UndecodablePixels, UnsuitableImage
from pipelines.image import Grey, read_data_set, render
from pipelines.pipeline import NotAnalysable, Pipeline, PreparedInput, Selection, Technical
from pipelines.results import Coding, Finding
from runtime.package import ModelPackage
from runtime.preprocess import to_input

DIGITAL_X_RAY_FOR_PRESENTATION: Final = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_X_RAY_FOR_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
COMPUTED_RADIOGRAPHY: Final = "1.2.840.10008.5.1.4.1.1.1"

_MODALITIES: Final = frozenset({"DX", "CR"})
_FRONTAL_POSITIONS: Final = frozenset({"PA", "AP"})

# CID 4010 "DX View", in SNOMED CT and the SNOMED-RT style codes it had before: frontal, antero-posterior,
# postero-anterior.
_FRONTAL_VIEWS: Final = frozenset(
    {("SCT", code) for code in ("399033003", "399348003", "272479007")}
    | {(scheme, code) for scheme in ("SRT", "SNM3", "99SDM") for code in ("R-10202", "R-10206", "R-40888")}
)

_MIN_SIDE: Final = 256  # pixels; a chest film has ten times as many
_MAX_ASPECT: Final = 2.0  # longer side to shorter
_MIN_CONTRAST: Final = 0.02  # standard deviation of the greys, of the range [0, 1]


class ChestXray(Pipeline):
    """The pipeline's three steps. Stateless, so that a worker process can be handed one."""

    name: Final = "chest-xray"

    def select(self, technical: Technical) -> Selection:
        """Refuse for the first of: intent, SOP class, modality, number of frames, image type, body part, view."""
        refusal = _wrong_kind(technical) or wrong_body_part(technical) or _wrong_view(technical)
        return Selection(selected=refusal is None, reason=refusal or "a frontal chest radiograph for presentation")

    def read(self, instance: DeidentifiedInstance, package: ModelPackage) -> PreparedInput | NotAnalysable:
        """Decode and preprocess an image; one that is not a frontal chest image after all says so."""
        try:
            selection = self.select(Technical.of_data_set(read_data_set(instance)))
            if not selection.selected:
                return NotAnalysable(instance.sop_instance_uid, selection.reason)
            image = render(instance)
            _check_plausible(image)
        except (UnsuitableImage, UndecodablePixels) as error:
            return NotAnalysable(instance.sop_instance_uid, error.reason)
        tensor = to_input(image, package.preprocessing)
        return PreparedInput(instance.sop_instance_uid, tensor, hashlib.sha256(tensor.tobytes()).hexdigest())

    def findings(
        self,
        item: PreparedInput,  # noqa: ARG002  # an image has no place in a patient
        output: npt.NDArray[np.float32],
        package: ModelPackage,
    ) -> tuple[Finding, ...]:
        """One for each label, of the probabilities (labels,)."""
        probabilities = [float(value) for value in output]
        if len(probabilities) != len(package.labels):
            raise InvalidOutput("the model's output and the package's labels differ in number; the package is wrong")
        sound = all(math.isfinite(p) and 0 <= p <= 1 for p in probabilities)
        if not sound or abs(sum(probabilities) - 1) > 1e-3:
            raise InvalidOutput("the model's output is no set of probabilities that sum to 1; the package is wrong")
        return tuple(
            Finding(label.name, Coding(label.system, label.code, label.display), probability, label.threshold)
            for label, probability in zip(package.labels, probabilities, strict=True)
        )


def _wrong_kind(technical: Technical) -> str | None:
    if technical.sop_class_uid == DIGITAL_X_RAY_FOR_PROCESSING or (
        technical.presentation_intent_type == "FOR PROCESSING"
    ):
        return "the image is FOR PROCESSING"
    if technical.sop_class_uid not in (DIGITAL_X_RAY_FOR_PRESENTATION, COMPUTED_RADIOGRAPHY):
        return "the SOP class is neither Digital X-Ray for presentation nor Computed Radiography"
    if technical.modality not in _MODALITIES:
        return "the modality is neither DX nor CR"
    if technical.presentation_intent_type not in ("", "FOR PRESENTATION"):
        return "the presentation intent type is unknown"
    if technical.number_of_frames != 1:
        return "the image has more than one frame"
    if "SECONDARY" in technical.image_type[1:2]:
        return "the image was made after the examination: Image Type is SECONDARY"
    return None


def _wrong_view(technical: Technical) -> str | None:
    """Refuse what any attribute calls another view. Silence is refused only where the codes were looked at too."""
    if technical.view_position and technical.view_position not in _FRONTAL_POSITIONS:
        return "the view is not frontal: View Position is neither PA nor AP"
    if technical.view_codes and not set(technical.view_codes) <= _FRONTAL_VIEWS:
        return "the view is not frontal: View Code Sequence says another"
    # The row direction (PS3.3 C.7.6.1.1.1): to the patient's left or right in a frontal image, else to front or back.
    direction = technical.patient_orientation[0][:1] if technical.patient_orientation else ""
    if direction and direction not in "LR":
        return "the view is not frontal: Patient Orientation is that of another"
    if technical.view_codes is None or technical.view_position or technical.view_codes or direction:
        return None
    return "nothing in the image says that the view is frontal"


def _check_plausible(image: Grey) -> None:
    """Refuse what cannot be a chest film, whatever its attributes say. No test of what it shows."""
    short, long = sorted(image.shape)
    if short < _MIN_SIDE:
        raise UnsuitableImage(f"the image is smaller than {_MIN_SIDE} pixels")
    if long > _MAX_ASPECT * short:
        raise UnsuitableImage("the image is more than twice as long as wide")
    if float(image.std()) < _MIN_CONTRAST:
        raise UnsuitableImage("the image is constant, or nearly so")
