"""Makes a Secondary Capture Image (PS3.3 A.8.1) of a picture that was made about an image of a study.

The picture and the words with it must name nobody: whose it is says the `StudyContext` that completes the data set.
"""

from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Final

from PIL import Image
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from adapters.dicom.made import StudyContext
from pipelines.results import MANUFACTURER

_SERIES_NUMBER: Final = 9001  # behind what modalities count


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for the series `series_uid`, the `number`th in it, made by `software` at `made_at`, the study's time.

    All texts are ASCII; `series` (64 characters at most) names the series, `derivation` (1024) says what the picture
    is made of, `comment` what every reader must know.
    """

    png: bytes = field(repr=False)
    series_uid: str
    series: str
    number: int
    derivation: str
    comment: str
    software: str
    made_at: datetime


def secondary_capture(picture: Picture, study: StudyContext) -> Dataset:
    """The picture in 8-bit RGB, derived from the study's image; without patient, study and SOP Instance UID."""
    image = Image.open(BytesIO(picture.png)).convert("RGB")
    made = Dataset()
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.Modality = "OT"
    made.ConversionType = "WSD"
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions = picture.software
    made.SeriesInstanceUID = picture.series_uid
    made.SeriesNumber = _SERIES_NUMBER
    made.SeriesDescription = picture.series
    made.InstanceNumber = picture.number
    made.PatientOrientation = made.Laterality = None
    made.ContentDate = f"{picture.made_at:%Y%m%d}"
    made.ContentTime = f"{picture.made_at:%H%M%S}"
    made.DerivationDescription = picture.derivation
    made.SourceImageSequence = [_source(study)]
    made.ImageComments = picture.comment
    # That is: not enough is burnt in to tell who the patient is and when the image was taken (PS3.3 Table C.7-9).
    made.BurnedInAnnotation = "NO"
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = image.height, image.width
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    pixels = image.tobytes()
    made.add_new("PixelData", "OW", pixels + b"\0" * (len(pixels) % 2))  # in implicit VR it is OW (PS3.5 A.1)
    return made


def _source(study: StudyContext) -> Dataset:
    """The image that it is derived from (PS3.3 C.12.4, CID 7202)."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = study.sop_class_uid, study.sop_instance_uid
    source.PurposeOfReferenceCodeSequence = [purpose]
    return source
