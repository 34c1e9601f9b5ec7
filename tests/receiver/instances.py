"""Instances to send: drawn by the tests, of a patient who does not exist."""

from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PATIENT_NAME = "ÖRNEK^AYŞE"


def ct(*, size: int = 64, number: int = 1, study: str | None = None, sop_class: str = CT_IMAGE_STORAGE) -> Dataset:
    """A CT slice of `size` × `size` pixels, 16 bits: a shaded square with noise of its own."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = generate_uid(prefix=None)
    data_set.StudyDate = "20260102"
    data_set.Modality = "CT"
    data_set.PatientName = PATIENT_NAME
    data_set.PatientID = "TEST-4711"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "O"
    data_set.StudyInstanceUID = study or generate_uid(prefix=None)
    data_set.SeriesInstanceUID = generate_uid(prefix=None)
    data_set.InstanceNumber = number
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = data_set.Columns = size
    data_set.BitsAllocated = 16
    data_set.BitsStored = 12
    data_set.HighBit = 11
    data_set.PixelRepresentation = 0
    shade = np.add.outer(np.arange(size), np.arange(size)) % 4000
    noise = np.random.default_rng(number).integers(0, 90, (size, size))
    data_set.add_new(0x7FE00010, "OW", (shade + noise).astype("<u2").tobytes())
    return data_set


def encoded(data_set: Dataset, transfer_syntax: str = ImplicitVRLittleEndian) -> bytes:
    """The data set as it goes over the network: no File Meta Information."""
    buffer = BytesIO()
    data_set = Dataset(data_set)
    data_set.save_as(
        buffer,
        implicit_vr=transfer_syntax == ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=False,
    )
    return buffer.getvalue()


def write_file(path: Path, data_set: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.file_meta.TransferSyntaxUID = transfer_syntax
    dcmwrite(path, data_set, enforce_file_format=True)
    return path


def data_set_of(path: Path) -> bytes:
    """The encoded data set of a Part 10 file: all that follows its File Meta Information (PS3.10 7.1)."""
    raw = path.read_bytes()
    assert raw[128:132] == b"DICM"
    position = 132
    while raw[position : position + 2] == b"\x02\x00":
        vr = raw[position + 4 : position + 6]
        if vr in (b"OB", b"UN", b"OW"):
            position += 12 + int.from_bytes(raw[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(raw[position + 6 : position + 8], "little")
    return raw[position:]
