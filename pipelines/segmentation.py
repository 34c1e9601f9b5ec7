"""What a model outlined in a volume, as a DICOM Segmentation (PS3.3 A.51) that any viewer lays over the CT.

Made from de-identified slices alone, so it names nobody, and its UIDs follow from theirs and from what is in it: the
same outline has the same UIDs each time, another has others, so that no archive takes one for the other. It must never
look reviewed: that nobody has reviewed it is its description. For worker processes: a whole volume is in memory.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from anonymize import DeidentifiedInstance, PatientPseudonym, map_uid
from pipelines.heatmap import marking
from pipelines.results import MANUFACTURER, Coding, ModelIdentity
from pipelines.series import Volume
from pipelines.volume import Mask, cells, spread

if TYPE_CHECKING:
    import highdicom
    from pydicom.sr.coding import Code

_SERIES_NUMBER: Final = 9000
_CONTENT_LABEL: Final = "AI_UNREVIEWED"
_NO_DATE, _NO_TIME = "19000101", "000000"
"""Content Date and Time are of Type 1. When it was made would tell about when the patient was there (PS3.15 E.1.1)."""
_SCHEMES: Final = {"http://snomed.info/sct": "SCT"}


@dataclass(frozen=True, slots=True)
class Segment:
    """What is outlined, by a category (CID 7150) and a type (CID 7151), and where: a mask (slices, rows, columns) of a
    grid over the volume (`pipelines.volume`).
    """

    label: str
    category: Coding
    kind: Coding
    mask: Mask = field(repr=False)


def make_segmentation(
    volume: Volume, segments: Sequence[Segment], model: ModelIdentity, patient: PatientPseudonym
) -> Dataset:
    """The Segmentation: BINARY, a frame for each slice that a segment reaches, each of which names that slice.

    At least one segment must reach a slice. What the standard wants of the patient is the pseudonym, or empty.
    """
    import highdicom  # takes half a second and is only needed where something was found

    reached = np.any([segment.mask.any(axis=(1, 2)) for segment in segments], axis=0)
    numbers = np.flatnonzero(reached[cells(volume.shape[0], len(reached))]).tolist()
    uid = _uid(volume, segments, model, patient)
    made = highdicom.seg.Segmentation(
        source_images=[_source(volume, number) for number in numbers],
        pixel_array=_pixels(volume, segments, numbers),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(segment, place, model) for place, segment in enumerate(segments, start=1)],
        series_instance_uid=map_uid(patient.uid_key, f"series of {uid}"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        device_serial_number=model.weights_sha256,
        content_label=_CONTENT_LABEL,
        content_description=marking(model),
        series_description=f"AI segmentation{marking(model).removeprefix('AI')}",
    )
    return _without_chance(made, patient)


def as_instance(made: Dataset) -> DeidentifiedInstance:
    """The data set as a Part 10 file, as whatever else names nobody is kept and sent."""
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return DeidentifiedInstance(
        sop_class_uid=str(made.SOPClassUID),
        sop_instance_uid=str(made.SOPInstanceUID),
        study_instance_uid=str(made.StudyInstanceUID),
        series_instance_uid=str(made.SeriesInstanceUID),
        transfer_syntax_uid=str(made.file_meta.TransferSyntaxUID),
        pieces=(file.getvalue(),),
    )


def _uid(volume: Volume, segments: Sequence[Segment], model: ModelIdentity, patient: PatientPseudonym) -> str:
    content = hashlib.sha256()
    for text in (model.name, model.version, model.weights_sha256, volume.series_instance_uid, *volume.slices):
        content.update(f"{text}\0".encode())
    for segment in segments:
        content.update(f"{segment.label}\0{segment.mask.shape}\0".encode())
        content.update(np.packbits(segment.mask).tobytes())
    return map_uid(patient.uid_key, f"segmentation {content.hexdigest()}")


def _source(volume: Volume, number: int) -> Dataset:
    """As much of a slice as a Segmentation takes from it."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID = CTImageStorage
    source.SOPInstanceUID = volume.slices[number]
    source.StudyInstanceUID = volume.study_instance_uid
    source.SeriesInstanceUID = volume.series_instance_uid
    source.FrameOfReferenceUID = volume.frame_of_reference_uid
    source.PositionReferenceIndicator = ""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
        setattr(source, keyword, "")
    source.AccessionNumber = source.ReferringPhysicianName = ""
    source.Rows, source.Columns = volume.shape[1:]
    source.PixelSpacing = _decimals(volume.spacing_mm[1:])
    # Of the Segmentation's voxels, which leave no gap, whatever was the thickness of the slices.
    (source.SliceThickness,) = (source.SpacingBetweenSlices,) = _decimals(volume.spacing_mm[:1])
    source.ImageOrientationPatient = _decimals(volume.orientation)
    source.ImagePositionPatient = _decimals(volume.positions_mm[number])
    return source


def _decimals(values: Sequence[float]) -> list[DSfloat]:
    return [DSfloat(value, auto_format=True) for value in values]


def _pixels(volume: Volume, segments: Sequence[Segment], numbers: Sequence[int]) -> Mask:
    """The masks on the slices of these numbers: (slices, rows, columns, segments)."""
    place = {number: row for row, number in enumerate(numbers)}
    pixels = np.zeros((len(place), *volume.shape[1:], len(segments)), np.bool_)
    for channel, segment in enumerate(segments):
        for number, plane in enumerate(spread(segment.mask, volume.shape)):
            if number in place:
                pixels[place[number], ..., channel] = plane
    return pixels


def _description(segment: Segment, number: int, model: ModelIdentity) -> "highdicom.seg.SegmentDescription":
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.kind),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model.name,
            family=codes.DCM.ArtificialIntelligence,
            version=model.version,
            parameters={"weights_sha256": model.weights_sha256},
        ),
    )


def _code(coding: Coding) -> "Code":
    from pydicom.sr.coding import Code

    return Code(coding.code, _SCHEMES[coding.system], coding.display)


def _without_chance(made: Dataset, patient: PatientPseudonym) -> Dataset:
    """Put the pseudonym in, and what follows from the content in the place of what came from clock and dice."""
    made.PatientID = made.PatientName = patient.pseudonym
    made.ContentCreatorName = ""  # of Type 2: nobody
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "Made from de-identified images"
    made.ContentDate, made.ContentTime = _NO_DATE, _NO_TIME
    made.LongitudinalTemporalInformationModified = "REMOVED"
    del made.InstanceCreationDate, made.InstanceCreationTime
    for equipment in made.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    dimensions = map_uid(patient.uid_key, f"dimensions of {made.SOPInstanceUID}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return made
