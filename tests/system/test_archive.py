"""From a PACS and back: heatmaps return to the study they are about, de-identified copies go to a research archive."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.peers.orthanc import Orthanc
from tests.peers.storescp import StoreScp
from tests.planted import search_bytes, search_tree
from tests.system.kopru import ISSUER, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until

STUDY = "2.25.123456789012345678901234567890"
SETTINGS = """
[[destinations]]
name = "pacs"
kind = "pacs"
address = "127.0.0.1"
port = {pacs}
ae_title = "ORTHANC"
confirm_research = true

[[destinations]]
name = "research"
kind = "dicom"
address = "127.0.0.1"
port = {research}
ae_title = "ARCHIVE"
deidentification = {{ options = ["retain-longitudinal-modified-dates"] }}

[[sources]]
ae_title = "ORTHANC"
issuer = "{issuer}"
settle_seconds = 0.5
"""


def there(orthanc: Orthanc) -> list[Dataset]:
    """All instances of the only study that Orthanc has."""
    (study,) = orthanc.studies()
    instances = orthanc.rest.get(f"/studies/{study}/instances").json()
    return [dcmread(BytesIO(orthanc.rest.get(f"/instances/{one['ID']}/file").content)) for one in instances]


@pytest.mark.soak  # its parts are proven in tests/steps
@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_a_study_comes_from_a_pacs_its_heatmaps_go_back_and_copies_that_name_nobody_to_an_archive(
    tmp_path: Path, sqlite_url: str, orthanc: Orthanc
):
    patient = MadeUpPatient(3)
    images = [as_dx(drawn_image(number), patient, study_uid=STUDY, number=number) for number in (1, 2)]
    for made in images:
        orthanc.upload(save(made, tmp_path / "in" / f"{made.InstanceNumber}.dcm").read_bytes())
    archive = StoreScp(tmp_path)
    archive.start()
    settings = SETTINGS.format(pacs=orthanc.dicom_port, research=archive.port, issuer=ISSUER)
    kopru = Kopru(tmp_path, sqlite_url, more=settings)
    orthanc.add_modality("kopru", "KOPRU", kopru.port)
    try:
        kopru.start()
        orthanc.push("kopru", *orthanc.studies())
        (study,) = kopru.wait_for_states({"delivered": 1})
        heatmaps = [one for one in there(orthanc) if one.Modality == "OT"]
        orthanc.push("kopru", *orthanc.studies())  # and what came back to it with it
        wait_until(lambda: len(standings(kopru, study["study"])) == 4 + len(heatmaps), "the study to be here again")
        again = standings(kopru, study["study"])
        events = kopru.ask("audit.tail", count=1000)
        shown = kopru.ask("studies.show", study=study["study"])
    finally:
        kopru.close()
        archive.stop()
    assert len(heatmaps) == 2
    for heatmap in heatmaps:
        assert (heatmap.PatientID, heatmap.AccessionNumber) == (patient.patient_id, patient.accession)
    assert {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in heatmaps} == {
        one.SOPInstanceUID for one in images
    }
    assert again == ["current"] * 2 + ["duplicate"] * 2 + ["own-result"] * 2
    assert [row["state"] for row in shown["revisions"]] == ["delivered"], "it goes round no further"
    assert {row["destination"]: row["state"] for row in shown["deliveries"]} == dict.fromkeys(
        ("reports", "pacs", "research"), "delivered"
    )
    assert search_tree(kopru.data, patient.planted) == []
    assert search_bytes(kopru.log.read_bytes(), patient.planted, "the log") == []
    copies = archive.files()
    assert len(copies) == 2
    assert search_bytes(b"".join(copy.read_bytes() for copy in copies), [*patient.planted, STUDY], "the archive") == []
    for copy in map(dcmread, copies):
        assert copy.PatientID == study["pseudonym"]
        assert copy.StudyDate == copy.AcquisitionDate != "20260110"
    assert sum("vault.answered" in event["event"] for event in events) == 2, "for the report and for the PACS"


def standings(kopru: Kopru, study: str) -> list[str]:
    return sorted(row["standing"] for row in kopru.ask("studies.show", study=study)["instances"])
