"""Small DX images for the tests of rendering and selection, each attribute open to change."""

from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from anonymize import DeidentifiedInstance

UID = "2.25.111"


def dx(pixels: np.ndarray, **attributes: Any) -> Dataset:
    """A frontal chest DX around `pixels` (rows, columns). Keywords replace attributes; None deletes."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID
    image.Modality = "DX"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.BodyPartExamined = "CHEST"
    image.ViewPosition = "PA"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = image.BitsStored = 8 * pixels.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    if attributes.get("BitsStored") and "HighBit" not in attributes:
        image.HighBit = image.BitsStored - 1
    return image


def instance(image: Dataset) -> DeidentifiedInstance:
    """The image as the pipeline receives it."""
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return DeidentifiedInstance(
        sop_class_uid=str(image.SOPClassUID),
        sop_instance_uid=str(image.SOPInstanceUID),
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        transfer_syntax_uid=str(image.file_meta.TransferSyntaxUID),
        pieces=(buffer.getvalue(),),
    )


def lut(first: int, values: list[int], bits: int) -> Sequence:
    """A Modality or VOI LUT Sequence of one LUT."""
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = values
    item["LUTData"].VR = "US"
    return Sequence([item])


def code(scheme: str, value: str) -> Sequence:
    """A code sequence of one item."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "meaning"
    return Sequence([item])
