"""Real chest radiographs wrapped as DX For Presentation images (PS3.3 A.26) of made-up patients."""

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from daemon.demo.drawing import HIGHEST, SIZE
from tests import drawn


@dataclass(frozen=True)
class MadeUpPatient:
    """Nobody. The identifiers are long enough to be searched for."""

    number: int

    @property
    def patient_id(self) -> str:
        return f"PLANTID{self.number:06d}"

    @property
    def family(self) -> str:
        return f"PLANTSOYAD{self.number:04d}"

    @property
    def given(self) -> str:
        return f"PLANTAD{self.number:04d}"

    @property
    def accession(self) -> str:
        return f"PLANTACC{self.number:06d}"

    @property
    def birth_date(self) -> str:
        return f"{1930 + self.number % 60}0517"

    @property
    def planted(self) -> list[str]:
        return [self.patient_id, self.family, self.given, self.accession]

    def fhir(self, system: str) -> dict:
        """The Patient resource as the EHR has it."""
        date = self.birth_date
        return {
            "resourceType": "Patient",
            "active": True,
            "identifier": [{"system": system, "value": self.patient_id}],
            "name": [{"family": self.family, "given": [self.given]}],
            "birthDate": f"{date[:4]}-{date[4:6]}-{date[6:]}",
        }


def real_images(folder: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """(label, grey pixels uint8) of the first `count` images of the supplied set, labels in turn."""
    with (folder / "chest-xray" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row["file"])
    labels = sorted(by_label)
    for number in range(count):
        label = labels[number % len(labels)]
        with Image.open(folder / "chest-xray" / "images" / by_label[label][number // len(labels)]) as image:
            yield label, np.asarray(image.convert("L"))


def drawn_image(seed: int, side: int = 256) -> np.ndarray:
    """A drawn chest, which the model's gate lets pass, for tests that do not care what it shows: uint8 (side, side).
    `seed` is that of the noise.
    """
    noise = np.random.default_rng(seed).normal(0, 3, (side, side))
    return np.clip(_drawn_chest(side) + noise, 0, 255).astype(np.uint8)


@functools.cache
def _drawn_chest(side: int) -> np.ndarray:
    step = SIZE // side
    return drawn.frontal(0).reshape(side, step, side, step).mean(axis=(1, 3)) / HIGHEST * 255


def as_dx(
    pixels: np.ndarray, patient: MadeUpPatient, *, study_uid: str | None = None, view: str = "PA", number: int = 1
) -> Dataset:
    """A DX image of the patient; `pixels` is uint8 (rows, columns)."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.StudyInstanceUID = study_uid or generate_uid()
    image.SeriesInstanceUID = generate_uid()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.PatientName = f"{patient.family}^{patient.given}"
    image.PatientID = patient.patient_id
    image.PatientBirthDate = patient.birth_date
    image.PatientSex = "O"
    image.AccessionNumber = patient.accession
    image.StudyDate = image.ContentDate = image.AcquisitionDate = "20260110"
    image.StudyTime = image.ContentTime = "081500"
    image.ReferringPhysicianName = f"{patient.family}^HEKIM"
    image.StudyID = "1"
    image.SeriesNumber = "1"
    image.InstanceNumber = str(number)
    image.Modality = "DX"
    image.Manufacturer = "TESTWERKE"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.BodyPartExamined = "CHEST"
    image.ViewPosition = view
    image.PatientOrientation = ["L", "F"]
    image.BurnedInAnnotation = "NO"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelRepresentation = 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.WindowCenter, image.WindowWidth = "128", "256"
    image.PresentationLUTShape = "IDENTITY"
    image.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    image["PixelData"].VR = "OW"
    return image


def save(image: Dataset, path: Path) -> Path:
    """Write as a Part 10 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path
