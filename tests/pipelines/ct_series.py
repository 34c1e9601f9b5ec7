"""Drawn volumes as CT series: what a scanner would send of a phantom, each attribute open to change."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from anonymize import DeidentifiedInstance
from tests.pipelines.images import instance
from training.ct_phantoms import Phantom

INTERCEPT = -1024
STUDY, SERIES, FRAME = "2.25.4000", "2.25.4100", "2.25.4200"


def ct_series(phantom: Phantom, series: int = 1, **attributes: Any) -> list[Dataset]:
    """The slices of a phantom, from the feet to the head. Keywords replace attributes of all; None deletes."""
    between, down, across = phantom.spacing_mm
    slices = []
    for number, plane in enumerate(phantom.hounsfield):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{series}.{number + 1}"
        image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, f"{SERIES}.{series}"
        image.FrameOfReferenceUID = FRAME
        image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", series, number + 1
        image.PatientID, image.PatientName = "PLANTID1", "Planted^Name1"
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.AccessionNumber = image.ReferringPhysicianName = image.PositionReferenceIndicator = ""
        image.Modality, image.ImageType, image.BodyPartExamined = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST"
        image.Manufacturer, image.KVP, image.AcquisitionNumber = "Drawn", "120", 1
        image.ImagePositionPatient = decimals(-175, -175, number * between)
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = decimals(down, across), "1"  # not the distance: as where slices gap
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = plane.shape
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(INTERCEPT), "1", "HU"
        image.PixelData = (plane - INTERCEPT).clip(0, 4095).astype("<u2").tobytes()
        slices.append(image)
    for image in slices:
        change(image, **attributes)
    return slices


def change(image: Dataset, **attributes: Any) -> Dataset:
    """Replace attributes of one slice; None deletes."""
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def decimals(*values: float) -> list[DSfloat]:
    """As a scanner writes them."""
    return [DSfloat(round(float(value), 4), auto_format=True) for value in values]


def instances(slices: Iterable[Dataset]) -> list[DeidentifiedInstance]:
    """The slices as the pipeline receives them."""
    made = []
    for image in slices:
        one = instance(image)
        uids = str(image.StudyInstanceUID), str(image.SeriesInstanceUID)
        made.append(
            DeidentifiedInstance(one.sop_class_uid, one.sop_instance_uid, *uids, one.transfer_syntax_uid, one.pieces)
        )
    return made


def coarse(phantom: Phantom, slices: slice) -> Phantom:
    """A part of a phantom's slices."""
    return Phantom(phantom.hounsfield[slices], phantom.lung[slices], phantom.lesion[slices], phantom.spacing_mm)


def blank(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Phantom:
    """Nothing but air."""
    nothing = np.zeros(shape, bool)
    return Phantom(np.full(shape, -1000, np.float32), nothing, nothing, spacing_mm)
