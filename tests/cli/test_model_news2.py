"""`kopru models news2`: vital signs in FHIR are scored where all are there, and else there is no score and a reason."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.vital_signs import read_vital_signs
from daemon.cli.model_news2 import _is_adult
from daemon.settings.defaults import bundled_packages
from pipelines.news2 import RISKS, Sign
from runtime import ModelPackage
from runtime.backends.rules import read_rules
from tests.cli.conftest import Answer, Run

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
NOON, HOUR_BEFORE, DAY_BEFORE = "2026-03-01T12:00:00+01:00", "2026-03-01T11:00:00+01:00", "2026-02-28T12:00:00+01:00"
Change = Callable[[list[dict[str, Any]]], object]


def observation(code: str, at: str = NOON, system: str = LOINC, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": at,
    } | more


def quantity(value: float, unit: str) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "system": UCUM, "code": unit}}


def concept(code: str) -> dict[str, Any]:
    return {"valueCodeableConcept": {"coding": [{"system": SNOMED, "code": code}]}}


def normal() -> list[dict[str, Any]]:
    """Of an adult at rest: 0."""
    pressure = {"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}} | quantity(120, "mm[Hg]")
    diastolic = {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}} | quantity(80, "mm[Hg]")
    return [
        observation("9279-1", **quantity(16, "{breaths}/min")),
        observation("59408-5", **quantity(97, "%")),
        observation("85354-9", component=[diastolic, pressure]),
        observation("8867-4", **quantity(70, "/min")),
        observation("8310-5", **quantity(37.0, "Cel")),
        observation("1104441000000107", system=SNOMED, **concept("248234008")),
        observation("722742002", system=SNOMED, **concept("722742002")),
    ]


RESPIRATION, SATURATION, PRESSURE, PULSE, TEMPERATURE, CONSCIOUSNESS, OXYGEN = range(7)


@pytest.fixture
def score(run: Run, tmp_path: Path) -> Callable[..., tuple[Answer, Any]]:
    def score(resources: list[dict[str, Any]], *arguments: Any, scale: int = 1) -> tuple[Answer, Any]:
        file = tmp_path / "vital-signs.json"
        entries = [{"resource": resource} for resource in resources]
        file.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
        answer = run("models", "news2", file, "--oxygen-scale", scale, "--json", *arguments)
        return answer, json.loads(answer.out) if answer.out.startswith("{") else None

    return score


Scores = Callable[..., tuple[Answer, Any]]


def test_normal_vital_signs_score_nothing(score: Scores, run: Run, tmp_path: Path) -> None:
    answer, said = score(normal())
    assert (answer.code, said["score"], said["risk"], said["missing"]) == (0, 0, "low", {})
    assert set(said["points"]) == set(said["used"]) == set(Sign)
    shown = run("models", "news2", tmp_path / "vital-signs.json", "--oxygen-scale", 1)
    assert (shown.code, "NEWS2 0" in shown.out) == (0, True)


@pytest.mark.parametrize(
    ("place", "value", "points"),
    [
        (TEMPERATURE, quantity(102.4, "[degF]"), 2),  # 39.1 °C
        (TEMPERATURE, quantity(102.2, "[degF]"), 1),  # 39.0 °C
        (TEMPERATURE, quantity(100.4, "[degF]"), 0),  # 38.0 °C
        (TEMPERATURE, quantity(95.0, "[degF]"), 3),  # 35.0 °C
        (TEMPERATURE, quantity(312.2, "K"), 2),  # 39.05 °C
        (PULSE, quantity(131, "{Heart beats}/min"), 3),
        (RESPIRATION, quantity(21, "/min"), 2),
        (SATURATION, quantity(95, "%"), 1),
        (CONSCIOUSNESS, concept("130987000"), 3),
        (CONSCIOUSNESS, concept("422768004"), 3),
        (OXYGEN, concept("371825009"), 2),
    ],
)
def test_each_unit_and_code_has_the_charts_points(
    score: Scores, place: int, value: dict[str, Any], points: int
) -> None:
    resources = normal()
    resources[place] |= value
    _, said = score(resources)
    assert said["score"] == points


def test_a_pressure_in_kilopascal_is_the_same_pressure(score: Scores) -> None:
    resources = normal()
    resources[PRESSURE]["component"][1] |= quantity(13.3, "kPa")  # 99.8 mmHg
    assert score(resources)[1]["points"]["systolic_blood_pressure"] == 2


@pytest.mark.parametrize(("scale", "points"), [(1, 2), (2, 5)])
def test_the_scale_is_the_one_that_a_clinician_chose(score: Scores, scale: int, points: int) -> None:
    resources = normal()
    resources[OXYGEN] |= concept("371825009")
    assert score(resources, scale=scale)[1]["score"] == points, "97 % on oxygen is too much on scale 2"


@pytest.mark.parametrize(
    ("code", "value", "points"),
    [("3151-8", quantity(2, "L/min"), 2), ("3151-8", quantity(0, "L/min"), 0), ("3150-6", quantity(28, "%"), 2)],
)
def test_oxygen_is_known_from_what_is_inhaled(score: Scores, code: str, value: Any, points: int) -> None:
    resources = normal()
    resources[OXYGEN] = observation(code, **value)
    assert score(resources)[1]["points"]["supplemental_oxygen"] == points


@pytest.mark.parametrize("place", range(7))
def test_without_one_vital_sign_there_is_no_score(score: Scores, place: int) -> None:
    resources = normal()
    del resources[place]
    answer, said = score(resources)
    assert (answer.code, said["score"], said["risk"]) == (3, None, None)
    assert list(said["missing"].values()) == ["was not measured"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valueQuantity": {"value": 37, "unit": "°C"}}, "no UCUM unit"),
        (quantity(98.6, "Cel"), "no such measurement"),
        (quantity(37, "/min"), "no UCUM unit"),
        ({"valueQuantity": {"value": True, "system": UCUM, "code": "Cel"}}, "no value"),
        ({"valueQuantity": {"value": 10**400, "system": UCUM, "code": "Cel"}}, "no value"),
        ({"valueQuantity": {"value": 35, "comparator": "<", "system": UCUM, "code": "Cel"}}, "only that it is more"),
        ({"valueString": "warm", "valueQuantity": None}, "no value"),
        ({"status": "preliminary"}, "not final"),
        ({"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}, "extension"),
        ({"effectiveDateTime": "2026-03-01T10:59:00+01:00"}, "more than 60 minutes before"),
        ({"effectiveDateTime": "2026-03-01T14:00:00+01:00"}, "was not measured"),
        ({"status": "entered-in-error"}, "was not measured"),
    ],
)
def test_what_cannot_be_used_is_missing_and_says_why(score: Scores, change: dict[str, Any], reason: str) -> None:
    resources = normal()
    older = observation("8310-5", DAY_BEFORE, **quantity(37.0, "Cel"))
    resources[TEMPERATURE] |= change
    if "status" not in change and "effectiveDateTime" not in change:
        resources.append(older | {"effectiveDateTime": HOUR_BEFORE})  # which must not count in its place
    answer, said = score(resources, "--at", NOON)
    assert (answer.code, said["score"]) == (3, None)
    assert reason in said["missing"]["temperature"]
    assert set(said["missing"]) == {"temperature"}


def test_the_newest_value_counts_whatever_its_offset(score: Scores) -> None:
    resources = normal()
    resources[PULSE] |= {"effectiveDateTime": "2026-03-01T11:59:59+01:00"}
    resources.insert(0, observation("8867-4", "2026-03-01T11:00:00Z", **quantity(135, "/min")))
    assert score(resources)[1]["points"]["pulse"] == 3


def test_two_values_of_one_time_are_none(score: Scores) -> None:
    resources = [*normal(), observation("8867-4", **quantity(135, "/min"))]
    answer, said = score(resources)
    assert (answer.code, said["missing"]["pulse"]) == (3, "has several values of the same time")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r[PULSE].update(subject={"reference": "Patient/2"}), "several patients"),
        (lambda r: [one.pop("subject") for one in r], "whose they are"),
        (lambda r: r[PULSE].update(effectiveDateTime="2026-03-01"), "what is newest"),
        (lambda r: r[PULSE].update(effectiveDateTime="2026-03-01T12:00:00"), "what is newest"),
        (lambda r: r.append({"resourceType": "Patient", "birthDate": "2012-03-02"}), "for adults"),
        (lambda r: r.append({"resourceType": "Patient", "birthDate": "2010"}), "for adults"),
    ],
)
def test_of_a_child_of_several_or_of_nobody_there_is_no_score(score: Scores, change: Change, says: str) -> None:
    resources = normal()
    change(resources)
    answer, _ = score(resources)
    assert (answer.code, says in answer.err) == (3, True)
    assert "Patient/" not in answer.err + answer.out


@pytest.mark.parametrize(
    ("born", "adult"),
    [("2010-03-01", True), ("2010-03-02", False), ("2010-02", True), ("2010-03", False), ("2009", True), ("x", False)],
)
def test_who_is_an_adult(born: str, adult: bool) -> None:
    assert _is_adult(born, date(2026, 3, 1)) is adult


@pytest.mark.parametrize("content", ['{"resourceType": "Bundle", "entry": [', "DICM", '{"a": 1}'])
def test_what_is_no_fhir_ends_the_command(run: Run, tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    answer = run("models", "news2", file, "--oxygen-scale", 1)
    assert (answer.code, "a.json" in answer.err) == (1, True)


def test_the_names_are_those_of_the_package() -> None:
    rules = read_rules(ModelPackage.load(bundled_packages()["news2"]), "news2.rules.toml")
    assert tuple(one.name for one in rules.classes) == RISKS
    assert tuple(one.name for one in rules.terms) == tuple(Sign)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["code", "component", "valueQuantity", "valueCodeableConcept", "status", "effectiveDateTime", "effectivePeriod"]
)


@given(st.sampled_from(normal()), st.dictionaries(keys, anything, min_size=1, max_size=3))
def test_whatever_stands_in_an_observation_is_read_or_said_to_be_unusable(one: dict[str, Any], changes: Any) -> None:
    for said in read_vital_signs(one | changes):
        assert isinstance(said, str) or said.value is not None or said.problem
