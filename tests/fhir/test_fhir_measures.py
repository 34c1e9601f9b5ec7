"""What was measured in a report: a coded amount for each series, never added up, and marked as a sample's."""

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.directory.html import render
from adapters.fhir import ReportError
from adapters.fhir.resources import full_url
from pipelines.results import Coding, Finding, InstanceOutcome, Quantity
from tests.fhir.samples import MODEL, document, resources, result, the_report

LESION = Coding("http://snomed.info/sct", "52988006", "Lesion")
SAMPLE = replace(MODEL, name="ct-lesion-sample")


def volume(millilitres: float, series: int | None, probability: float = 0.9, unit: str = "mL") -> InstanceOutcome:
    found = Finding("Lesion", LESION, probability, 0.5, Quantity(millilitres, unit))
    return InstanceOutcome(f"2.25.{series or 0}", (found,), None, "ab" * 32, slices=48, series_number=series)


def measured(*outcomes: InstanceOutcome, **changes: object) -> bytes:
    made = result(*outcomes, model=SAMPLE)
    return document(study_result=replace(made, pipeline="ct-lesion", **changes))


def observations(made: bytes) -> tuple[dict, list[dict]]:
    """That of the finding, and those of how much."""
    found = resources(made, "Observation")
    (finding,) = [o for o in found if "valueCodeableConcept" in o]
    return finding, [o for o in found if "valueQuantity" in o]


def test_a_measure_is_an_observation_with_a_quantity_in_ucum():
    finding, (amount,) = observations(measured(volume(88.901, 3)))
    assert amount["valueQuantity"] == {
        "value": 88.901,
        "unit": "mL",
        "system": "http://unitsofmeasure.org",
        "code": "mL",
    }
    assert amount["code"]["coding"] == [{"system": LESION.system, "code": "118565006", "display": "Volume"}]
    assert amount["code"]["text"] == "Lesion: volume in series 3 (48 slices)"
    assert amount["status"] == "preliminary"
    assert amount["meta"]["security"][0]["code"] == "AIAST"
    assert finding["hasMember"] == [{"reference": full_url(amount)}]
    counted = {c["code"]["coding"][0]["code"]: c.get("valueInteger") for c in finding["component"]}
    assert counted["series-analysed"] == counted["series-reaching"] == 1
    assert "images-analysed" not in counted


def test_each_series_has_its_own_amount_and_nothing_is_added_up():
    made = measured(volume(88.9, 3), volume(0.04, 7), volume(0.0, None, probability=0.1))
    _, amounts = observations(made)
    assert [amount["valueQuantity"]["value"] for amount in amounts] == [88.9, 0.04, 0.0]
    assert len({amount["identifier"][0]["value"] for amount in amounts}) == 3
    report = the_report(made)
    assert len(report["result"]) == 4
    assert (
        "Lesion: detected (probability 90.0 %, threshold 50.0 %), in 2 of 3 series: 88.9 mL in series 3 (48 slices), "
        "0.040 mL in series 7 (48 slices), 0.0 mL in a series of 48 slices" in report["conclusion"]
    )
    assert "88.94" not in made.decode()


def test_a_report_of_a_sample_says_that_it_is_not_for_use():
    report = the_report(measured(volume(88.9, 3)))
    for text in (report["conclusion"], report["text"]["div"]):
        assert "not for use on any image of a person: disregard its result" in text
        assert "not approved for diagnosis" in text
    assert "disregard its result" not in the_report(document())["conclusion"]
    assert report["code"]["coding"][0]["code"] == "24627-2"


def test_slices_are_counted_and_not_series():
    broken = InstanceOutcome("2.25.8", (), "a slice is missing", slices=47, series_number=8)
    report = the_report(measured(volume(88.9, 3), broken, received_instances=100))
    assert "47 of 95 could not be analysed. A slice is missing." in report["conclusion"]
    assert "5 of 100 received are of a kind" in report["conclusion"]


def test_a_series_that_is_gone_takes_its_amount_with_it():
    before = measured(volume(88.9, 3), volume(12.0, 4))
    after = document(study_result=result(volume(88.9, 3), model=SAMPLE), previous=before, revision=2)
    found = resources(after, "Observation")
    assert sorted(o["status"] for o in found) == ["entered-in-error", "preliminary", "preliminary"]
    (gone,) = [o for o in found if o["status"] == "entered-in-error"]
    assert "valueQuantity" not in gone
    assert "12.0" not in str(gone)


def test_an_amount_that_is_none_makes_no_report():
    for outcome in (volume(float("nan"), 1), volume(-1.0, 1), volume(1.0, 1, unit="furlong")):
        with pytest.raises(ReportError, match="is no amount"):
            measured(outcome)


def test_the_page_shows_the_amounts(tmp_path: Path):
    page = render(measured(volume(88.9, 3), volume(12.04, 4)))
    assert "Lesion: volume in series 3 (48 slices): 88.9 mL; Lesion: volume in series 4 (48 slices): 12.0 mL" in page
    assert "2 of 2 series reach the threshold" in page
