"""Data sets for these tests, encoded by hand and by pydicom: never by the code under test."""

import io
import struct
import warnings
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from anonymize import PatientPseudonym, ReceivedInstance

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
CT = "1.2.840.10008.5.1.4.1.1.2"

STUDY = "1.2.826.0.1.3680043.8.498.19560412.1"
SERIES = "1.2.826.0.1.3680043.8.498.19560412.2"
INSTANCE = "1.2.826.0.1.3680043.8.498.19560412.3"

PATIENT = PatientPseudonym("KPR-7F3A", b"\x11" * 32, 17)

LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
UNDEFINED = 0xFFFFFFFF


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian; `length` lies about the value where it is given."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = len(value) if length is None else length
    return head + (struct.pack("<HI", 0, size) if vr in LONG else struct.pack("<H", size)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """An element in Implicit VR Little Endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length)


def sequence(tag: int, *elements: bytes) -> bytes:
    """A sequence of one item, in Explicit VR Little Endian, all lengths defined."""
    return explicit(tag, "SQ", item(b"".join(elements)))


ITEM_END = implicit(0xFFFEE00D, b"")
SEQUENCE_END = implicit(0xFFFEE0DD, b"")


def even(text: str, pad: bytes = b" ") -> bytes:
    raw = text.encode("utf-8")
    return raw + pad * (len(raw) & 1)


def uid(text: str) -> bytes:
    return even(text, b"\0")


def identified() -> Dataset:
    """A small CT image with the UIDs above, Turkish names, and nothing private."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CT, INSTANCE
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, SERIES
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "19990817", "030219", "ACC-558123"
    ds.Modality, ds.Manufacturer = "CT", "Philips Medical Systems"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "ÖRNEK^AYŞE", "PID-4471902", "19560412", "F"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.PixelData = bytes(range(32))
    ds["PixelData"].VR = "OW"
    return ds


def encoded(ds: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """The data set as pydicom writes it."""
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    write_dataset(buffer, ds)
    return buffer.getvalue()


def received(data_set: bytes, transfer_syntax_uid: str = EXPLICIT) -> ReceivedInstance:
    return ReceivedInstance(CT, INSTANCE, transfer_syntax_uid, data_set)


def inserted(data_set: bytes, elements: bytes, before: int = 0x7FE00010) -> bytes:
    """`elements` put into an Explicit VR Little Endian data set ahead of its last element, the pixel data."""
    at = data_set.rindex(struct.pack("<HH", before >> 16, before & 0xFFFF) + b"OW")
    return data_set[:at] + elements + data_set[at:]


def parsed(file: bytes) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = pydicom.dcmread(io.BytesIO(file))
        str(ds)  # decodes every value
    return ds


def split_part10(path: Path) -> tuple[str, bytes] | None:
    """Transfer syntax and encoded data set of a Part 10 file; None for what is none."""
    raw = path.read_bytes()
    if raw[128:132] != b"DICM":
        return None
    buffer = io.BytesIO(raw)
    buffer.seek(132)
    meta = pydicom.filereader._read_file_meta_info(buffer)
    return str(meta.get("TransferSyntaxUID", "")), raw[buffer.tell() :]
