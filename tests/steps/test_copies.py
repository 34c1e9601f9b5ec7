"""Studies that go to DICOM destinations: de-identified under a policy of the destination's own, whole or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from daemon.audit import Kind
from daemon.database import schema as t
from tests.peers.storescp import StoreScp
from tests.planted import search_bytes
from tests.steps.corrections import of
from tests.steps.installation import Installation, Make, another, image
from tests.system.radiographs import MadeUpPatient
from tests.system.test_outcomes import rejection_note

STUDY = "2.25.4711"
SHIFTED = {"options": ["clean-pixel-data", "retain-longitudinal-modified-dates"]}
BARE: dict[str, list[str]] = {"options": []}

sqlite_alone = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""For what turns on no lock and no transaction."""


def at(peer: StoreScp, name: str = "research", **more: Any) -> dict[str, Any]:
    return {"name": name, "port": peer.port, "ae_title": peer.aet} | more


@contextmanager
def peer(
    answer: Callable[[evt.Event], int | Dataset],
    sop_class: str = DigitalXRayImageStorageForPresentation,
    syntax: str = ExplicitVRLittleEndian,
) -> Iterator[dict[str, Any]]:
    """The settings of an archive that answers each C-STORE as told."""
    entity = AE(ae_title="PEER")
    entity.add_supported_context(sop_class, syntax)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    try:
        yield {"name": "research", "port": server.socket.getsockname()[1], "ae_title": "PEER"}
    finally:
        server.shutdown()


def delivery(installation: Installation, name: str = "research", revision: int = 1) -> dict[str, Any]:
    rows = installation.shown()["deliveries"]
    return next(dict(row) for row in rows if (row["destination"], row["revision"]) == (name, revision))


def recorded(installation: Installation, kind: Kind) -> list[dict[str, Any]]:
    with installation.database.read() as connection:
        bodies = connection.execute(sa.select(t.audit_event.c.body).where(t.audit_event.c.kind == kind)).scalars()
        return [json.loads(body)["details"] for body in bodies]


@pytest.mark.dcmtk
def test_a_study_arrives_under_the_policy_of_its_destination(make: Make, archive: StoreScp):
    archive.start()
    installation = make(at(archive, deidentification=SHIFTED))
    first = image(StudyInstanceUID=STUDY)
    second = another(first)
    installation.send(first, second)
    installation.work()
    assert installation.revisions() == ["delivered"]
    assert installation.deliveries() == {(1, "reports"): "delivered", (1, "research"): "delivered"}
    arrived = [dcmread(file) for file in archive.files()]
    assert len(arrived) == 2
    assert len({copy.StudyInstanceUID for copy in arrived}) == 1
    assert len({copy.PatientID for copy in arrived}) == 1
    assert {copy.SOPInstanceUID for copy in arrived}.isdisjoint({first.SOPInstanceUID, second.SOPInstanceUID})
    for copy in arrived:
        assert copy.StudyDate == copy.ContentDate != first.StudyDate, "shifted, all by the same"
        assert "113107" in {code.CodeValue for code in copy.DeidentificationMethodCodeSequence}
    bytes_there = b"".join(file.read_bytes() for file in archive.files())
    assert search_bytes(bytes_there, [*MadeUpPatient(1).planted, STUDY], "the archive") == []


@sqlite_alone
@pytest.mark.dcmtk
def test_each_destination_gets_the_study_under_its_own_policy_and_the_uids_agree(
    make: Make, archive: StoreScp, teaching: StoreScp
):
    archive.start()
    teaching.start()
    installation = make(at(archive, deidentification=SHIFTED), at(teaching, "teaching"))
    installation.send(image())
    installation.work()
    (shifted,), (bare,) = ([dcmread(file) for file in place.files()] for place in (archive, teaching))
    assert installation.revisions() == ["delivered"]
    assert (shifted.StudyDate != "", bare.get("StudyDate", "")) == (True, "")
    assert shifted.SOPInstanceUID == bare.SOPInstanceUID
    assert shifted.PatientID == bare.PatientID


@sqlite_alone
@pytest.mark.dcmtk
def test_nobody_asks_who_the_patient_is(make: Make, archive: StoreScp):
    archive.start()
    installation = make(at(archive), reports=())
    installation.send(image())
    installation.work()
    assert installation.revisions() == ["delivered"]
    assert recorded(installation, Kind.VAULT_ANSWERED) == []
    (delivered,) = recorded(installation, Kind.DELIVERED)
    assert (delivered["destination"], delivered["status"]) == ("research", 0)
    assert len(recorded(installation, Kind.DELIVERY_ATTEMPTED)) == 1


@pytest.mark.dcmtk
def test_an_archive_that_is_down_gets_the_study_when_it_is_back(make: Make, archive: StoreScp):
    installation = make(at(archive))
    installation.send(image())
    installation.work()
    assert (installation.revisions(), delivery(installation)["state"]) == (["reported"], "prepared")
    assert "connection refused" in delivery(installation)["outcome"]
    assert installation.deliveries()[1, "reports"] == "delivered", "reports do not wait for it"
    archive.start()
    installation.hurry()
    installation.work()
    assert installation.revisions() == ["delivered"]
    assert len(archive.files()) == 1


@pytest.mark.dcmtk
def test_a_newer_revision_overtakes_one_that_an_archive_could_not_take(make: Make, archive: StoreScp):
    installation = make(at(archive))
    first = image(StudyInstanceUID=STUDY)
    installation.send(first)
    installation.work()
    installation.send(another(first))
    installation.work()
    assert installation.revisions() == ["superseded", "reported"]
    archive.start()
    installation.hurry()
    installation.work()
    assert installation.revisions() == ["superseded", "delivered"]
    assert len(archive.files()) == 2


@sqlite_alone
@pytest.mark.dcmtk
def test_an_archive_that_takes_no_such_transfer_syntax_ends_the_delivery_with_the_reason(make: Make, archive: StoreScp):
    archive.start("+xi")
    installation = make(at(archive))
    installation.send(image())
    installation.work()
    assert installation.revisions() == ["undelivered"]
    assert "Explicit VR Little Endian" in delivery(installation)["outcome"]
    assert archive.files() == []


@sqlite_alone
def test_an_archive_that_refuses_an_instance_for_good_ends_the_delivery_without_its_words(make: Make):
    def answer(event: evt.Event) -> Dataset:
        said = Dataset()
        said.Status = 0xC123
        said.ErrorComment = f"of {event.dataset.PatientID}"
        return said

    with peer(answer) as settings:
        installation = make(settings)
        installation.send(image())
        installation.work()
    assert installation.revisions() == ["undelivered"]
    row = delivery(installation)
    assert (row["state"], row["outcome"].partition(" (")[0]) == ("dead", "0xC123 error: cannot understand")
    assert "KP-" not in row["outcome"]
    assert installation.deliveries()[1, "reports"] == "delivered"


@sqlite_alone
def test_a_study_of_which_an_instance_is_refused_is_sent_again_as_a_whole(make: Make):
    stored: list[str] = []

    def answer(event: evt.Event) -> int:
        stored.append(event.request.AffectedSOPInstanceUID)
        return 0xA700 if len(stored) == 2 else 0

    with peer(answer) as settings:
        installation = make(settings, reports=())
        first = image()
        installation.send(first, another(first))
        installation.work()
        assert "1 of 2 instances were stored before" in delivery(installation)["outcome"]
        assert (delivery(installation)["state"], installation.revisions()) == ("prepared", ["reported"])
        installation.hurry()
        installation.work()
    assert installation.revisions() == ["delivered"]
    assert stored[:2] == stored[2:], "the same bytes under the same UIDs"


@pytest.mark.dcmtk
def test_what_a_person_vouched_for_in_the_pipeline_is_held_under_another_policy(make: Make, archive: StoreScp):
    archive.start()
    other = {"options": ["retain-longitudinal-modified-dates"]}
    installation = make(
        at(archive, "same", deidentification=BARE), at(archive, deidentification=other), deidentification=BARE
    )
    installation.send(image(BurnedInAnnotation="YES"))
    installation.work()
    (row,) = installation.ask("quarantine.list")
    installation.ask("quarantine.release", instance=row["instance"], reason="burned-in-annotation")
    installation.work()
    assert installation.revisions()[-1] == "held"
    states = {name: state for (number, name), state in installation.deliveries().items() if number == 2}
    assert states == {"reports": "delivered", "same": "delivered", "research": "held"}
    assert "burned-in-annotation" in delivery(installation, revision=2)["outcome"]
    assert len(archive.files()) == 1
    refusals = recorded(installation, Kind.DEIDENTIFICATION_REFUSED)
    assert [refusal.get("destination") for refusal in refusals] == [None, "research"]


@pytest.mark.dcmtk
def test_what_was_sent_and_taken_back_since_is_told_to_a_person_once(make: Make, archive: StoreScp):
    archive.start()
    installation = make(at(archive), reports=())
    first = image(StudyInstanceUID=STUDY)
    second = another(first)
    installation.send(first, second)
    installation.work()
    installation.send(rejection_note([second], MadeUpPatient(1)))
    installation.work()
    assert installation.revisions() == ["delivered", "held"]
    assert "1 instances that were sent before" in delivery(installation, revision=2)["outcome"]
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    assert installation.revisions()[-1] == "delivered"


def reprocess_under(installation: Installation, policy: dict[str, Any]) -> dict[str, Any]:
    """Send the study again under another policy of the archive; the delivery that comes of it."""
    installation.change("research", deidentification=policy)
    installation.ask("studies.reprocess", study=installation.shown()["study"])
    installation.work()
    return delivery(installation, revision=len(installation.revisions()))


@sqlite_alone
@pytest.mark.orthanc
def test_an_archive_may_keep_the_looser_copy_that_it_has_and_a_person_is_told(make: Make, orthanc):
    def dates() -> list[str]:
        (study,) = orthanc.studies()
        (instance,) = orthanc.rest.get(f"/studies/{study}/instances").json()
        return [dcmread(BytesIO(orthanc.rest.get(f"/instances/{instance['ID']}/file").content)).StudyDate]

    installation = make({"name": "research", "port": orthanc.dicom_port, "ae_title": orthanc.aet}, reports=())
    installation.change("research", deidentification=SHIFTED)
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    (shifted,) = dates()
    assert shifted
    told = reprocess_under(installation, BARE)
    assert dates() == [shifted], "it took the stricter copy with success, and kept the first"
    assert told["state"] == "held"
    assert "1 instances were sent before with other content" in told["outcome"]
    orthanc.clear()
    assert reprocess_under(installation, BARE)["state"] == "delivered"
    assert dates() == [""]


@sqlite_alone
@pytest.mark.dcmtk
def test_an_archive_that_overwrites_gets_a_stricter_copy_in_place_of_the_first(make: Make, archive: StoreScp):
    archive.start()
    installation = make(at(archive, overwrites=True, deidentification=SHIFTED), reports=())
    installation.send(image(StudyInstanceUID=STUDY))
    installation.work()
    assert reprocess_under(installation, BARE)["state"] == "delivered"
    (there,) = archive.files()
    assert dcmread(there).get("StudyDate", "") == ""


@sqlite_alone
@pytest.mark.parametrize("overwrites", [False, True])
def test_an_archive_that_says_it_has_an_instance_already_keeps_the_earlier_one(make: Make, overwrites: bool):
    has: list[str] = []

    def answer(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in has:
            return 0x0111
        has.append(uid)
        return 0

    with peer(answer) as settings:
        installation = make(settings | {"overwrites": overwrites}, reports=())
        installation.change("research", deidentification=SHIFTED)
        installation.send(image(StudyInstanceUID=STUDY))
        installation.work()
        assert reprocess_under(installation, SHIFTED)["state"] == "delivered", "the same bytes are there"
        kept = reprocess_under(installation, BARE)
        assert kept["state"] == "dead"
        assert "keeps the one that it was sent before" in kept["outcome"]
        has.clear()
        (task,) = (row for row in installation.ask("tasks.list") if (row["kind"], row["state"]) == ("deliver", "dead"))
        installation.ask("tasks.retry", task=task["id"])
        installation.work()
    last = delivery(installation, revision=3)
    assert last["state"] == ("delivered" if overwrites else "held")


@sqlite_alone
@pytest.mark.parametrize("overwrites", [False, True])
def test_what_an_attempt_that_broke_off_has_stored_is_not_held_against_the_next(make: Make, overwrites: bool):
    has: set[str] = set()
    breaks_at: list[int] = []

    def answer(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if len(has) in breaks_at:
            breaks_at.clear()
            event.assoc.abort()
            return 0xA700
        if uid in has:
            return 0x0111
        has.add(uid)
        return 0

    with peer(answer) as settings:
        installation = make(settings | {"overwrites": overwrites, "timeout_seconds": 2.0}, reports=())
        installation.change("research", deidentification=SHIFTED)
        first = image(StudyInstanceUID=STUDY)
        installation.send(first, another(first), another(first, 97))
        installation.work()
        has.clear()  # a person has taken the study out there, so that the stricter copies are taken
        breaks_at.append(2)
        installation.change("research", deidentification=BARE)
        installation.ask("studies.reprocess", study=installation.shown()["study"])
        installation.work()
        assert "2 of 3 instances were stored before" in delivery(installation, revision=2)["outcome"]
        installation.hurry()
        installation.work()
    assert len(has) == 3
    assert delivery(installation, revision=2)["state"] == ("delivered" if overwrites else "held")


@sqlite_alone
@pytest.mark.dcmtk
def test_copies_of_a_study_whose_patient_was_corrected_stay_and_a_person_is_told(make: Make, archive: StoreScp):
    archive.start()
    installation = make(at(archive))
    first = image(StudyInstanceUID=STUDY)
    installation.send(first)
    installation.work()
    installation.send(of(MadeUpPatient(2), first))
    for _ in range(2):
        installation.indexer.pass_once()
        installation.work()
    assert [row["state"] for row in installation.shown()["revisions"]] == [
        "delivered",
        "superseded",
        "held",
        "delivered",
    ]
    told = delivery(installation, revision=3)
    assert told["state"] == "held"
    assert "1 instances were sent there under the former patient's pseudonym" in told["outcome"]
    assert [event["instances"] for event in recorded(installation, Kind.NOT_RECALLED)] == [1]
    assert delivery(installation, "reports", revision=3)["state"] == "delivered"
    assert len(archive.files()) == 2  # under other UIDs: the mapping is the rightful patient's
    assert [row["revision"] for row in installation.ask("studies.list", state="held")] == [3]
    seen_to = {"study": installation.shown()["study"], "destination": "research", "reason": "done-elsewhere"}
    installation.ask("studies.recalled", **seen_to)
    assert installation.ask("status")["needs_a_person"] == 0
    assert "1 instances were sent there" in delivery(installation, revision=3)["outcome"]


@sqlite_alone
@pytest.mark.dcmtk
def test_a_destination_gets_the_studies_of_its_pipelines_only(make: Make, archive: StoreScp, monkeypatch):
    archive.start()
    installation = make(at(archive, pipelines=["chest-xray"]))
    (destination,) = [made for made in installation.settings.destinations if made.kind == "dicom"]
    assert (destination.takes("chest-xray"), destination.takes("other")) == (True, False)
    monkeypatch.setattr(type(destination), "takes", lambda _self, _pipeline: False)
    installation.send(image())
    installation.work()
    assert installation.deliveries() == {(1, "reports"): "delivered"}
    assert archive.files() == []


@pytest.mark.parametrize("options", [[], ["retain-uids"]], ids=["mapped UIDs", "retained UIDs"])
@sqlite_alone
@pytest.mark.dcmtk
def test_a_copy_that_comes_back_goes_round_no_further(make: Make, archive: StoreScp, options: list[str]):
    archive.start()
    installation = make(at(archive, deidentification={"options": options}), reports=())
    installation.send(image())
    installation.work()
    (file,) = archive.files()
    installation.send(dcmread(file))
    installation.work()
    assert installation.standings() == ["current", "own-result"]
    assert [study["state"] for study in installation.ask("studies.list")] == ["delivered"]
    assert len(archive.files()) == 1


@sqlite_alone
@pytest.mark.dcmtk
def test_a_copy_that_comes_back_is_known_though_the_index_is_lost(
    make: Make, archive: StoreScp, sqlite_template: Path, tmp_path: Path
):
    archive.start()
    first = make(at(archive), reports=())
    first.send(image())
    first.work()
    (file,) = archive.files()
    shutil.copytree(tmp_path / "node", tmp_path / "other", ignore=lambda _, names: {"store"} & set(names))
    (tmp_path / "other" / "data" / "store" / "objects").mkdir(parents=True)
    shutil.copyfile(sqlite_template, tmp_path / "other.sqlite")
    other = Installation(tmp_path / "other", f"sqlite+pysqlite:///{tmp_path / 'other.sqlite'}", (), [at(archive)])
    try:
        other.send(dcmread(file))  # read before any of the images, as after a restore
        assert other.standings() == ["own-result"]
    finally:
        other.close()
