"""From a PACS to an EHR: real radiographs in, reports at a real FHIR server out, and nothing identified in between."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from adapters.keys import KeyStore, MasterKey
from adapters.storage import ObjectStore
from daemon.queue import Priority
from tests.planted import search_bytes, search_sqlite, search_tree
from tests.receiver.instances import encoded
from tests.receiver.raw_peer import EXPLICIT, RawPeer
from tests.system.kopru import SOURCE, SYSTEM, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, real_images, save
from tests.waiting import wait_until

IMAGES = 3


@pytest.mark.node
@pytest.mark.data
def test_real_radiographs_become_reports_about_the_right_patients(
    tmp_path: Path, empty_database_url: str, dialect: str, fhir_server, data_folder: Path, request
):
    patients = [MadeUpPatient(number) for number in range(IMAGES)]
    for patient in patients:
        fhir_server.create(patient.fhir(SYSTEM))
    files = [
        save(as_dx(pixels, patient), tmp_path / "in" / f"{patient.number}.dcm")
        for patient, (_, pixels) in zip(patients, real_images(data_folder, IMAGES), strict=True)
    ]
    kopru = Kopru(tmp_path / "node", empty_database_url, fhir_url=fhir_server.url)
    try:
        kopru.start()
        assert kopru.send(files) == files
        kopru.wait_for_states({"delivered": IMAGES})
        for patient in patients:
            _assert_reported(fhir_server, patient)
        report = kopru.ask("audit.verify")
        assert report["problems"] == []
        kopru.stop()
        planted = [identifier for patient in patients for identifier in patient.planted]
        _assert_nothing_in_the_clear(kopru, planted, dialect, request, empty_database_url)
        _assert_the_opened_objects_hold_them(kopru, patients)
    finally:
        kopru.close()


def _assert_reported(fhir_server, patient: MadeUpPatient) -> None:
    (known,) = fhir_server.search("Patient", identifier=f"{SYSTEM}|{patient.patient_id}")
    (report,) = fhir_server.search("DiagnosticReport", subject=f"Patient/{known['id']}")
    assert report["status"] == "partial"
    assert "research" in report["conclusion"].lower()
    assert report["imagingStudy"][0]["identifier"]["value"].startswith("urn:oid:")
    observations = fhir_server.search("Observation", subject=f"Patient/{known['id']}")
    assert len(observations) == 3
    assert fhir_server.problems(report) == []


def _assert_nothing_in_the_clear(kopru: Kopru, planted: list[str], dialect: str, request, empty_database_url) -> None:
    assert search_tree(kopru.data, planted) == []
    assert search_bytes(kopru.log.read_bytes(), planted, "the log") == []
    if dialect == "sqlite":
        assert search_sqlite(kopru.folder.parent / "kopru.sqlite", planted) == []
    else:
        server = request.getfixturevalue("postgresql_server")
        dump = server.dump(sa.make_url(empty_database_url).database)
        assert b"sealed_identity" in dump
        assert search_bytes(dump, planted, "the dump") == []


def _assert_the_opened_objects_hold_them(kopru: Kopru, patients: list[MadeUpPatient]) -> None:
    """The same search over the opened objects finds every identifier: it is able to fail."""
    master = MasterKey.from_file(next(kopru.data.rglob("master*")))
    mirrors = sorted(path.parent for path in kopru.data.rglob("erased.ledger"))
    store = ObjectStore(
        next(path.parent for path in kopru.data.rglob("objects") if path.is_dir()), KeyStore(mirrors, master)
    )
    opened = b"".join(
        store.open(ref)[1]
        for receiver in store.receivers()
        for batch in store.batches(receiver)
        for ref in store.objects(batch)
    )
    for patient in patients:
        found = {sighting.identifier for sighting in search_bytes(opened, patient.planted, "opened objects")}
        assert found == set(patient.planted)


def test_the_index_is_rebuilt_from_objects_and_keys_alone(kopru: Kopru, tmp_path: Path):
    """First of those with the daemon of the file: what is rebuilt is then this test's own."""
    files = [save(as_dx(drawn_image(n), MadeUpPatient(n)), tmp_path / "in" / f"{n}.dcm") for n in range(3)]
    kopru.send(files)
    before = kopru.wait_for_states({"delivered": 3})
    kopru.stop()
    for path in kopru.data.glob("kopru.sqlite*"):
        path.unlink()
    heads = next(kopru.data.rglob("heads.jsonl"))
    heads.rename(heads.with_suffix(".before"))  # as the log tells the operator to do for a database that was lost
    kopru.start()
    after = kopru.wait_for_states({"delivered": 3})
    assert {study["pseudonym"] for study in after} == {study["pseudonym"] for study in before}
    assert len(list(kopru.reports.glob("*.json"))) == 3


@pytest.mark.dcmtk
def test_storescu_and_echoscu_work_as_a_modality_would(kopru: Kopru, tmp_path: Path, dcmtk):
    file = save(as_dx(drawn_image(1), MadeUpPatient(1)), tmp_path / "in" / "1.dcm")
    dcmtk("echoscu", "-aet", SOURCE, "-aec", "KOPRU", "127.0.0.1", kopru.port)
    dcmtk("storescu", "-aet", SOURCE, "-aec", "KOPRU", "127.0.0.1", kopru.port, file)
    kopru.wait_for_states({"delivered": 1})
    assert len(list(kopru.reports.glob("*.json"))) == 1
    assert len(list(kopru.reports.glob("*.html"))) == 1


@pytest.mark.orthanc
def test_orthanc_pushes_a_study_from_its_rest_api(kopru: Kopru, orthanc):
    uid = "2.25.1234567890123456789"
    for number, view in ((1, "PA"), (2, "LL")):
        image = as_dx(drawn_image(number), MadeUpPatient(2), study_uid=uid, view=view, number=number)
        file = save(image, kopru.folder / "in" / f"{number}.dcm")
        orthanc.upload(file.read_bytes())
    orthanc.rest.put(
        "/modalities/kopru",
        json={"AET": "KOPRU", "Host": "127.0.0.1", "Port": kopru.port, "LocalAet": SOURCE},
    ).raise_for_status()
    orthanc.push("kopru", *orthanc.studies())
    (study,) = kopru.wait_for_states({"delivered": 1})
    assert study["instances"] == 2


def test_a_late_instance_makes_an_updated_report(kopru: Kopru, tmp_path: Path):
    patient = MadeUpPatient(3)
    first = as_dx(drawn_image(1), patient)
    second = as_dx(drawn_image(2), patient, study_uid=first.StudyInstanceUID, number=2)
    kopru.send([save(first, tmp_path / "in" / "1.dcm")])
    kopru.wait_for_states({"delivered": 1})
    kopru.send([save(second, tmp_path / "in" / "2.dcm")])
    wait_until(lambda: kopru.studies()[0]["revision"] == 2, "a second revision")
    (study,) = kopru.wait_for_states({"delivered": 1})
    shown = kopru.ask("studies.show", study=study["study"])
    assert [revision["state"] for revision in shown["revisions"]] == ["delivered", "delivered"]
    (document,) = kopru.reports.glob("*.json")
    report = next(
        entry["resource"]
        for entry in json.loads(document.read_bytes())["entry"]
        if entry["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert any(identifier["value"].startswith("r2-") for identifier in report["identifier"])


def test_an_instance_sent_with_high_priority_makes_a_stat_study(kopru: Kopru):
    image = as_dx(drawn_image(1), MadeUpPatient(1))
    with RawPeer(kopru.port) as peer:
        peer.associate([(1, image.SOPClassUID, (EXPLICIT,))], calling=SOURCE)
        high = 1  # PS3.7 9.3.1.1
        answer = peer.store(encoded(image, EXPLICIT), image.SOPInstanceUID, sop_class=image.SOPClassUID, priority=high)
        peer.release()
    assert answer.status == 0
    kopru.wait_for_states({"delivered": 1})
    priorities = {task["kind"]: task["priority"] for task in reversed(kopru.ask("tasks.list"))}
    assert {priorities[kind] for kind in ("deidentify", "infer", "report", "deliver")} == {Priority.STAT}
