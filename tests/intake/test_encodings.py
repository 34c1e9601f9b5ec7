"""The same image in another encoding is the same image: compared by decoded values, where nothing was lost."""

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gdcm
import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from daemon.database import schema as t
from daemon.intake import twins
from daemon.intake.arrival import Arrival
from tests.steps.installation import Association, Installation, another, image
from tests.waiting import wait_until

SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
NATIVE = [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = {
    RLELossless: gdcm.TransferSyntax.RLELossless,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
}


def grey(bits: int = 12) -> Dataset:
    """An image of 16-bit words, so that the order of bytes matters."""
    made = image()
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, bits, bits - 1
    rows, columns = made.Rows, made.Columns
    values = np.add.outer(np.arange(rows), np.arange(columns)).astype("<u2") % (1 << bits)
    made.PixelData = values.tobytes()
    made["PixelData"].VR = "OW"
    return made


def colour() -> Dataset:
    made = image()
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.PixelData = np.random.default_rng(1).integers(0, 255, (made.Rows, made.Columns, 3), np.uint8).tobytes()
    return made


def encoded(of: Dataset, syntax: UID) -> Dataset:
    """The same instance as a PACS sends it that stores it otherwise."""
    if syntax in COMPRESSED:
        return compressed(of, COMPRESSED[syntax])
    made = copy.deepcopy(of)
    if syntax == ExplicitVRBigEndian:  # words, of 8-bit samples too (PS3.5 8.1.1)
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        made["PixelData"].VR = "OW"
    made.file_meta.TransferSyntaxUID = syntax
    return made


def compressed(of: Dataset, syntax: int) -> Dataset:
    """By GDCM, which many a PACS is built on."""
    with TemporaryDirectory() as folder:
        of.save_as(Path(folder) / "native.dcm", enforce_file_format=True)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(f"{folder}/native.dcm")
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(f"{folder}/compressed.dcm")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return dcmread(f"{folder}/compressed.dcm")


@SQLITE
@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED])
@pytest.mark.parametrize("make", [grey, colour])
def test_the_same_image_in_another_lossless_encoding_is_a_variant(
    installation: Installation, make: Callable[[], Dataset], syntax: UID
):
    first = make()
    installation.send(first)
    installation.send(encoded(first, syntax))
    assert installation.standings() == ["current", "variant"]
    assert installation.revisions() == ["closed"]


@SQLITE
def test_two_compressed_encodings_of_an_image_in_one_association_are_one_image(installation: Installation):
    first = grey()
    installation.send(encoded(first, JPEG2000Lossless), encoded(first, RLELossless))
    assert installation.standings() == ["current", "variant"]


@SQLITE
def test_another_encoding_with_another_name_is_a_correction(installation: Installation):
    first = grey()
    installation.send(first)
    corrected = encoded(first, RLELossless)
    corrected.PatientName = "DUZELTILMIS^AD"
    installation.send(corrected)
    assert installation.standings() == ["corrected", "current"]


@SQLITE
@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless])
def test_another_value_of_one_pixel_holds_the_study_in_every_encoding(installation: Installation, syntax: UID):
    first = grey()
    installation.send(first)
    other = copy.deepcopy(first)
    other.PixelData = b"\1" + other.PixelData[1:]
    installation.send(encoded(other, syntax))
    assert installation.standings() == ["conflict", "current"]
    assert installation.revisions()[-1] == "held"


@SQLITE
def test_values_that_mean_something_else_are_another_image(installation: Installation):
    first = grey()
    installation.send(first)
    other = encoded(first, ImplicitVRLittleEndian)
    other.PixelRepresentation = 1
    other.PixelData += b"\0\0"  # so that not the bytes alone say it
    installation.send(other)
    assert installation.standings() == ["conflict", "current"]


@SQLITE
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("PhotometricInterpretation", "MONOCHROME1"),
        ("BitsStored", 10),
        ("PixelRepresentation", 1),
        ("NumberOfFrames", 2),
    ],
)
def test_the_same_bytes_that_make_another_image_hold_the_study(
    installation: Installation, attribute: str, value: object
):
    first = grey()
    installation.send(first)
    other = copy.deepcopy(first)
    assert other.get(attribute) != value
    setattr(other, attribute, value)
    installation.send(other)
    assert installation.standings() == ["conflict", "current"]
    assert installation.revisions()[-1] == "held"


@SQLITE
@pytest.mark.parametrize(("attribute", "value"), [("PlanarConfiguration", 0), ("NumberOfFrames", 1)])
def test_what_a_pacs_adds_and_says_nothing_new_is_a_variant(installation: Installation, attribute: str, value: object):
    first = grey()
    installation.send(first)
    other = copy.deepcopy(first)
    assert attribute not in other
    setattr(other, attribute, value)
    installation.send(other)
    assert installation.standings() == ["current", "variant"]


def table(*entries: int) -> Dataset:
    made = Dataset()
    made.add_new("LUTDescriptor", "US", [len(entries), 0, 16])
    made.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return made


def palette(red: int = 3) -> Dataset:
    """An image in colours of a table."""
    made = image()
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour, first in (("Red", red), ("Green", 5), ("Blue", 7)):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(made, f"{colour}PaletteColorLookupTableData", np.array([first, 1, 2, 258], "<u2").tobytes())
    return made


def in_groups(intercepts: list[int]) -> Dataset:
    """An image of frames that each have a Modality LUT of their own (PS3.3 C.7.6.16.2.9)."""
    made = plain()
    made.NumberOfFrames, made.PixelData = len(intercepts), made.PixelData * len(intercepts)
    made.PerFrameFunctionalGroupsSequence = []
    for intercept in intercepts:
        frame, transformation = Dataset(), Dataset()
        transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = intercept, 1, "HU"
        frame.PixelValueTransformationSequence = [transformation]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    return made


def plain() -> Dataset:
    """An image that says nothing of how it is to be displayed."""
    made = grey()
    del made.RescaleSlope, made.RescaleIntercept, made.WindowCenter, made.WindowWidth, made.PresentationLUTShape
    return made


def ct() -> Dataset:
    made = plain()
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = "1", "-1024", "HU"
    made.WindowCenter, made.WindowWidth = ["40", "-600"], ["400", "1500"]
    return made


@SQLITE
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (ct, {"RescaleIntercept": "-1000"}),
        (ct, {"RescaleSlope": "2"}),
        (ct, {"RescaleIntercept": None}),
        (plain, {"RescaleSlope": "2"}),
        (plain, {"PresentationLUTShape": "INVERSE"}),
        (plain, {"ModalityLUTSequence": [table(0, 9)]}),
        (palette, {"RedPaletteColorLookupTableData": bytes(8)}),
        (lambda: in_groups([0, -1]), {"PerFrameFunctionalGroupsSequence": in_groups([-1, 0])}),
    ],
)
def test_the_same_pixels_that_are_displayed_otherwise_hold_the_study(
    installation: Installation, make: Callable[[], Dataset], changes: dict[str, Any]
):
    first = make()
    installation.send(first)
    installation.send(changed(first, changes))
    assert installation.standings() == ["conflict", "current"]
    assert installation.revisions()[-1] == "held"


def with_voi_lut(made_by: Dataset) -> Dataset:
    made = plain()
    made.VOILUTSequence = [made_by]
    return made


def changed(first: Dataset, changes: dict[str, Any]) -> Dataset:
    other = copy.deepcopy(first)
    for attribute, value in changes.items():
        if value is None:
            delattr(other, attribute)
        elif isinstance(value, Dataset):
            other[attribute] = value[attribute]
        else:
            setattr(other, attribute, value)
    return other


@SQLITE
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (ct, {"RescaleSlope": "1.0", "RescaleIntercept": "-1.024E3", "WindowCenter": ["40.00", "-600"]}),
        (ct, {"RescaleType": "US", "WindowCenterWidthExplanation": ["SOFT", "LUNG"], "VOILUTFunction": "LINEAR"}),
        (ct, {"WindowCenter": ["40", "-600", "300"], "WindowWidth": ["400", "1500", "1500"]}),
        (plain, {"RescaleSlope": "1", "RescaleIntercept": "0", "PresentationLUTShape": "IDENTITY"}),
        (plain, {"WindowCenter": "2048", "WindowWidth": "4096"}),
        (grey, {"RedPaletteColorLookupTableData": bytes(8), "SmallestImagePixelValue": 0}),
        (ct, {"SeriesDescription": "BATIN", "InstitutionName": "BASKA", "ImageComments": "yok"}),
        (ct, {"WindowCenter": ["50", "-600"]}),
        (ct, {"WindowWidth": "100"}),
        (ct, {"VOILUTFunction": "SIGMOID", "WindowCenter": "41"}),
        (ct, {"WindowCenter": None, "WindowWidth": None}),
        (lambda: with_voi_lut(table(1, 2)), {"VOILUTSequence": [table(2, 1)]}),
        (lambda: in_groups([0, -1]), {"RescaleSlope": "1"}),
    ],
)
def test_what_a_pacs_writes_otherwise_or_proposes_besides_is_a_variant(
    installation: Installation, make: Callable[[], Dataset], changes: dict[str, Any]
):
    first = make()
    installation.send(first)
    installation.send(changed(first, changes))
    assert installation.standings() == ["current", "variant"]


@SQLITE
@pytest.mark.parametrize("make", [ct, palette, lambda: in_groups([0, -1])])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_tables_and_windows_are_the_same_in_every_encoding(
    installation: Installation, make: Callable[[], Dataset], syntax: UID
):
    first = make()
    installation.send(first)
    again = encoded(first, syntax)
    if syntax == ExplicitVRBigEndian:
        for element in again.group_dataset(0x0028):
            if element.VR == "OW":
                element.value = np.frombuffer(element.value, "<u2").astype(">u2").tobytes()
    installation.send(again)
    assert installation.standings() == ["current", "variant"]


@SQLITE
def test_a_patient_is_not_corrected_by_what_is_displayed_otherwise(installation: Installation):
    first = ct()
    installation.send(first)
    other = changed(first, {"RescaleIntercept": "-1000", "PatientID": "PLANTID2"})
    installation.send(other)
    installation.indexer.pass_once()
    assert installation.revisions()[-1] == "held"
    installation.send(changed(first, {"PatientID": "PLANTID3", "InstitutionName": "BASKA"}))
    with installation.database.read() as connection:
        rows = connection.execute(sa.select(t.instance.c.repeats)).scalars()
        assert [row is not None for row in rows] == [False, False, True]


@SQLITE
def test_what_cannot_be_decoded_or_may_have_lost_something_holds_the_study(installation: Installation):
    first = grey()
    installation.send(first)
    broken = encoded(first, JPEG2000Lossless)
    broken.PixelData = broken.PixelData[:40] + bytes(60) + broken.PixelData[100:]
    lossy = encoded(first, JPEG2000Lossless)
    lossy.file_meta.TransferSyntaxUID = JPEG2000
    installation.send(broken)
    installation.send(lossy)
    assert installation.standings() == ["conflict", "conflict", "current"]


@SQLITE
def test_nothing_is_decoded_where_the_encoding_is_the_same(installation: Installation):
    installation.workers.before = lambda: pytest.fail("pixels were decoded")
    first = grey()
    other = copy.deepcopy(first)
    other.PixelData = b"\1" + other.PixelData[1:]
    installation.send(first, image())
    installation.send(other)
    assert installation.standings() == ["conflict", "current", "current"]


@SQLITE
def test_an_object_that_does_not_open_any_more_is_not_taken_for_the_same(installation: Installation):
    first = grey()
    (ref,) = installation.send(first)
    ref.path(installation.node.store.root).write_bytes(b"")
    installation.send(encoded(first, RLELossless))
    assert installation.standings() == ["conflict", "current"]


@SQLITE
def test_one_that_nobody_can_compare_is_listed_and_stops_no_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    first, bad = grey(), grey()
    installation.send(first, bad)
    same_as = twins.Twins.same_as

    def fails(of: twins.Twins, arrival: Arrival, there: list[Any]) -> frozenset[str] | None:
        if arrival.instance_id == refs[1].id:
            raise ValueError("unforeseen")
        return same_as(of, arrival, there)

    monkeypatch.setattr(twins.Twins, "same_as", fails)
    association = Association(installation)
    again = [encoded(first, RLELossless), encoded(bad, RLELossless), another(first)]
    refs = [association.store(one) for one in again]
    association.release()
    installation.indexer.pass_once()
    assert by_standing(installation) == {"current": 3, "variant": 1, "quarantined": 1}


# How long it takes


@contextmanager
def hanging(installation: Installation) -> Iterator[threading.Event]:
    """Comparisons come to no end until the event is set."""
    go = threading.Event()
    installation.workers.before = lambda: go.wait(30)
    try:
        yield go
    finally:
        go.set()


def by_standing(installation: Installation) -> dict[str, int]:
    return dict(Counter(installation.standings()))


@SQLITE
def test_other_studies_are_indexed_and_processed_while_two_images_are_compared(installation: Installation):
    first, other = grey(), image()
    installation.send(first)
    with hanging(installation) as go:
        installation.send(encoded(first, RLELossless))
        installation.send(other, another(other))
        states = sorted(row["state"] for row in installation.ask("studies.list"))
        assert states == ["closed", "closed"]
        assert by_standing(installation) == {"current": 3}
        assert installation.ask("status")["index"]["waiting"] == 1, "it is acknowledged, and not forgotten"
        go.set()
        wait_until(lambda: compared(installation) == {"current": 3, "variant": 1}, "the comparison to count")


def compared(installation: Installation) -> dict[str, int]:
    installation.indexer.pass_once()
    return by_standing(installation)


@SQLITE
def test_a_study_is_not_closed_while_something_of_it_is_compared(installation: Installation):
    first = grey()
    with hanging(installation) as go:
        installation.send(first, encoded(first, RLELossless))
        assert installation.revisions() == ["assembling"]
        installation.indexer.pass_once()
        assert installation.revisions() == ["assembling"]
        go.set()
        wait_until(lambda: compared(installation) == {"current": 1, "variant": 1}, "the comparison to count")
    assert installation.revisions() == ["closed"]


@SQLITE
def test_what_was_being_compared_when_the_engine_ended_is_compared_again(installation: Installation):
    first = grey()
    with hanging(installation):
        installation.send(first, encoded(first, RLELossless), encoded(first, JPEG2000Lossless))
        assert by_standing(installation) == {"current": 1}
    installation.workers.before = lambda: None
    installation.new_indexer()
    wait_until(lambda: compared(installation) == {"current": 1, "variant": 2}, "the comparisons to count")
    assert installation.revisions() == ["closed"]
    assert installation.ask("status")["index"]["waiting"] == 0


@SQLITE
def test_what_is_corrected_while_it_is_compared_is_judged_by_what_is_in_use_then(installation: Installation):
    first = grey()
    installation.send(first)
    with hanging(installation) as go:
        installation.send(encoded(first, RLELossless))
        corrected = copy.deepcopy(first)
        corrected.PatientName = "DUZELTILMIS^AD"
        installation.send(corrected)
        assert by_standing(installation) == {"corrected": 1, "current": 1}
        go.set()
        wait_until(lambda: compared(installation) == {"corrected": 2, "current": 1}, "the comparison to count")
    assert installation.revisions()[-1] == "closed"


@SQLITE
def test_the_same_bytes_are_compared_once_however_often_they_come(installation: Installation):
    first = grey()
    again = encoded(first, RLELossless)
    calls: list[int] = []
    installation.workers.before = lambda: calls.append(1)
    installation.send(first, again, again, again)
    assert by_standing(installation) == {"current": 1, "variant": 1, "duplicate": 2}
    assert len(calls) == 1


@SQLITE
def test_a_study_that_takes_too_long_to_compare_is_held_and_an_operator_can_end_that(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(twins, "_SECONDS_A_STUDY", 0.0)
    installation.workers.before = lambda: pytest.fail("pixels were decoded")
    first = grey()
    installation.send(first, encoded(first, RLELossless))
    assert by_standing(installation) == {"conflict": 1, "current": 1}
    assert installation.revisions() == ["held"]
    installation.ask("studies.keep", study=installation.shown()["study"])
    installation.indexer.pass_once()
    assert installation.revisions()[-1] == "closed"


@SQLITE
def test_a_study_with_little_to_compare_does_not_wait_for_one_with_much(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    much, little = grey(), grey()
    decoded: list[bool] = []
    call = installation.workers.call

    def noted(function: Callable[..., bool], data: bytes, *rest: object) -> bool:
        decoded.append(much.StudyInstanceUID.encode() in data)
        return call(function, data, *rest)

    monkeypatch.setattr(installation.workers, "call", noted)
    again = [encoded(much, syntax) for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless)]
    installation.send(much, little, *again, encoded(little, RLELossless))
    assert by_standing(installation) == {"current": 2, "variant": 4}
    assert decoded == [True, False, True, True]
