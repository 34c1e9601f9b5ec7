"""What was made about a study goes back to its PACS: heatmaps as Secondary Capture, under the real patient."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from pydicom import Dataset, dcmread

from adapters.dicom import MadeInstance
from adapters.keys import KeyDestroyed
from adapters.storage import ObjectRef
from anonymize import DeidentifiedInstance
from daemon.audit import Kind
from daemon.database import schema as t
from daemon.deidentification import Recipes
from daemon.destinations import open_archives, open_pacs
from daemon.engine.tasks import TaskLoop
from daemon.equipment import device_uid
from daemon.settings import DicomDestination, PacsDestination
from daemon.steps.manifest import MadeManifest
from daemon.vault import open_column
from pipelines.results import MANUFACTURER
from tests.peers.availability import command
from tests.peers.storescp import StoreScp
from tests.planted import search_sqlite, search_tree
from tests.steps.corrections import of, settle
from tests.steps.installation import Installation, Make, another, image
from tests.steps.test_copies import at, delivery, peer, recorded
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note

pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.parametrize("dialect", ["sqlite"], indirect=True),  # nothing here turns on a lock
]
STUDY = "2.25.4711"
NORMAL = [0.95, 0.04, 0.01]


@pytest.fixture
def pacs(archive: StoreScp) -> Iterator[StoreScp]:
    archive.start()
    return archive


def to(archive: StoreScp, **more: Any) -> dict[str, Any]:
    """The settings of the PACS."""
    return at(archive, "pacs", kind="pacs", confirm_research=True) | more


def explaining(installation: Installation) -> Installation:
    """With a model that has heatmaps."""
    installation.model.heat = [1.0, 0.3, 0.0]
    installation.model.scores = dict.fromkeys(installation.packages.by_version, NORMAL)
    return installation


def there(archive: StoreScp) -> list[Dataset]:
    """What the PACS has, in the order of its names."""
    return [dcmread(file) for file in archive.files()]


def sent_for(installation: Installation, revision: int = 1) -> list[ObjectRef]:
    """Where what was made for the PACS lies."""
    with installation.database.read() as connection:
        wanted = t.delivery.c.id == delivery(installation, "pacs", revision)["id"]
        row = connection.execute(sa.select(t.delivery).where(wanted)).one()
    entry = installation.node.keys.patient(row.patient_id)
    manifest = MadeManifest.from_json(open_column(entry, "delivery", row.id, row.sealed_document))
    return [ObjectRef.parse(made.ref) for made in manifest.listed]


def errors_in(file: Path) -> list[str]:
    """What the verifier of dicom3tools finds wrong."""
    program = command("dciodvfy")
    assert program is not None
    said = subprocess.run([program, file], capture_output=True).stderr.decode()
    assert said.startswith("SCImage")
    return re.findall("^Error.*", said, re.MULTILINE)


@pytest.mark.dciodvfy
def test_the_heatmap_is_in_the_study_of_its_patient(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    sent = image(StudyInstanceUID=STUDY, PatientName="ŞAHİN^AYŞE", SpecificCharacterSet="ISO_IR 148", StudyID="7")
    sent.TimezoneOffsetFromUTC = "+0300"
    installation.send(sent)
    installation.work()
    assert installation.deliveries() == {(1, "reports"): "delivered", (1, "pacs"): "delivered"}
    (file,) = pacs.files()
    made = dcmread(file)
    for keyword in (
        *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
        *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "TimezoneOffsetFromUTC"),
    ):
        assert made[keyword].value == sent[keyword].value, keyword
    assert "ŞAHİN^AYŞE".encode("iso-8859-9") in file.read_bytes()
    assert (made.Manufacturer, made.Modality, made.ConversionType) == ("kopru", "OT", "WSD")
    assert made.SeriesDescription == "AI heatmap, not reviewed, research only, not for diagnosis"
    assert "not reviewed" in made.ImageComments
    assert made.SeriesInstanceUID != sent.SeriesInstanceUID
    made_at = datetime.strptime(f"{made.ContentDate}{made.ContentTime}+0300", "%Y%m%d%H%M%S%z")
    assert abs(datetime.now(UTC) - made_at) < timedelta(minutes=10)
    (source,) = made.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (sent.SOPClassUID, sent.SOPInstanceUID)
    shown = Image.fromarray(made.pixel_array)
    assert (shown.mode, shown.size) == ("RGB", (made.Columns, made.Rows))
    assert made.BurnedInAnnotation == "NO"
    assert [event["purpose"] for event in recorded(installation, Kind.VAULT_ANSWERED)] == ["report", "pacs"]
    (event,) = recorded(installation, Kind.INSTANCES_MADE)
    assert (event["destination"], event["instances"]) == ("pacs", 1)
    assert errors_in(file) == []


def test_what_is_made_lies_sealed_until_the_patients_key_is_destroyed(make: Make, pacs: StoreScp, tmp_path: Path):
    installation = explaining(make(to(pacs), reports=()))
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    planted = [*MadeUpPatient(1).planted, STUDY]
    (ref,) = sent_for(installation)
    opened = installation.node.store.open(ref)[1]
    assert MadeUpPatient(1).patient_id.encode() in opened
    assert search_tree(installation.node.settings.node.data, planted) == []
    assert search_sqlite(tmp_path / "kopru.sqlite", planted) == []
    with installation.database.read() as connection:
        patient_id = connection.execute(sa.select(t.patient.c.id)).scalar_one()
    installation.node.keys.destroy_patient(patient_id)
    with pytest.raises(KeyDestroyed):
        installation.node.store.open(ref)


def test_a_pacs_that_does_not_answer_gets_the_same_instance_later(make: Make, archive: StoreScp):
    installation = explaining(make(to(archive)))
    installation.send(image())
    installation.work()
    assert delivery(installation, "pacs")["state"] == "prepared"
    (ref,) = sent_for(installation)
    archive.start()
    installation.hurry()
    installation.work()
    assert installation.revisions() == ["delivered"]
    made = MadeInstance.from_bytes(installation.node.store.open(ref)[1])
    assert [one.SOPInstanceUID for one in there(archive)] == [made.sop_instance_uid]


def test_a_pacs_that_has_it_already_has_the_same(make: Make):
    def answer(_event: Any) -> int:
        return 0x0111

    with peer(answer, "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2") as settings:
        installation = explaining(make(settings | {"name": "pacs", "kind": "pacs", "confirm_research": True}))
        installation.send(image())
        installation.work()
    assert installation.revisions() == ["delivered"]


@pytest.mark.dciodvfy
def test_a_later_image_adds_its_heatmap_to_the_series_and_the_first_stays_what_it_was(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    first = image(StudyInstanceUID=STUDY)
    installation.send(first)
    installation.work()
    (before,) = (file.read_bytes() for file in pacs.files())
    second = another(first)
    installation.send(second)
    installation.work()
    assert installation.revisions() == ["delivered", "delivered"]
    made = there(pacs)
    assert len(made) == 2
    assert len({one.SeriesInstanceUID for one in made}) == 1
    program = command("dcentvfy")  # what has one series has one equipment, one study, one patient
    assert program is not None
    assert subprocess.run([program, *pacs.files()], capture_output=True).stderr == b""
    assert before in {file.read_bytes() for file in pacs.files()}
    sources = {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in made}
    assert sources == {first.SOPInstanceUID, second.SOPInstanceUID}


def test_another_answer_is_another_instance_and_a_person_is_told_of_the_former_once(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    for scores, state in (([0.9, 0.07, 0.03], "held"), ([0.9, 0.07, 0.03], "delivered")):
        installation.model.scores = dict.fromkeys(installation.packages.by_version, scores)
        installation.ask("studies.reprocess", study=installation.shown()["study"])
        installation.work()
        last = delivery(installation, "pacs", len(installation.revisions()))
        assert last["state"] == state
    assert len({one.SOPInstanceUID for one in there(pacs)}) == 2
    assert len({one.SeriesInstanceUID for one in there(pacs)}) == 1
    told = delivery(installation, "pacs", 2)["outcome"]
    assert "1 instances that were sent before and are not part of it any more are there" in told


def test_heatmaps_of_a_study_that_was_taken_back_are_told_to_a_person(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    sent = image(StudyInstanceUID=STUDY)
    installation.send(sent)
    installation.work()
    installation.send(rejection_note([sent], MadeUpPatient(1)))
    installation.work()
    last = delivery(installation, "pacs", 2)
    assert last["state"] == "held"
    assert "1 instances that were sent before" in last["outcome"]
    assert len(pacs.files()) == 1


def test_heatmaps_about_a_former_patient_are_told_to_a_person_and_new_ones_name_the_rightful(
    make: Make, pacs: StoreScp
):
    installation = explaining(make(to(pacs)))
    sent = image(StudyInstanceUID=STUDY)
    installation.send(sent)
    installation.work()
    installation.send(of(MadeUpPatient(2), sent))
    settle(installation)
    told = next(
        row for row in installation.shown()["deliveries"] if (row["destination"], row["state"]) == ("pacs", "held")
    )
    assert "1 instances were sent there under the former patient's name" in told["outcome"]
    assert [event["instances"] for event in recorded(installation, Kind.NOT_RECALLED)] == [1]
    made = there(pacs)
    assert {one.PatientID for one in made} == {MadeUpPatient(1).patient_id, MadeUpPatient(2).patient_id}
    (ref,) = sent_for(installation, 1)
    with installation.database.read() as connection:
        rightful = connection.execute(sa.select(t.study.c.patient_id)).scalar_one()
    assert installation.node.store.key_of(ref).id == rightful
    assert len({one.SeriesInstanceUID for one in made}) == len({one.SOPInstanceUID for one in made}) == 2


def test_nothing_is_sent_while_the_images_name_two_people(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    first = image(StudyInstanceUID=STUDY)
    second = another(first)
    second.PatientBirthDate = "19990101"
    installation.send(first, second)
    installation.work()
    last = delivery(installation, "pacs")
    assert (last["state"], pacs.files()) == ("held", [])
    assert "do not agree on the patient's birth date" in last["outcome"]


def test_nothing_is_sent_about_an_image_that_was_received_under_another_patient(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    first = image(StudyInstanceUID=STUDY)
    second = another(first)
    installation.send(first, second)
    installation.indexer.pass_once()
    installation.send(of(MadeUpPatient(2), first))
    installation.ask("studies.correct", study=installation.shown()["study"])
    settle(installation)
    last = delivery(installation, "pacs", len(installation.revisions()))
    assert last["state"] == "held"
    assert "received under another patient" in last["outcome"]
    assert pacs.files() == []
    assert installation.deliveries()[len(installation.revisions()), "reports"] == "delivered"


def test_nothing_is_sent_under_a_placeholder_once_a_person_has_said_whose_the_study_is(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))
    nobody = {"PatientID": "0", "PatientName": "", "PatientBirthDate": "", "PatientSex": ""}
    installation.send(image(StudyInstanceUID=STUDY, **nobody))
    installation.indexer.pass_once()
    installation.send(another(image(StudyInstanceUID=STUDY)))
    installation.ask("studies.correct", study=installation.shown()["study"])
    settle(installation)
    last = delivery(installation, "pacs", len(installation.revisions()))
    assert last["state"] == "held"
    assert "received under another patient" in last["outcome"]
    assert pacs.files() == []


def test_an_own_result_that_is_read_first_does_not_say_whose_the_study_is(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs)))  # as after a loss of the index, which is read again in any order
    ours = image(StudyInstanceUID=STUDY, SOPInstanceUID="2.25.999", DeviceUID=device_uid(installation.node.master))
    installation.send(of(MadeUpPatient(2), ours))
    installation.send(image(StudyInstanceUID=STUDY))
    settle(installation)
    assert installation.standings() == ["current", "own-result"]
    assert installation.revisions() == ["delivered"]
    assert {one.PatientID for one in there(pacs)} == {MadeUpPatient(1).patient_id}


@pytest.mark.parametrize("patient", [1, 2], ids=["as it was sent", "as its patient was corrected there"])
def test_what_comes_back_is_our_own_result(make: Make, pacs: StoreScp, patient: int):
    installation = explaining(make(to(pacs)))
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    (made,) = there(pacs)
    installation.send(of(MadeUpPatient(patient), made))
    settle(installation)
    assert installation.standings() == ["current", "own-result"]
    assert installation.revisions() == ["delivered"]
    assert len(pacs.files()) == 1


def test_another_device_of_the_same_name_is_not_taken_for_us(make: Make):
    installation = make()
    installation.send(image(Manufacturer=MANUFACTURER, ManufacturerModelName=MANUFACTURER, DeviceUID="2.25.4712"))
    installation.work()
    assert installation.standings() == ["current"]
    assert installation.revisions() == ["delivered"]


@pytest.mark.orthanc
def test_orthanc_has_it_in_the_study_of_the_image_and_what_it_gives_back_goes_no_further(make: Make, orthanc):
    settings = {"name": "pacs", "kind": "pacs", "port": orthanc.dicom_port, "ae_title": orthanc.aet}
    installation = explaining(make(settings | {"confirm_research": True}, reports=()))
    sent = image(StudyInstanceUID=STUDY, PatientName="ŞAHİN^AYŞE", SpecificCharacterSet="ISO_IR 148")
    file = BytesIO()
    sent.save_as(file, enforce_file_format=True)
    orthanc.upload(file.getvalue())
    installation.send(sent)
    installation.work()
    (study,) = orthanc.studies()
    assert orthanc.rest.get(f"/studies/{study}").json()["PatientMainDicomTags"]["PatientName"] == "ŞAHİN^AYŞE"
    instances = orthanc.rest.get(f"/studies/{study}/instances").json()
    files = [orthanc.rest.get(f"/instances/{instance['ID']}/file").content for instance in instances]
    installation.send(*(dcmread(BytesIO(given)) for given in files))
    settle(installation)
    assert installation.standings() == ["current", "duplicate", "own-result"]
    assert installation.revisions() == ["delivered"]


def test_a_study_without_heatmaps_sends_nothing_and_names_nobody(make: Make, archive: StoreScp):
    installation = make(to(archive), reports=())
    installation.send(image())
    installation.work()
    assert installation.revisions() == ["delivered"]
    row = delivery(installation, "pacs")
    assert (row["state"], row["attempts"]) == ("delivered", 0)
    assert "nothing to send" in row["outcome"]
    assert recorded(installation, Kind.VAULT_ANSWERED) == recorded(installation, Kind.DELIVERED) == []


def test_a_research_model_sends_nothing_unless_the_site_has_confirmed_it(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs, confirm_research=False)))
    installation.send(image())
    installation.work()
    assert installation.deliveries() == {(1, "reports"): "delivered", (1, "pacs"): "withheld"}
    assert pacs.files() == []


@pytest.mark.parametrize(("was", "becomes"), [("pacs", "dicom"), ("dicom", "pacs")])
def test_what_was_made_for_one_kind_of_destination_is_never_sent_to_the_other(
    make: Make, pacs: StoreScp, was: str, becomes: str
):
    both = {"dicom": at(pacs, "pacs"), "pacs": to(pacs)}
    kinds = {"dicom": DicomDestination, "pacs": PacsDestination}
    installation = explaining(make(both[was], reports=()))
    installation.send(image())
    installation.work("deidentify", "infer", "make", "copy")
    other = kinds[becomes].model_validate({"kind": becomes, "address": "127.0.0.1"} | both[becomes])
    settings = installation.settings.model_copy(update={"destinations": (other,)})
    node = replace(installation.node, settings=settings)
    opened = {"archives": open_archives(settings), "pacs": open_pacs(settings), "recipes": Recipes(settings)}
    installation.loop = TaskLoop(replace(installation.context, node=node, **opened), "worker")
    installation.work()
    assert delivery(installation, "pacs")["state"] == "dead"
    assert "of another kind" in delivery(installation, "pacs")["outcome"]
    assert pacs.files() == []


def test_neither_kind_of_instance_is_read_as_the_other(make: Make, pacs: StoreScp):
    installation = explaining(make(to(pacs), at(pacs)))
    installation.send(image())
    installation.work()
    (ref,) = sent_for(installation)
    with installation.database.read() as connection:
        copied = connection.execute(sa.select(t.revision_instance.c.deidentified_ref)).scalar_one()
    made, deidentified = (installation.node.store.open(r)[1] for r in (ref, ObjectRef.parse(copied)))
    with pytest.raises(ValueError):
        DeidentifiedInstance.from_bytes(made)
    with pytest.raises(ValueError):
        MadeInstance.from_bytes(deidentified)
    assert dcmread(BytesIO(MadeInstance.from_bytes(made).file)).PatientID == MadeUpPatient(1).patient_id
