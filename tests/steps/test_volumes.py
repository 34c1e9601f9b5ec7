"""CT series through all steps, with the sample model itself: measured, outlined, reported, sent where it is wanted."""

import json
import pickle
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread

from adapters.keys import KeyDestroyed
from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance
from anonymize.uids import WELL_KNOWN
from daemon.audit import Kind
from daemon.database import schema as t
from daemon.engine.tasks import TaskLoop
from daemon.settings.defaults import bundled_packages
from daemon.steps.heatmaps import made_with_results
from pipelines.volume import millilitres
from runtime import LocalRuntime, ModelPackage
from tests.peers.availability import command
from tests.peers.storescp import StoreScp
from tests.pipelines.ct_series import ct_series
from tests.pipelines.test_ct_lesion import WITH_LESION, WITHOUT
from tests.planted import search_bytes
from tests.steps.corrections import of, settle
from tests.steps.installation import Installation, Make
from tests.steps.test_copies import at, delivery, recorded
from tests.steps.test_pacs import to
from tests.system.radiographs import MadeUpPatient
from training.ct_phantoms import Phantom, draw_phantom

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)  # nothing here turns on a lock
PLANTED = ("PLANTID1", "Planted", "19500101", "ACC-PLANTED", "2.25.4000", "2.25.4100", "2.25.4200")
PHANTOM = draw_phantom(WITH_LESION)

Open = Callable[..., Installation]


@pytest.fixture
def volumes(make: Make, tmp_path: Path) -> Iterator[Open]:
    """Makes an installation that runs the sample's pipeline, with the model itself, and sends work to other processes
    as those would get it.
    """
    packages = bundled_packages()
    runtime = {
        "threads": 1,
        "packages": [str(packages[name]) for name in ("chest-xray-3class", "ct-lesion-sample")],
        "socket": str(tmp_path / "runtime.sock"),
        "result_key_file": str(tmp_path / "result.key"),
    }
    with ExitStack() as opened:

        def one(*archives: dict[str, Any], **sections: Any) -> Installation:
            made = make(*archives, pipelines=("chest-xray", "ct-lesion"), runtime=runtime, **sections)
            model = opened.enter_context(LocalRuntime([ModelPackage.load(packages["ct-lesion-sample"])], threads=1))
            made.node = replace(made.node, runtime=model)
            made.context = replace(made.context, node=made.node)
            made.loop = TaskLoop(made.context, "worker")
            call = made.workers.call
            made.workers.call = lambda *given: pickle.loads(pickle.dumps(call(*pickle.loads(pickle.dumps(given)))))  # type: ignore[method-assign]
            return made

        yield one


def slices(phantom: Phantom = PHANTOM, series: int = 1, **attributes: Any) -> list[Dataset]:
    known = {"PatientBirthDate": "19500101", "AccessionNumber": "ACC-PLANTED", "StudyDate": "20260102"}
    return ct_series(phantom, series, **known | attributes)


def document(installation: Installation) -> list[dict[str, Any]]:
    report = installation.report()
    assert report is not None
    return [entry["resource"] for entry in json.loads(report)["entry"]]


def seg_in(archive: StoreScp) -> tuple[list[Dataset], list[Dataset]]:
    """What an archive has: Segmentations, and all else."""
    there = [dcmread(file) for file in archive.files()]
    return [one for one in there if one.Modality == "SEG"], [one for one in there if one.Modality != "SEG"]


def test_a_study_is_measured_outlined_sealed_and_reported(volumes: Open):
    installation = volumes()
    localizer = slices(series=9)[0]
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    installation.send(localizer, *slices(), *slices(draw_phantom(WITHOUT), 2))
    installation.work()
    assert installation.revisions() == ["delivered"]
    result = installation.result()
    truth = millilitres(PHANTOM.lesion, PHANTOM.spacing_mm)
    first, second = (outcome.findings[0] for outcome in result.outcomes)
    assert first.measured is not None
    assert first.measured.value == pytest.approx(truth, rel=0.2)
    assert (first.present, second.present) == (True, False)
    (outline,) = result.outlines
    assert outline.sop_instance_uid == result.outcomes[0].sop_instance_uid
    amounts = [r for r in document(installation) if "valueQuantity" in r]
    assert [r["valueQuantity"]["value"] for r in amounts] == [first.measured.value, 0.0]
    (report,) = (r for r in document(installation) if r["resourceType"] == "DiagnosticReport")
    assert "1 of 49 received are of a kind that the algorithm does not take" in report["conclusion"]
    assert "disregard its result" in report["conclusion"]
    (study,) = installation.ask("studies.list")
    (row,) = installation.ask("studies.verify", study=study["study"])
    assert row["standing"] == "valid"

    ref = ObjectRef.parse(outline.segmentation)
    raw = ref.path(installation.node.store.root).read_bytes()
    assert b"SegmentSequence" not in raw
    assert b"not reviewed" not in raw
    opened = DeidentifiedInstance.from_bytes(installation.node.store.open(ref)[1])
    assert search_bytes(opened.file, PLANTED, "the segmentation") == []
    found = highdicom.seg.segread(BytesIO(opened.file))
    assert np.count_nonzero(found.pixel_array) * np.prod(PHANTOM.spacing_mm) / 1000 == pytest.approx(
        first.measured.value, rel=1e-3
    )
    with installation.database.read() as connection:
        patient_id = connection.execute(sa.select(t.result.c.patient_id)).scalar_one()
    assert made_with_results(installation.node, study["study"], patient_id) == [ref], "a correction hands it over, too"
    installation.node.keys.destroy_patient(patient_id)
    with pytest.raises(KeyDestroyed):
        installation.node.store.open(ref)


def test_a_series_that_is_no_volume_is_reported_as_not_analysable_and_not_outlined(volumes: Open):
    installation = volumes()
    series = slices()
    installation.send(*series[:10], *series[11:])
    installation.work()
    assert installation.revisions() == ["delivered"]
    result = installation.result()
    assert result.outlines == ()
    (outcome,) = result.outcomes
    assert (outcome.not_analysable, outcome.slices) == ("a slice is missing", 23)
    (report,) = (r for r in document(installation) if r["resourceType"] == "DiagnosticReport")
    assert report["status"] == "cancelled"
    assert "A slice is missing." in report["conclusion"]
    assert not [r for r in document(installation) if "valueQuantity" in r]


@pytest.mark.dcmtk
def test_the_segmentation_goes_along_where_it_is_wanted_and_lies_on_the_copies(
    volumes: Open, archive: StoreScp, teaching: StoreScp
):
    archive.start()
    teaching.start()
    shifted = {"options": ["clean-pixel-data", "retain-longitudinal-modified-dates"]}
    installation = volumes(at(archive, segmentations=True, deidentification=shifted), at(teaching, "teaching"))
    installation.send(*slices())
    installation.work()
    assert installation.revisions() == ["delivered"]
    (seg,), copies = seg_in(archive)
    assert (seg_in(teaching)[0], len(seg_in(teaching)[1])) == ([], len(copies))
    assert len(copies) == 24
    by_uid = {copy.SOPInstanceUID: copy for copy in copies}
    assert {(copy.StudyInstanceUID, copy.PatientID) for copy in copies} == {(seg.StudyInstanceUID, seg.PatientID)}
    assert {copy.FrameOfReferenceUID for copy in copies} == {seg.FrameOfReferenceUID}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        slice_ = by_uid[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert slice_.ImagePositionPatient == frame.PlanePositionSequence[0].ImagePositionPatient
    assert search_bytes(b"".join(f.read_bytes() for f in archive.files()), PLANTED, "the archive") == []
    events = {e["destination"]: e for e in recorded(installation, Kind.DEIDENTIFIED) if "destination" in e}
    assert (events["research"]["outlines"], events["research"]["outlines_left_out"]) == (1, 0)
    assert (events["teaching"]["outlines"], events["teaching"]["outlines_left_out"]) == (0, 1)

    installation.send(seg)  # an archive's rules may send it on to us
    assert installation.standings() == ["current"] * 24 + ["own-result"]


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("by_pipeline", "by_destination"),
    [
        (True, False),
        pytest.param(False, True, marks=pytest.mark.soak),
        pytest.param(True, True, marks=pytest.mark.soak),
    ],
)
def test_where_one_policy_retains_uids_and_the_other_does_not_the_segmentation_stays(
    volumes: Open, archive: StoreScp, by_pipeline: bool, by_destination: bool
):
    archive.start()
    options = {True: {"options": ["retain-uids"]}, False: {"options": []}}
    installation = volumes(
        at(archive, segmentations=True, deidentification=options[by_destination]),
        deidentification=options[by_pipeline],
    )
    installation.send(*slices())
    installation.work()
    assert installation.revisions() == ["delivered"]
    segs, copies = seg_in(archive)
    assert len(copies) == 24
    (event,) = (e for e in recorded(installation, Kind.DEIDENTIFIED) if "destination" in e)
    assert event["outlines_left_out"] == 1 - len(segs)
    assert len(segs) == (by_pipeline == by_destination)
    if segs:
        assert {segs[0].StudyInstanceUID} == {copy.StudyInstanceUID for copy in copies} == {"2.25.4000"}


@pytest.mark.dcmtk
def test_a_segmentation_that_the_result_was_not_signed_with_goes_nowhere(volumes: Open, archive: StoreScp):
    archive.start()
    installation = volumes(at(archive, segmentations=True))
    installation.send(*slices())
    installation.work("deidentify", "infer")
    result, store = installation.result(), installation.node.store
    (outline,), (patient,) = result.outlines, installation.node.keys.patients()
    made = DeidentifiedInstance.from_bytes(store.open(ObjectRef.parse(outline.segmentation))[1])
    other = store.put_derived(patient, replace(made, pieces=(made.file + b"\0\0",)).kept_form())
    installation.put_result(replace(result, outlines=(replace(outline, segmentation=str(other)),)))
    installation.work()
    assert installation.deliveries()[1, "research"] == "dead"
    assert archive.files() == []


def sealed_outlines(installation: Installation) -> list[Dataset]:
    """The de-identified Segmentations that the only result names."""
    refs = [ObjectRef.parse(outline.segmentation) for outline in installation.result().outlines]
    opened = [DeidentifiedInstance.from_bytes(installation.node.store.open(ref)[1]) for ref in refs]
    return [dcmread(BytesIO(one.file)) for one in opened]


def uids_in(data_set: Dataset) -> set[str]:
    """All that the standard does not know, at every depth."""
    return {str(element.value) for element in data_set.iterall() if element.VR == "UI"} - WELL_KNOWN


def slice_of(frame: Dataset) -> str:
    return str(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)


def verified(program: str, *files: Path) -> str:
    """What a verifier of dicom3tools says."""
    found = command(program)
    assert found is not None
    return subprocess.run([found, *files], capture_output=True).stderr.decode("utf-8", "replace")


@pytest.mark.dcmtk
@pytest.mark.dciodvfy
def test_a_pacs_gets_the_segmentations_on_its_own_slices_under_their_patient(
    volumes: Open, archive: StoreScp, tmp_path: Path
):
    archive.start()
    installation = volumes(to(archive), reports=())
    said = {"SpecificCharacterSet": "ISO_IR 148", "PatientName": "ŞAHİN^AYŞE", "PositionReferenceIndicator": "SN"}
    said |= {"PatientAge": "075Y", "PatientWeight": "70.5"}
    first = slices(TimezoneOffsetFromUTC="+0300", **said)
    second = slices(series=2, TimezoneOffsetFromUTC="+0300", FrameOfReferenceUID="2.25.4201", **said)
    installation.send(*first, *second)
    installation.work()
    assert installation.deliveries() == {(1, "pacs"): "delivered"}
    deidentified = sealed_outlines(installation)
    made = sorted(map(dcmread, archive.files()), key=lambda one: one.InstanceNumber)
    assert len({one.SeriesInstanceUID for one in made}) == 2, "a series has one frame of reference"
    for seg, sent, without_patient in zip(made, (first, second), deidentified, strict=True):
        for keyword in (
            *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
            *("PatientAge", "PatientWeight", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
            "ReferringPhysicianName",
            *("TimezoneOffsetFromUTC", "FrameOfReferenceUID", "PositionReferenceIndicator"),
        ):
            assert {seg[keyword].value} == {image[keyword].value for image in sent}, keyword
        there = {image.SOPInstanceUID: image.ImagePositionPatient for image in sent}
        placed = {
            slice_of(frame): frame.PlanePositionSequence[0].ImagePositionPatient
            for frame in seg.PerFrameFunctionalGroupsSequence
        }
        assert len(placed) == seg.NumberOfFrames
        assert placed == {uid: position for uid, position in there.items() if uid in placed}
        own = {seg.SOPInstanceUID, seg.SeriesInstanceUID, seg.DimensionIndexSequence[0].DimensionOrganizationUID}
        own.add(seg.DeviceUID)
        of_slices = {
            str(sent[0][name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
        }
        assert uids_in(seg) == own | of_slices | placed.keys()
        assert uids_in(seg).isdisjoint(uids_in(without_patient)), "or an archive's copy would tell whose it is"
        assert np.array_equal(seg.pixel_array, without_patient.pixel_array)
        assert not [element for element in seg if element.tag.group == 0x0012 or element.tag == 0x00280303]
        made_at = datetime.strptime(f"{seg.ContentDate}{seg.ContentTime}+0300", "%Y%m%d%H%M%S%z")
        assert abs(datetime.now(UTC) - made_at) < timedelta(minutes=10)
    bytes_there = b"".join(file.read_bytes() for file in archive.files())
    assert "ŞAHİN^AYŞE".encode("iso-8859-9") in bytes_there
    assert deidentified[0].PatientID.encode() not in bytes_there

    for file in archive.files():
        assert "Segmentation" in (found := verified("dciodvfy", file))
        assert re.findall("^Error.*", found, re.MULTILINE) == []
    files = [tmp_path / f"{number}.dcm" for number in range(48)]
    for image, file in zip((*first, *second), files, strict=True):
        image.save_as(file, enforce_file_format=True)
    assert verified("dcentvfy", *archive.files(), *files) == ""

    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.send(*made)  # as a PACS's rules may send them on
    installation.work()
    assert installation.deliveries()[2, "pacs"] == "delivered"
    assert b"".join(file.read_bytes() for file in archive.files()) == bytes_there, "and nothing beside it"
    assert installation.standings() == ["current"] * 48 + ["own-result"] * 2


@pytest.mark.dcmtk
def test_a_pacs_gets_nothing_that_refers_to_an_image_that_the_study_has_not(volumes: Open, archive: StoreScp):
    archive.start()
    installation = volumes(to(archive))
    installation.send(*slices())
    installation.work("deidentify", "infer")
    (outline,) = sealed_outlines(installation)
    last = slice_of(outline.PerFrameFunctionalGroupsSequence[-1])
    with installation.database.write() as connection:
        for row in connection.execute(sa.select(t.revision_instance)).all():
            ref = ObjectRef.parse(row.deidentified_ref)
            if DeidentifiedInstance.from_bytes(installation.node.store.open(ref)[1]).sop_instance_uid == last:
                gone = t.revision_instance.c.instance_id == row.instance_id
                connection.execute(sa.update(t.revision_instance).where(gone).values(deidentified_ref=None))
    installation.work()
    assert installation.deliveries() == {(1, "reports"): "delivered", (1, "pacs"): "held"}
    assert "an image that the study does not have" in delivery(installation, "pacs")["outcome"]
    assert archive.files() == []


@pytest.mark.dcmtk
def test_a_pacs_gets_nothing_about_slices_of_which_one_was_received_under_another_patient(
    volumes: Open, archive: StoreScp
):
    archive.start()
    installation = volumes(to(archive))
    sent = slices()
    reached = next(n for n, plane in reversed(list(enumerate(PHANTOM.lesion))) if plane.any())
    rightful = [of(MadeUpPatient(2), image) for image in sent]
    installation.send(sent[reached], *rightful[:reached], *rightful[reached + 1 :])
    installation.ask("studies.correct", study=installation.shown()["study"])
    settle(installation)
    last = len(installation.revisions())
    assert installation.deliveries()[last, "reports"] == "delivered"
    assert "received under another patient" in delivery(installation, "pacs", last)["outcome"]
    assert archive.files() == []


@pytest.mark.soak
@pytest.mark.dcmtk
def test_a_late_series_leaves_the_earlier_outline_as_it_is(volumes: Open, archive: StoreScp):
    archive.start()
    installation = volumes(at(archive, segmentations=True))
    installation.send(*slices())
    installation.work()
    (before,), _ = seg_in(archive)
    installation.send(*slices(draw_phantom(WITHOUT), 2))
    installation.work()
    assert installation.revisions() == ["delivered", "delivered"]
    segs, copies = seg_in(archive)
    assert len(copies) == 48
    assert {seg.SOPInstanceUID for seg in segs} == {before.SOPInstanceUID}
    assert all(seg == before for seg in segs)
