"""From a PACS to a research archive: studies in, de-identified copies out under the archive's own policy."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.planted import search_bytes, search_tree
from tests.system.kopru import Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save

STUDY = "2.25.123456789012345678901234567890"
ARCHIVE = """
[[destinations]]
name = "research"
kind = "dicom"
address = "127.0.0.1"
port = {port}
ae_title = "ORTHANC"
deidentification = {{ options = ["retain-longitudinal-modified-dates"] }}
"""


@pytest.mark.soak  # its parts are proven in tests/steps
@pytest.mark.orthanc
def test_orthanc_gets_a_study_that_names_nobody_beside_the_report(tmp_path: Path, sqlite_url: str, orthanc):
    patient = MadeUpPatient(3)
    images = [as_dx(drawn_image(number), patient, study_uid=STUDY, number=number) for number in (1, 2)]
    files = [save(made, tmp_path / "in" / f"{made.InstanceNumber}.dcm") for made in images]
    kopru = Kopru(tmp_path, sqlite_url, more=ARCHIVE.format(port=orthanc.dicom_port))
    try:
        kopru.start()
        assert kopru.send(files) == files
        (study,) = kopru.wait_for_states({"delivered": 1})
        events = kopru.ask("audit.tail", count=1000)
        shown = kopru.ask("studies.show", study=study["study"])
    finally:
        kopru.close()
    assert search_tree(kopru.data, patient.planted) == []
    assert search_bytes(kopru.log.read_bytes(), patient.planted, "the log") == []
    assert {row["destination"]: row["state"] for row in shown["deliveries"]} == {
        "reports": "delivered",
        "research": "delivered",
    }
    assert len(list(kopru.reports.glob("*.json"))) == 1
    (there,) = orthanc.studies()
    instances = orthanc.rest.get(f"/studies/{there}/instances").json()
    copies = [orthanc.rest.get(f"/instances/{instance['ID']}/file").content for instance in instances]
    assert len(copies) == 2
    assert search_bytes(b"".join(copies), [*patient.planted, STUDY], "Orthanc") == []
    for copy in map(dcmread, map(BytesIO, copies)):
        assert copy.PatientID == study["pseudonym"]
        assert copy.StudyDate == copy.AcquisitionDate != "20260110"
    assert sum("vault.answered" in event["event"] for event in events) == 1, "for the report alone"
