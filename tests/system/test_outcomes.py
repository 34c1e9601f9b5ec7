"""What becomes of a study whose report cannot simply be delivered, and how a person brings it on its way again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from adapters.keys import MasterKey
from daemon.equipment import device_uid
from tests.peers.fault_proxy import Fault, FaultProxy, Instead
from tests.system.kopru import SYSTEM, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def lasting_proxy(medplum) -> Iterator[FaultProxy]:
    with FaultProxy(medplum.url) as made:
        yield made


@pytest.fixture
def proxy(lasting_proxy: FaultProxy) -> FaultProxy:
    """Before the FHIR server; no fault is planned yet, and no request seen."""
    lasting_proxy.plan()
    lasting_proxy.seen.clear()
    return lasting_proxy


@pytest.fixture(scope="module")
def lasting_to_ehr(tmp_path_factory: pytest.TempPathFactory, lasting_proxy: FaultProxy) -> Iterator[Kopru]:
    folder = tmp_path_factory.mktemp("to-ehr")
    daemon = Kopru(folder, f"sqlite:///{folder / 'data' / 'kopru.sqlite'}", fhir_url=lasting_proxy.url)
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def to_ehr(lasting_to_ehr: Kopru, fhir_server, proxy: FaultProxy) -> Kopru:
    """A daemon that reports to the FHIR server, which is empty, through the fault proxy."""
    return lasting_to_ehr.turn_over()


def send_one(kopru: Kopru, patient: MadeUpPatient, **changes: str) -> None:
    image = as_dx(drawn_image(patient.number), patient)
    for name, value in changes.items():
        setattr(image, name, value)
    assert kopru.send([save(image, kopru.folder / "in" / f"{generate_uid()}.dcm")])


@pytest.mark.node
def test_an_unmatched_patient_is_held_until_the_ehr_knows_them_and_a_person_reprocesses(to_ehr: Kopru, fhir_server):
    patient = MadeUpPatient(1)
    send_one(to_ehr, patient)
    (study,) = to_ehr.wait_for_states({"held": 1})
    assert "no patient" in study["reason"]
    assert fhir_server.search("DiagnosticReport") == []
    to_ehr.cli("studies", "show", study["study"], code=3)
    fhir_server.create(patient.fhir(SYSTEM))
    to_ehr.cli("studies", "reprocess", study["study"])
    to_ehr.wait_for_states({"delivered": 1})
    assert len(fhir_server.search("DiagnosticReport")) == 1


@pytest.mark.node
def test_a_patient_whose_birth_date_contradicts_gets_no_report(to_ehr: Kopru, fhir_server):
    patient = MadeUpPatient(2)
    fhir_server.create({**patient.fhir(SYSTEM), "birthDate": "1901-01-01"})
    send_one(to_ehr, patient)
    (study,) = to_ehr.wait_for_states({"held": 1})
    assert "birth date" in study["reason"]
    assert fhir_server.search("DiagnosticReport") == []


@pytest.mark.node
def test_a_refused_report_waits_dead_with_a_scrubbed_outcome_until_a_person_retries(
    to_ehr: Kopru, fhir_server, proxy: FaultProxy
):
    patient = MadeUpPatient(3)
    fhir_server.create(patient.fhir(SYSTEM))
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "invalid", "diagnostics": f"no such {patient.family}"}],
    }
    refusal = Instead(422, {"Content-Type": "application/fhir+json"}, json.dumps(outcome).encode())
    proxy.plan(refusal)
    send_one(to_ehr, patient)
    (study,) = to_ehr.wait_for_states({"undelivered": 1})
    (task,) = to_ehr.ask("tasks.list", state="dead")
    assert "422" in task["last_error"]
    assert patient.family not in json.dumps(to_ehr.ask("studies.show", study=study["study"])) + task["last_error"]
    to_ehr.cli("tasks", "retry", str(task["id"]))
    to_ehr.wait_for_states({"delivered": 1})
    assert len(fhir_server.search("DiagnosticReport")) == 1


@pytest.mark.node
@pytest.mark.parametrize("fault", [Fault.DROP_ANSWER, Fault.RESET_BEFORE, Fault.TRUNCATE])
def test_an_answer_that_is_lost_leads_to_one_report_not_two(
    to_ehr: Kopru, fhir_server, proxy: FaultProxy, fault: Fault
):
    patient = MadeUpPatient(4)
    fhir_server.create(patient.fhir(SYSTEM))
    proxy.plan(fault)
    send_one(to_ehr, patient)
    to_ehr.wait_for_states({"delivered": 1})
    (report,) = fhir_server.search("DiagnosticReport")
    assert fhir_server.versions(report) == 1


@pytest.mark.soak  # its parts are proven in tests/steps
@pytest.mark.node
def test_a_research_model_reports_to_no_ehr_that_has_not_confirmed_it(tmp_path: Path, fhir_server, proxy: FaultProxy):
    kopru = Kopru(tmp_path, f"sqlite:///{tmp_path / 'data' / 'kopru.sqlite'}", fhir_url=proxy.url)
    kopru.settings.write_text(kopru.settings.read_text().replace("confirm_research = true\n", ""))
    try:
        kopru.start()
        patient = MadeUpPatient(5)
        fhir_server.create(patient.fhir(SYSTEM))
        send_one(kopru, patient)
        (study,) = kopru.wait_for_states({"withheld": 1})
        (delivery,) = kopru.ask("studies.show", study=study["study"])["deliveries"]
        assert delivery["state"] == "withheld"
        assert proxy.seen == []
    finally:
        kopru.close()


def rejection_note(images: list[Dataset], patient: MadeUpPatient) -> Dataset:
    """A key object selection "Rejected for Quality Reasons" that refers to the images (IHE RAD IOCM, CID 7011)."""
    note = Dataset()
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.59"
    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    note.StudyInstanceUID = images[0].StudyInstanceUID
    note.SeriesInstanceUID = generate_uid()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        setattr(note, keyword, getattr(images[0], keyword))
    note.Modality = "KO"
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = "113001", "DCM"
    title.CodeMeaning = "Rejected for Quality Reasons"
    note.ConceptNameCodeSequence = Sequence([title])
    references = []
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        references.append(reference)
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence(references)
    study = Dataset()
    study.StudyInstanceUID = images[0].StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    note.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    return note


def _report(kopru: Kopru) -> dict:
    (document,) = kopru.reports.glob("*.json")
    entries = json.loads(document.read_bytes())["entry"]
    return next(e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport")


def test_a_rejection_note_takes_the_report_back_when_nothing_is_left(kopru: Kopru, tmp_path: Path):
    patient = MadeUpPatient(6)
    image = as_dx(drawn_image(6), patient)
    kopru.send([save(image, tmp_path / "in" / "1.dcm")])
    (study,) = kopru.wait_for_states({"delivered": 1})
    assert _report(kopru)["status"] == "partial"
    kopru.send([save(rejection_note([image], patient), tmp_path / "in" / "note.dcm")])
    wait_until(lambda: kopru.studies()[0]["revision"] == 2, "a second revision")
    kopru.wait_for_states({"delivered": 1})
    assert _report(kopru)["status"] == "cancelled"
    standings = {i["standing"] for i in kopru.ask("studies.show", study=study["study"])["instances"]}
    assert standings == {"rejected", "unselected"}


def test_what_we_made_ourselves_ends_as_own_result(kopru: Kopru):
    before = kopru.ask("status")["instances"]
    ours = device_uid(MasterKey.from_file(kopru.data / "master.key"))
    send_one(kopru, MadeUpPatient(7), Manufacturer="kopru", DeviceUID=ours)
    expected = before | {"own-result": before.get("own-result", 0) + 1}
    wait_until(lambda: kopru.ask("status")["instances"] == expected, "the own result in the index")
    assert kopru.studies() == []


def test_a_lateral_view_alone_is_listed_as_not_selected(kopru: Kopru):
    send_one(kopru, MadeUpPatient(8), ViewPosition="LL")
    (study,) = kopru.wait_for_states({"unselected": 1})
    assert "no pipeline" in study["reason"]
    assert not kopru.reports.exists() or list(kopru.reports.glob("*.json")) == []


@pytest.mark.node
def test_a_study_under_another_patients_id_is_held_not_reported_to_that_patient(to_ehr: Kopru, fhir_server):
    rightful = MadeUpPatient(11)
    fhir_server.create(rightful.fhir(SYSTEM))
    send_one(to_ehr, rightful)
    to_ehr.wait_for_states({"delivered": 1})
    send_one(to_ehr, rightful, PatientName="BAŞKA^BİRİ", PatientBirthDate="19990101", SpecificCharacterSet="ISO_IR 192")
    to_ehr.wait_for_states({"delivered": 1, "held": 1})
    assert len(fhir_server.search("DiagnosticReport")) == 1


@pytest.mark.node
def test_instances_of_one_study_that_disagree_on_the_patient_are_held(to_ehr: Kopru, fhir_server):
    patient = MadeUpPatient(12)
    fhir_server.create(patient.fhir(SYSTEM))
    first = as_dx(drawn_image(1), patient)
    second = as_dx(drawn_image(2), patient, study_uid=first.StudyInstanceUID, number=2)
    second.PatientBirthDate = "19010101"
    paths = [save(image, to_ehr.folder / "in" / f"{n}.dcm") for n, image in enumerate((first, second))]
    assert to_ehr.send(paths) == paths
    (study,) = to_ehr.wait_for_states({"held": 1})
    assert "birth date" in study["reason"]
    assert fhir_server.search("DiagnosticReport") == []


@pytest.mark.node
@pytest.mark.parametrize("placeholder", ["1", "0", "UNKNOWN", " "])
def test_a_placeholder_is_never_looked_up_as_somebodys_id(
    to_ehr: Kopru, fhir_server, proxy: FaultProxy, placeholder: str
):
    fhir_server.create(
        {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": placeholder.strip() or "1"}]}
    )
    send_one(to_ehr, MadeUpPatient(13), PatientID=placeholder, PatientName="", PatientBirthDate="")
    (study,) = to_ehr.wait_for_states({"held": 1})
    assert "no Patient ID" in study["reason"]
    assert proxy.seen == []


def test_a_correction_reaches_the_report_and_correcting_back_does_too(kopru: Kopru, tmp_path: Path):
    patient = MadeUpPatient(14)
    image = as_dx(drawn_image(1), patient)
    original = save(image, tmp_path / "in" / "1.dcm")
    image.PatientName, image.AccessionNumber = "DUZELTILMIS^AD", "YENI-ISTEM"
    corrected = save(image, tmp_path / "in" / "2.dcm")
    for number, (path, name, accession) in enumerate(
        (
            (original, patient.family, patient.accession),
            (corrected, "DUZELTILMIS", "YENI-ISTEM"),
            (original, patient.family, patient.accession),
        ),
        1,
    ):
        kopru.send([path])
        wait_until(lambda n=number: [s["revision"] for s in kopru.studies()] == [n], f"revision {number}")
        kopru.wait_for_states({"delivered": 1})
        report = _report(kopru)
        assert report["contained"][0]["name"][0]["family"] == name
        assert report["basedOn"][0]["identifier"]["value"] == accession
