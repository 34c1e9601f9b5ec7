"""The Patient ID of a study is corrected: no report at the EHR stands about the wrong patient, killed or not."""

import json
from pathlib import Path

import pytest

from tests.system.kopru import SYSTEM, Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until

WRONG, RIGHT = MadeUpPatient(21), MadeUpPatient(22)


def statuses(fhir_server, patient: MadeUpPatient, kind: str) -> list[str]:
    """The status of each report, or observation, that the server has about the patient."""
    (known,) = fhir_server.search("Patient", identifier=f"{SYSTEM}|{patient.patient_id}")
    return sorted(found["status"] for found in fhir_server.search(kind, subject=f"Patient/{known['id']}"))


@pytest.mark.soak  # its parts are proven in tests/steps
@pytest.mark.node
def test_what_was_reported_about_the_wrong_patient_is_taken_back_through_a_kill(
    tmp_path: Path, sqlite_url: str, fhir_server
):
    for patient in (WRONG, RIGHT):
        fhir_server.create(patient.fhir(SYSTEM))
    kopru = Kopru(tmp_path, sqlite_url, fhir_url=fhir_server.url)
    try:
        kopru.start()
        first = as_dx(drawn_image(1), WRONG)
        images = [first, as_dx(drawn_image(2), WRONG, study_uid=first.StudyInstanceUID, number=2)]
        kopru.send([save(image, tmp_path / "in" / f"{n}.dcm") for n, image in enumerate(images)])
        (study,) = kopru.wait_for_states({"delivered": 1})
        assert statuses(fhir_server, WRONG, "DiagnosticReport") == ["partial"]
        again = []
        for n, image in enumerate(images):
            image.PatientID, image.PatientBirthDate = RIGHT.patient_id, RIGHT.birth_date
            image.PatientName = f"{RIGHT.family}^{RIGHT.given}"
            again.append(save(image, tmp_path / "in" / f"again-{n}.dcm"))
        kopru.send(again[:1])
        wait_until(lambda: "1 of 2" in (kopru.studies()[0]["reason"] or ""), "the study to be held")
        kopru.send(again[1:])
        wait_until(lambda: kopru.studies()[0]["revision"] > 2, "the study to be given to the other patient")
        kopru.kill_child("engine")
        wait_until(
            lambda: (
                statuses(fhir_server, WRONG, "DiagnosticReport") == ["entered-in-error"]
                and statuses(fhir_server, RIGHT, "DiagnosticReport") == ["partial"]
            ),
            "the one report to be taken back, and the other to be there",
            60,
        )
        shown = kopru.ask("studies.show", study=study["study"])
        kopru.wait_for_states({"delivered": 1})
        assert set(statuses(fhir_server, WRONG, "Observation")) == {"entered-in-error"}
        assert set(statuses(fhir_server, RIGHT, "Observation")) == {"preliminary"}
        whose = [row["pseudonym"] == study["pseudonym"] for row in shown["revisions"]]
        assert whose == [True] * (len(whose) - 1) + [False]
        assert shown["pseudonym"] != study["pseudonym"]
        assert kopru.ask("audit.verify")["problems"] == []
        planted = [*WRONG.planted, *RIGHT.planted]
        said = json.dumps(shown) + kopru.log.read_text() + json.dumps(kopru.ask("audit.tail", count=1000))
        assert not [value for value in planted if value in said]
        kopru.cli("studies", "keep", study["study"], code=1)  # nothing contradicts it any more
    finally:
        kopru.close()
