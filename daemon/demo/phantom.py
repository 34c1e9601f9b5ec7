"""The demo's sample study: a drawn chest, PA and lateral, as valid DX images (PS3.3 A.26) of a patient nobody is.

Identifiers are planted wherever a PACS puts them, so that what de-identification removes can be shown and searched for
(`planted_identifiers`). The pixels hold nothing but the drawing. The same seed gives the same bytes.
"""

import random
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from daemon.demo.drawing import HIGHEST, draw_frontal, draw_lateral

_IMPLEMENTATION_CLASS_UID: Final = UID("2.25.160318273465401977264137720641931337214")
_DETECTOR_SPACING_MM: Final = 0.4

PATIENT_NAME: Final = "ÖRNEK^AYŞE HAYALİ"
PATIENT_ID: Final = "KOPRU-FANTOM-4711"
NATIONAL_ID: Final = "12345678901"  # eleven digits like a T.C. kimlik number; its check digits are wrong on purpose
BIRTH_DATE: Final = "19010214"
ACCESSION_NUMBER: Final = "ACCFANTOM2026"
_PRIVATE_CREATOR: Final = "FANTOM UYDURMA 1.0"

# Everything below appears in the data set exactly as written here. Short or common words are left out: a search
# for them would find innocent places.
_PLANTED: Final = {
    "patient_name": PATIENT_NAME,
    "patient_id": PATIENT_ID,
    "issuer": "MASALKOY-HBYS",
    "national_id": NATIONAL_ID,
    "birth_name": "UYDURMA^AYŞE",
    "birth_date": BIRTH_DATE,
    "address": "Hayal Sokak 999, Masalköy",
    "telephone": "+90 5550104711",
    "mother": "ÖRNEK^FATMA MASAL",
    "accession": ACCESSION_NUMBER,
    "institution": "Masalköy Kurmaca Hastanesi",
    "institution_address": "Kaf Dağı Caddesi 1, Masalköy",
    "department": "Kurmaca Radyoloji Birimi",
    "referring": "MASALCI^NASREDDİN^^DR",
    "performing": "KURMACA^KELOĞLAN^^DR",
    "operator": "PERİ^PADİŞAH",
    "station": "FANTOM-ODA-7",
    "serial": "SN-FANTOM-0099",
    "study_id": "CALISMA-4711",
    "study_description": "ÖRNEK AYŞE için akciğer grafisi",
    "comments": "Hasta Örnek Ayşe, tel 0555 0104711, ateş ve öksürük",
    "history": "Ayşe Hayali Örnek iki gündür öksürüyor",
    "requested_procedure": "ISTEM-FANTOM-815",
    "scheduled_step": "ADIM-FANTOM-816",
    "placer": "PLC-FANTOM-0815",
    "requester": "İSTEYEN^HEKİM^^DR",
    "private_name": "ORNEK AYSE (ozel alan)",
    "private_id": "OZEL-TC-12345678901",
    "device_uid": "2.25.271828182845904523536028747135266249775",
}


def phantom_study(seed: int = 1) -> list[Dataset]:
    """Return the study's two images, PA then lateral, with file meta, ready for C-STORE or `save_as`.

    `seed` decides the drawing's details and the UIDs; the patient is always the same one.
    """
    generator = random.Random(seed)  # noqa: S311  # reproducible, no secret
    study, frontal_series, lateral_series = (_uid(generator) for _ in range(3))
    frontal = _instance(study, frontal_series, _uid(generator), 1, draw_frontal(seed))
    _position(frontal, "PA", "272479007", "postero-anterior", ["L", "F"])
    lateral = _instance(study, lateral_series, _uid(generator), 2, draw_lateral(seed))
    _position(lateral, "LL", "399173006", "left lateral", ["P", "F"])
    return [frontal, lateral]


def planted_identifiers(study: Sequence[Dataset]) -> tuple[str, ...]:
    """Return every string in `study` that must not be found outside the boundary: text, dates of birth, UIDs."""
    uids = {str(image[keyword].value) for image in study for keyword in _IDENTIFYING_UIDS}
    return (*_PLANTED.values(), *sorted(uids))


_IDENTIFYING_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def _uid(generator: random.Random) -> UID:
    """Return a UID under 2.25 (PS3.5 B.2) from the study's own generator."""
    return UID(f"2.25.{generator.getrandbits(127) | 1 << 126}")


def _instance(study: UID, series: UID, instance: UID, number: int, pixels: npt.NDArray[np.uint16]) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    _add_patient(image)
    _add_study(image, study)
    _add_series(image, series, number)
    _add_equipment(image)
    _add_request(image, study)
    _add_acquisition(image)
    _add_pixels(image, pixels)
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = instance
    image.InstanceNumber = number
    _add_private(image)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = instance
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    return image


def _add_patient(image: Dataset) -> None:
    """Patient Module (C.7.1.1) and Patient Study Module (C.7.2.2)."""
    image.PatientName = PATIENT_NAME
    image.PatientID = PATIENT_ID
    image.IssuerOfPatientID = _PLANTED["issuer"]
    other = Dataset()
    other.PatientID = NATIONAL_ID
    other.TypeOfPatientID = "TEXT"
    image.OtherPatientIDsSequence = DicomSequence([other])
    image.PatientBirthName = _PLANTED["birth_name"]
    image.PatientBirthDate = BIRTH_DATE
    image.PatientSex = "F"
    image.PatientAge = "099Y"
    image.PatientAddress = _PLANTED["address"]
    image.PatientTelephoneNumbers = _PLANTED["telephone"]
    image.PatientMotherBirthName = _PLANTED["mother"]
    image.PatientComments = _PLANTED["comments"]
    image.AdditionalPatientHistory = _PLANTED["history"]


def _add_study(image: Dataset, study: UID) -> None:
    """General Study Module (C.7.2.1)."""
    image.StudyInstanceUID = study
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = "20260105"
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = "081500"
    image.TimezoneOffsetFromUTC = "+0300"
    image.ReferringPhysicianName = _PLANTED["referring"]
    image.StudyID = _PLANTED["study_id"]
    image.AccessionNumber = ACCESSION_NUMBER
    image.StudyDescription = _PLANTED["study_description"]


def _add_series(image: Dataset, series: UID, number: int) -> None:
    """General Series (C.7.3.1), DX Series (C.8.11.1) and Frame of Reference (C.7.4.1) Modules."""
    image.Modality = "DX"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.SeriesInstanceUID = series
    image.SeriesNumber = number
    image.PerformingPhysicianName = _PLANTED["performing"]
    image.OperatorsName = _PLANTED["operator"]
    image.FrameOfReferenceUID = UID(f"{series[:-6]}{int(series[-6:]) ^ 1:06d}")
    image.PositionReferenceIndicator = ""


def _add_equipment(image: Dataset) -> None:
    """General Equipment Module (C.7.5.1)."""
    image.Manufacturer = "kopru phantom"
    image.ManufacturerModelName = "drawn chest"
    image.InstitutionName = _PLANTED["institution"]
    image.InstitutionAddress = _PLANTED["institution_address"]
    image.InstitutionalDepartmentName = _PLANTED["department"]
    image.StationName = _PLANTED["station"]
    image.DeviceSerialNumber = _PLANTED["serial"]
    image.DeviceUID = _PLANTED["device_uid"]
    image.SoftwareVersions = "1"


def _add_request(image: Dataset, study: UID) -> None:
    """Request Attributes Sequence (10.6), with people and numbers two levels deep."""
    requester = _code("1", "99KURMACA", "hekim")
    person = Dataset()
    person.PersonIdentificationCodeSequence = DicomSequence([requester])
    person.PersonAddress = _PLANTED["address"]
    person.PersonTelephoneNumbers = [_PLANTED["telephone"]]
    person.InstitutionName = _PLANTED["institution"]
    request = Dataset()
    request.RequestedProcedureID = _PLANTED["requested_procedure"]
    request.ScheduledProcedureStepID = _PLANTED["scheduled_step"]
    request.AccessionNumber = ACCESSION_NUMBER
    request.StudyInstanceUID = study
    request.RequestedProcedureDescription = _PLANTED["study_description"]
    request.ReasonForTheRequestedProcedure = _PLANTED["history"]
    image.RequestAttributesSequence = DicomSequence([request])
    image.ReferringPhysicianIdentificationSequence = DicomSequence([person])
    image.RequestingPhysician = _PLANTED["requester"]
    image.PlacerOrderNumberImagingServiceRequest = _PLANTED["placer"]


def _add_acquisition(image: Dataset) -> None:
    """DX Anatomy Imaged (C.8.11.2), DX Image (C.8.11.3), DX Detector (C.8.11.4) and Acquisition Context (C.7.6.14)."""
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.AcquisitionNumber = 1
    image.BodyPartExamined = "CHEST"
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = DicomSequence([_code("816094009", "SCT", "Chest")])
    image.DetectorType = "SCINTILLATOR"
    image.DetectorID = _PLANTED["serial"]
    image.ImagerPixelSpacing = [_DETECTOR_SPACING_MM, _DETECTOR_SPACING_MM]
    image.KVP = 120
    image.AcquisitionContextSequence = DicomSequence([])
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"


def _position(image: Dataset, position: str, code: str, meaning: str, orientation: list[str]) -> None:
    """DX Positioning Module (C.8.11.5) and Patient Orientation (C.7.6.1.1.1)."""
    image.ViewPosition = position
    view = _code(code, "SCT", meaning)
    view.ViewModifierCodeSequence = DicomSequence([])
    image.ViewCodeSequence = DicomSequence([view])
    image.PatientOrientation = orientation


def _add_pixels(image: Dataset, pixels: npt.NDArray[np.uint16]) -> None:
    """Image Pixel (C.7.6.3), VOI LUT (C.11.2) and the greyscale attributes of DX Image (C.8.11.3)."""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.PresentationLUTShape = "IDENTITY"
    image.WindowCenter, image.WindowWidth = (HIGHEST + 1) / 2, HIGHEST + 1
    image.PixelData = pixels.astype("<u2").tobytes()


def _add_private(image: Dataset) -> None:
    """Add what vendors keep in private groups: the patient again, once in a sequence."""
    block = image.private_block(0x0029, _PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", _PLANTED["private_name"])
    inner = Dataset()
    inner.add_new(0x00100020, "LO", _PLANTED["private_id"])
    block.add_new(0x02, "SQ", DicomSequence([inner]))
    block.add_new(0x03, "UN", _PLANTED["patient_name"].encode())


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
