"""`kopru deidentify` with FHIR files: the same patient as in the images, nothing told of a value, and clear ends."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset

from tests.anonymize.encoded import CT, EXPLICIT, INSTANCE, STUDY, identified
from tests.cli.conftest import Run

PLANTED = ("ÖRNEK", "AYŞE", "Ornek", "4471902", "1956", "0412", "p-77", STUDY)

DATES = """
[[rules]]
path = "nodesByType('dateTime')"
method = "dateShift"
[[rules]]
path = "Observation.status"
method = "keep"
"""
MICROSOFT = json.dumps(
    {"fhirVersion": "R4", "fhirPathRules": [{"path": "Observation.effective", "method": "dateShift"}], "parameters": {}}
)


_MADE_BY_CHANCE = re.compile(rb"2\.25\.[0-9]+|[0-9A-Fa-f-]{16,}")


def told(data: bytes) -> list[str]:
    """What is planted and stands there; four digits count where they are not within a UID or key that we made."""
    without = _MADE_BY_CHANCE.sub(b"", data)
    return [planted for planted in PLANTED if planted.encode() in (without if len(planted) == 4 else data)]


def patient(number: str = "PID-4471902", **more: Any) -> dict[str, Any]:
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    record, national = {"type": kind, "value": number}, {"system": "urn:oid:2.16.840.1.113883.2.1", "value": "99"}
    names = [{"family": "Ornek", "given": ["AYŞE"]}]
    return {"resourceType": "Patient", "id": "p-77", "identifier": [national, record], "name": names} | more


def observation(subject: str = "Patient/p-77", **more: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    return {
        "resourceType": "Observation",
        "id": "o-1",
        "status": "final",
        "code": code,
        "subject": {"reference": subject, "display": "AYŞE Ornek"},
        "effectiveDateTime": "2020-05-17",
    } | more


def study() -> dict[str, Any]:
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    subject = {"reference": "https://ehr.example/fhir/Patient/p-77"}
    return {"resourceType": "ImagingStudy", "id": "s", "status": "available", "identifier": [uid], "subject": subject}


def save(path: Path, *resources: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(resource, ensure_ascii=False) for resource in resources), "utf-8")
    return path


def image(path: Path) -> Path:
    made = pydicom.dataset.FileDataset(path, identified(), file_meta=FileMetaDataset(), preamble=bytes(128))
    meta = made.file_meta
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EXPLICIT, CT, INSTANCE
    path.parent.mkdir(exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def deidentify(run: Run, tmp_path: Path):
    """Run the command on paths; gives its exit code, its rows and all clean resources by type."""

    def deidentify(*arguments: object) -> tuple[int, list[dict[str, Any]], dict[str, dict[str, Any]]]:
        out = tmp_path / "out"
        answer = run("deidentify", *arguments, "--out", out, "--key", tmp_path / "key", "--json")
        assert told((answer.out + answer.err).encode()) == []
        assert told(b"".join(path.read_bytes() for path in out.iterdir())) == []
        files = [path for path in out.iterdir() if path.suffix in (".json", ".ndjson")]
        lines = [line for path in files for line in path.read_text().splitlines()]
        resources = [json.loads(line, parse_float=Decimal) for line in lines]
        return answer.code, json.loads(answer.out), {resource["resourceType"]: resource for resource in resources}

    return deidentify


def test_images_and_resources_of_a_patient_get_one_pseudonym_and_the_same_uids(deidentify, tmp_path: Path):
    folder = tmp_path / "in"
    image(folder / "1.dcm")
    save(folder / "observation.json", observation())  # before the Patient to whom it refers
    save(folder / "patient.json", patient())
    save(folder / "study.json", study())
    code, rows, clean = deidentify(folder)
    assert (code, {row["outcome"] for row in rows}, len(rows)) == (0, {"deidentified"}, 4)
    (file,) = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".dcm"]
    deidentified = pydicom.dcmread(file)
    pseudonyms = [identifier["value"] for identifier in clean["Patient"]["identifier"]]
    assert deidentified.PatientID in pseudonyms
    assert clean["ImagingStudy"]["identifier"][0]["value"] == f"urn:oid:{deidentified.StudyInstanceUID}"
    assert clean["Observation"]["subject"]["reference"] == f"Patient/{clean['Patient']['id']}"


@pytest.mark.parametrize(
    ("in_images", "said", "number", "warned"),
    [
        ("ward-7", "", "PID-4471902", True),
        ("ward-7", "ward-8", "PID-4471902", True),
        ("ward-7", "ward-7", "PID-4471902", False),
        ("", "", "PID-4471902", False),
        ("ward-7", "", "PID-1", False),  # another patient
    ],
)
def test_it_warns_where_images_and_resources_name_other_issuers_of_one_number(
    run: Run, tmp_path: Path, in_images: str, said: str, number: str, warned: bool
):
    folder = tmp_path / "in"
    for name in ("1.dcm", "2.dcm"):
        made = pydicom.dcmread(image(folder / name))
        made.IssuerOfPatientID = in_images
        made.save_as(folder / name)
    save(folder / "patient.ndjson", patient(number), observation())
    answer = run("deidentify", folder, "--out", tmp_path / "out", "--key", tmp_path / "key", "--issuer", said)
    assert answer.code == 0
    assert answer.err.count("two pseudonyms") == int(warned)
    said_all = (answer.out + answer.err).encode()
    assert told(said_all) == []
    assert b"ward-7" not in said_all


def test_dates_move_as_those_of_the_patients_images(deidentify, tmp_path: Path):
    folder, rules = tmp_path / "in", tmp_path / "rules.toml"
    rules.write_text(DATES)
    image(folder / "1.dcm")
    save(folder / "bundle.json", {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient()}]})
    save(folder / "o.ndjson", observation(effectiveDateTime="1999-08-17"))
    options = ("--option", "retain-longitudinal-modified-dates", "--fhir-rules", rules)
    code, _, clean = deidentify(folder, *options)
    assert code == 0
    (file,) = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".dcm"]
    day = pydicom.dcmread(file).StudyDate
    assert clean["Observation"]["effectiveDateTime"] == f"{day[:4]}-{day[4:6]}-{day[6:]}" != "1999-08-17"


@pytest.mark.parametrize("text", [DATES, MICROSOFT, "\ufeff" + MICROSOFT], ids=["toml", "json", "byte order mark"])
def test_a_file_of_rules_is_told_by_its_content(deidentify, tmp_path: Path, text: str):
    rules = tmp_path / "rules"
    rules.write_text(text, "utf-8")
    code, _, clean = deidentify(save(tmp_path / "in" / "o.json", observation()), "--fhir-rules", rules)
    assert code == 0
    assert len(clean["Observation"]["effectiveDateTime"]) == len("2020-05-17"), "the day moved, and is not cut off"


@pytest.mark.parametrize("text", ["{", "x", '{"fhirPathRules": []}', '[[rules]]\npath = "x"\nmethod = "none"', "\xff"])
def test_rules_that_are_not_understood_are_a_usage_error(run: Run, tmp_path: Path, text: str):
    rules = tmp_path / "rules"
    rules.write_bytes(text.encode("latin-1"))
    path = save(tmp_path / "in" / "o.json", observation())
    answer = run("deidentify", path, "--out", tmp_path / "out", "--key", tmp_path / "key", "--fhir-rules", rules)
    assert answer.code == 2
    assert "--fhir-rules" in answer.err
    assert not (tmp_path / "out").exists()


def test_of_a_file_of_lines_those_that_are_no_good_are_named_and_the_others_written(deidentify, tmp_path: Path):
    path = save(tmp_path / "in" / "export.ndjson", patient(), observation(), {"resourceType": "Ornek"}, observation())
    with path.open("a") as file:
        file.write('\n{"resourceType": "Observation", "note": Ornek}\n')
    code, rows, _ = deidentify(path)
    assert code == 3
    assert [row["outcome"] for row in rows] == ["deidentified", "quarantined", "unreadable"]
    assert [row["file"] for row in rows[1:]] == [f"{path}:3", f"{path}:5"]
    assert rows[1]["reason"].startswith("unknown-resource-type")
    assert "line 1, column 41" in rows[2]["reason"]
    assert len(Path(rows[0]["output"]).read_text().splitlines()) == 3
    assert Path(rows[0]["output"]).stat().st_mode & 0o777 == 0o600


def test_numbers_keep_all_of_their_digits(deidentify, tmp_path: Path):
    path = tmp_path / "o.json"
    path.write_text(
        json.dumps(observation(valueQuantity=0)).replace('"valueQuantity": 0', '"valueQuantity":{"value":13.10}')
    )
    _, _, clean = deidentify(path)
    assert str(clean["Observation"]["valueQuantity"]["value"]) == "13.10"


@pytest.mark.parametrize(
    "text",
    ["{", '{"Ornek": 4471902', "Ornek", "[]", '{"name": "Ornek"}', '{"resourceType": 4471902}', '{"a":' * 100_000,
     '{"resourceType": "Patient", "n": NaN}', '{"resourceType": "Patient", "n": 1' + "0" * 5000 + "}", ""],
)  # fmt: skip
def test_what_is_no_fhir_ends_with_1_and_says_where_not_what(deidentify, tmp_path: Path, text: str):
    path = tmp_path / "x.json"
    path.write_text(text)
    code, (row,), _ = deidentify(path)
    assert (code, row["outcome"], row["output"]) == (1, "unreadable", None)
    assert row["reason"].startswith(("no JSON", "no FHIR"))
    assert not list((tmp_path / "out").iterdir())


def test_text_that_is_not_utf_8_ends_with_1(deidentify, tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_bytes(json.dumps(patient(), ensure_ascii=False).encode("utf-16"))
    code, (row,), _ = deidentify(path)
    assert (code, row["outcome"], row["reason"]) == (1, "unreadable", "no JSON: its text is not UTF-8")


@pytest.mark.parametrize(
    "resources",
    [
        [observation(performer=[{"reference": "Patient/other"}])],
        [
            {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": patient()}, {"resource": patient("5")}],
            }
        ],
        [patient(), patient("PID-5"), observation()],
    ],
    ids=["two references", "two patients", "an id that two have"],
)
def test_what_is_about_two_patients_is_quarantined(deidentify, tmp_path: Path, resources: list[Any]):
    code, rows, _ = deidentify(save(tmp_path / "in.ndjson", *resources))
    assert code == 3
    assert rows[-1]["outcome"] == "quarantined"
    assert rows[-1]["reason"].startswith("several-patients")


def test_half_a_surrogate_pair_quarantines_its_resource_and_no_other(deidentify, tmp_path: Path):
    path = tmp_path / "in.ndjson"
    path.write_text(json.dumps(patient(id="p-77\ud800", identifier=[])) + "\n" + json.dumps(patient()) + "\n")
    code, rows, written = deidentify(path)
    assert code == 3
    assert [row["outcome"] for row in rows] == ["deidentified", "quarantined"]
    assert len(written) == 1


def test_the_identifier_that_is_the_patient_id_can_be_named_by_its_system(deidentify, tmp_path: Path):
    numbers = [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "PID-4471902"}]
    save(tmp_path / "in" / "p.json", patient() | {"identifier": numbers})
    image(tmp_path / "in" / "1.dcm")
    _, _, clean = deidentify(tmp_path / "in", "--patient-system", "urn:b")
    (file,) = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".dcm"]
    assert pydicom.dcmread(file).PatientID in [one["value"] for one in clean["Patient"]["identifier"]]


def test_explain_names_elements_and_rules_and_no_value(run: Run, tmp_path: Path):
    path = save(tmp_path / "in" / "all.ndjson", patient(), observation())
    answer = run("deidentify", path, "--explain", "--json")
    rows = json.loads(answer.out)
    assert (answer.code, [row["file"] for row in rows]) == (0, [f"{path}:1", f"{path}:2"])
    told = {element["element"]: element["action"] for element in rows[0]["elements"]}
    assert told["Patient.name[0].family"] == "redact"
    assert not any(planted in answer.out for planted in PLANTED)
    table = run("deidentify", path, "--explain", columns=200)
    assert "Observation.status" in table.out
