"""How fast instances are de-identified, beside dicognito, dicom-anonymizer, deid and gdcmanon, in one run.

Run as ``python -m benchmarks.deidentify [--rounds N] [--seconds S] [--memory]``. Every tool reads a file and writes a
file, on one core, with what it does by default; the files lie in memory (/dev/shm) so that no disk is measured. Inputs
have noise for pixels, the attributes that scanners write, and are made anew for each run:

- CT: 512 × 512, 16 bits, about 100 attributes and 20 private ones; a series of slices.
- DX: 2048 × 2048, 16 bits.
- US: 100 frames of 480 × 640 RGB, native.

What counts is the time that a tool has the core for, itself and in the kernel, not that which passes on the clock: of
that, a busy machine takes some from one tool and not from the next. Tools take turns, since a neighbour in the caches
slows all of them; the median of the rounds counts. The targets are for the CT: five times dicognito, and ahead of
gdcmanon (one process over a folder; it encrypts what it takes away).
`--memory` de-identifies multi-frames of 2 and 4 GB by `kopru deidentify` and prints the most memory that it took.
"""

import argparse
import gc
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from anonymize import BASIC, Option, PatientPseudonym, Policy, deidentify
from daemon.cli.files import read_instance

CT_TARGET = 5.0  # times dicognito

_PATIENT = PatientPseudonym("KPR-1", bytes(range(32)), -37)
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Input:
    """A kind of instance: how to make one, and how many a round takes."""

    name: str
    make: Callable[[np.random.Generator, int], Dataset]
    files: int


def _image(rng: np.random.Generator, number: int, sop_class: str, modality: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceCreationDate = ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240229"
    ds.InstanceCreationTime = ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101530.123"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"1.2.826.0.1.3680043.10.{number}.1"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "ACC4711", modality, "SIEMENS"
    ds.InstitutionName, ds.InstitutionAddress = (
        "Örnek Hastanesi".encode("latin-1", "replace").decode("latin-1"),
        "Ankara",
    )
    ds.ReferringPhysicianName, ds.StationName, ds.StudyDescription = "HEKIM^ORNEK", "CT01", "Toraks"
    ds.SeriesDescription, ds.PerformingPhysicianName, ds.OperatorsName = "Thorax 5.0 B30f", "X^Y", "Z^W"
    ds.ManufacturerModelName = "SOMATOM Definition"
    ds.ReferencedStudySequence = [_reference("1.2.840.10008.3.1.2.3.1", f"1.2.826.0.1.3680043.10.9.{number}")]
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "ORNEK^AYSE", "4711004", "19560412", "F"
    ds.PatientAge, ds.PatientWeight, ds.EthnicGroup = "067Y", "71", "x"
    ds.BodyPartExamined, ds.ScanOptions, ds.SliceThickness, ds.KVP = "CHEST", "FAST", "5", "120"
    ds.DataCollectionDiameter, ds.DeviceSerialNumber, ds.SoftwareVersions = "500", "SN-1234", "syngo CT 2012B"
    ds.ProtocolName, ds.ReconstructionDiameter, ds.DistanceSourceToDetector = "Thorax", "350", "1085"
    ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection, ds.ExposureTime = "0", "130", "CW", "500"
    ds.XRayTubeCurrent, ds.Exposure, ds.FilterType, ds.GeneratorPower = "120", "60", "0", "40"
    ds.FocalSpots, ds.DateOfLastCalibration, ds.TimeOfLastCalibration = "1.2", "20240101", "080000"
    ds.ConvolutionKernel, ds.PatientPosition, ds.StudyInstanceUID = "B30f", "HFS", "1.2.826.0.1.3680043.10.1"
    ds.SeriesInstanceUID, ds.StudyID, ds.SeriesNumber = "1.2.826.0.1.3680043.10.2", "S1", "2"
    ds.AcquisitionNumber, ds.InstanceNumber = "1", str(number)
    ds.ImagePositionPatient, ds.ImageOrientationPatient = ["-175", "-175", str(number)], ["1", "0", "0", "0", "1", "0"]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = "1.2.826.0.1.3680043.10.3", ""
    ds.SliceLocation, ds.PixelSpacing = str(number), ["0.683593", "0.683593"]
    ds.WindowCenter, ds.WindowWidth, ds.RescaleIntercept, ds.RescaleSlope = (
        ["40", "-600"],
        ["350", "1500"],
        "-1024",
        "1",
    )
    ds.RequestingPhysician, ds.RequestedProcedureDescription = "HEKIM^ORNEK", "BT Toraks"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepID = "20240229", "P1"
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "1", "R1"
    ds.RequestAttributesSequence = [item]
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    for element in range(20):
        block.add_new(element, "LO", f"private {element}")
    block.add_new(0x20, "OB", rng.bytes(8000))
    return ds


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _pixels(ds: Dataset, data: bytes, rows: int, columns: int, *, samples: int = 1, bits: int = 12) -> Dataset:
    ds.SamplesPerPixel = samples
    ds.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns, ds.PixelRepresentation = rows, columns, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (8, 8, 7) if bits == 8 else (16, bits, bits - 1)
    ds.add_new(0x7FE00010, "OB" if bits == 8 else "OW", data)
    return ds


def ct(rng: np.random.Generator, number: int) -> Dataset:
    """A slice."""
    ds = _image(rng, number, "1.2.840.10008.5.1.4.1.1.2", "CT")
    return _pixels(ds, rng.integers(0, 4096, 512 * 512, dtype="<u2").tobytes(), 512, 512)


def dx(rng: np.random.Generator, number: int) -> Dataset:
    """A digital radiograph."""
    ds = _image(rng, number, "1.2.840.10008.5.1.4.1.1.1.1", "DX")
    ds.BurnedInAnnotation, ds.PresentationIntentType = "NO", "FOR PRESENTATION"
    return _pixels(ds, rng.integers(0, 4096, 2048 * 2048, dtype="<u2").tobytes(), 2048, 2048)


def us(rng: np.random.Generator, number: int) -> Dataset:
    """A clip of ultrasound."""
    ds = _image(rng, number, "1.2.840.10008.5.1.4.1.1.3.1", "US")
    ds.NumberOfFrames, ds.FrameTime = "100", "33"
    return _pixels(ds, rng.bytes(100 * 480 * 640 * 3), 480, 640, samples=3, bits=8)


INPUTS = (Input("CT 512 × 512", ct, 40), Input("DX 2048 × 2048", dx, 8), Input("US 100 × 480 × 640 RGB", us, 2))


# --- the tools --------------------------------------------------------------------------------------------------------


def _kopru(files: list[Path], out: Path, policy: Policy = BASIC) -> None:
    for file in files:
        instance = deidentify(read_instance(file), _PATIENT, policy).instance
        with (out / file.name).open("wb", buffering=0) as written:
            for piece in instance.pieces:
                written.write(piece)


def _kopru_options(files: list[Path], out: Path) -> None:
    options = {Option.RETAIN_LONGITUDINAL_MODIFIED_DATES, Option.CLEAN_DESCRIPTORS, Option.RETAIN_SAFE_PRIVATE}
    _kopru(files, out, Policy(frozenset(options)))


def _dicognito(files: list[Path], out: Path) -> None:
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")
    for file in files:
        ds = pydicom.dcmread(file)
        anonymizer.anonymize(ds)
        ds.save_as(out / file.name)


def _dicom_anonymizer(files: list[Path], out: Path) -> None:
    from dicomanonymizer import anonymize_dicom_file

    for file in files:
        anonymize_dicom_file(str(file), str(out / file.name))


def _deid(files: list[Path], out: Path) -> None:
    from deid.dicom import get_identifiers, replace_identifiers

    names = [str(file) for file in files]
    found = get_identifiers(names)
    replace_identifiers(dicom_files=names, ids=found, output_folder=str(out), overwrite=True, save=True)


def _gdcmanon(files: list[Path], out: Path) -> None:
    folder = files[0].parent
    certificate = folder.parent / "certificate.pem"
    subprocess.run(
        ["gdcmanon", "-c", certificate, "-i", folder, "-o", out, "--continue"],
        check=True,
        capture_output=True,
    )


def _pydicom(files: list[Path], out: Path) -> None:
    for file in files:
        pydicom.dcmread(file).save_as(out / file.name)


TOOLS: dict[str, Callable[[list[Path], Path], None]] = {
    "kopru": _kopru,
    "kopru, three options": _kopru_options,
    "dicognito": _dicognito,
    "dicom-anonymizer": _dicom_anonymizer,
    "deid": _deid,
    "gdcmanon": _gdcmanon,
    "(pydicom, read and write)": _pydicom,
}
_PACKAGES = {
    "dicognito": "dicognito",
    "dicom-anonymizer": "dicom-anonymizer",
    "deid": "deid",
    "gdcmanon": "python-gdcm",
    "(pydicom, read and write)": "pydicom",
}


def _certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=benchmark"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )


def _core_seconds() -> float:
    """What this process and those that it started and has seen end took of the processor."""
    usage = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _seconds(tool: Callable[[list[Path], Path], None], files: list[Path], out: Path) -> float:
    gc.collect()
    before = _core_seconds()
    tool(files, out)
    took = _core_seconds() - before
    written = list(out.iterdir())
    if len(written) != len(files):
        raise SystemExit(f"{len(files) - len(written)} files were not written")
    for file in written:
        file.unlink()
    return took / len(files)


def measure(kind: Input, rounds: int, root: Path) -> dict[str, float]:
    """Seconds of the core that an instance takes each tool: the medians of `rounds`."""
    rng = np.random.default_rng(20261121)
    folder, out = root / "in", root / "out"
    folder.mkdir()
    out.mkdir()
    files = []
    for number in range(1, kind.files + 1):
        files.append(folder / f"{number:04}.dcm")
        kind.make(rng, number).save_as(files[-1], enforce_file_format=True)
    for tool in TOOLS.values():
        _seconds(tool, files[:1] if tool is not _gdcmanon else files, out)  # warms up
    taken: dict[str, list[float]] = {name: [] for name in TOOLS}
    for _ in range(rounds):
        for name, tool in TOOLS.items():
            taken[name].append(_seconds(tool, files, out))
    for file in files:
        file.unlink()
    folder.rmdir()
    out.rmdir()
    return {name: statistics.median(times) for name, times in taken.items()}


def _report(kind: Input, medians: dict[str, float]) -> None:
    own = medians["kopru"]
    print(f"\n{kind.name}")
    for name, seconds in medians.items():
        package = f" {version(_PACKAGES[name])}" if name in _PACKAGES else ""
        print(f"  {name + package:<34} {seconds * 1e3:9.2f} ms {1 / seconds:10,.1f} a second {seconds / own:8.2f} ×")


def large(folder: Path, size: int, *, colour: bool) -> Path:
    """A native multi-frame of about `size` bytes: 16-bit words, or 8-bit colour whose bytes are searched for names."""
    samples, bits = (3, 8) if colour else (1, 12)
    frame = 1024 * 1024 * samples * (1 if colour else 2)
    sop_class = "1.2.840.10008.5.1.4.1.1.7.4" if colour else "1.2.840.10008.5.1.4.1.1.7.3"
    ds = _image(np.random.default_rng(1), 1, sop_class, "OT")
    frames = size // frame
    ds.NumberOfFrames = str(frames)
    _pixels(ds, b"", 1024, 1024, samples=samples, bits=bits)
    del ds[0x7FE00010]
    path = folder / "large.dcm"
    ds.save_as(path, enforce_file_format=True)
    pixels = np.random.default_rng(2).integers(0, 4096, frame // 2, dtype="<u2").tobytes()
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\0" + (b"OB" if colour else b"OW") + b"\0\0" + (frames * frame).to_bytes(4, "little"))
        for _ in range(frames):
            file.write(pixels)
    return path


def command(path: Path, out: Path) -> tuple[float, int]:
    """Seconds, and bytes of memory at most, that `kopru deidentify` takes for one file."""
    run = [sys.executable, "-c", "from daemon.cli import main; main()", "deidentify", path, "--out", out]
    started = time.perf_counter()
    process = subprocess.Popen([*run, "--key", out.parent / "key"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not any(out.iterdir()):
        raise SystemExit("kopru deidentify failed")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def memory() -> None:
    """What native multi-frames of 2 GB and of almost 4, the most that an element's length allows, take from file to
    file, beside what a small instance takes.
    """
    with tempfile.TemporaryDirectory(prefix="kopru-bench-", dir=_SHARED_MEMORY) as name:
        root = Path(name)
        _, nothing = command(large(root, 1 << 22, colour=False), root / "small")
        print(f"a small instance: {nothing / 1e6:.0f} MB")
        for size, colour in (((1 << 31) - 1, False), ((1 << 31) - 1, True), ((1 << 32) - 1, True)):
            path, out = large(root, size, colour=colour), root / "out"
            seconds, peak = command(path, out)
            size = path.stat().st_size
            kind = "8-bit colour" if colour else "16-bit"
            print(
                f"{size / 1e9:.2f} GB, {kind}: {seconds:.1f} s; {peak / 1e6:,.0f} MB at most:"
                f" {(peak - nothing) / size:.2f} times the file"
            )
            path.unlink()
            shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of de-identification.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--ct", action="store_true", help="measure the CT alone, which has the targets")
    arguments = parser.parse_args()
    if arguments.memory:
        memory()
        return
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    processor = next(model, platform.machine()).rpartition(":")[2].strip()
    print(f"one core of {processor}, Python {platform.python_version()}, medians of {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="kopru-bench-", dir=_SHARED_MEMORY) as name:
        root = Path(name)
        _certificate(root)
        results = {}
        for kind in INPUTS[:1] if arguments.ct else INPUTS:
            results[kind.name] = measure(kind, arguments.rounds, root)
            _report(kind, results[kind.name])
    times = results[INPUTS[0].name]
    dicognito, gdcmanon = times["dicognito"] / times["kopru"], times["gdcmanon"] / times["kopru"]
    print(f"\nCT: {dicognito:.1f} × dicognito (target {CT_TARGET:.0f}), {gdcmanon:.1f} × gdcmanon (target 1)")
    raise SystemExit(0 if dicognito >= CT_TARGET and gdcmanon > 1 else 1)


if __name__ == "__main__":
    main()
