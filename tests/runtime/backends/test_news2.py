"""NEWS2 against the chart of the Royal College of Physicians (2017), written out here once more value by value."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import pipelines
from runtime import InferenceResult, LocalRuntime, ModelPackage, Runtime
from runtime.backends.rules import Rules, read_rules

FOLDER = Path(pipelines.__file__).parent / "packages" / "news2"
NORMAL = {
    "respiration_rate": 16.0,
    "oxygen_saturation": 97.0,
    "oxygen_scale": 1,
    "supplemental_oxygen": 0,
    "systolic_blood_pressure": 120.0,
    "pulse": 70.0,
    "consciousness": 0,
    "temperature": 37.0,
}
COLUMNS = tuple(NORMAL)
MEASURED = ("respiration_rate", "oxygen_saturation", "systolic_blood_pressure", "pulse", "temperature")
MOST = 256


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return ModelPackage.load(FOLDER)


@pytest.fixture(scope="module")
def rules(package: ModelPackage) -> Rules:
    return read_rules(package, "news2.rules.toml")


@pytest.fixture(scope="module")
def runtime(package: ModelPackage) -> Iterator[Runtime]:
    with LocalRuntime([package], threads=1) as local:
        yield local


def _tensors(patients: list[Mapping[str, float | None]]) -> dict[str, np.ndarray]:
    """One sample for each patient; what is None is missing, what is not named is normal."""
    inputs = {}
    for column in COLUMNS:
        given = [patient.get(column, NORMAL[column]) for patient in patients]
        dtype = np.float32 if column in MEASURED else np.uint8
        inputs[column] = np.array([0 if value is None else value for value in given], dtype)
        if column != "oxygen_scale":
            inputs[f"{column}_present"] = np.array([value is not None for value in given], np.uint8)
    return inputs


def _ask(runtime: Runtime, *patients: Mapping[str, float | None]) -> InferenceResult:
    return runtime.infer("news2", _tensors(list(patients)), timeout_seconds=10)


def _scores(runtime: Runtime, patients: list[Mapping[str, float | None]]) -> list[int]:
    scores: list[int] = []
    for start in range(0, len(patients), MOST):
        scores += _ask(runtime, *patients[start : start + MOST]).outputs["score"].tolist()
    return scores


def _points(*bands: tuple[range, int]) -> dict[int, int]:
    return {value: points for values, points in bands for value in values}


# Chart 1, left to right: 3 2 1 0 1 2 3. Temperature in tenths of a degree.
RESPIRATION = _points((range(9), 3), (range(9, 12), 1), (range(12, 21), 0), (range(21, 25), 2), (range(25, 121), 3))
SCALE_1 = _points((range(10, 92), 3), (range(92, 94), 2), (range(94, 96), 1), (range(96, 101), 0))
SCALE_2_AIR = _points((range(10, 84), 3), (range(84, 86), 2), (range(86, 88), 1), (range(88, 101), 0))
SCALE_2_OXYGEN = {
    **SCALE_2_AIR,
    **_points((range(93, 95), 1), (range(95, 97), 2), (range(97, 101), 3)),
}
PRESSURE = _points(
    *((range(20, 91), 3), (range(91, 101), 2), (range(101, 111), 1), (range(111, 220), 0), (range(220, 351), 3))
)
PULSE = _points(
    *((range(41), 3), (range(41, 51), 1), (range(51, 91), 0), (range(91, 111), 1), (range(111, 131), 2)),
    (range(131, 351), 3),
)
CONSCIOUSNESS = {0: 0, 1: 3, 2: 3, 3: 3, 4: 3}
TENTHS = _points(
    *((range(100, 351), 3), (range(351, 361), 1), (range(361, 381), 0), (range(381, 391), 1), (range(391, 461), 2))
)


@pytest.mark.parametrize(
    ("column", "chart", "beside"),
    [
        ("respiration_rate", RESPIRATION, {}),
        ("oxygen_saturation", SCALE_1, {}),
        ("oxygen_saturation", SCALE_2_AIR, {"oxygen_scale": 2}),
        ("systolic_blood_pressure", PRESSURE, {}),
        ("pulse", PULSE, {}),
        ("consciousness", CONSCIOUSNESS, {}),
    ],
)
def test_every_value_of_the_chart_has_its_points(
    runtime: Runtime, column: str, chart: dict[int, int], beside: dict
) -> None:
    found = _scores(runtime, [{column: value, **beside} for value in chart])
    assert dict(zip(chart, found, strict=True)) == chart


def test_every_temperature_has_its_points(runtime: Runtime) -> None:
    found = _scores(runtime, [{"temperature": tenths / 10} for tenths in TENTHS])
    assert dict(zip(TENTHS, found, strict=True)) == TENTHS


@pytest.mark.parametrize(("scale", "chart"), [(1, SCALE_1), (2, SCALE_2_OXYGEN)])
def test_oxygen_adds_two_and_chooses_the_column_of_scale_2(runtime: Runtime, scale: int, chart: dict[int, int]) -> None:
    patients = [{"oxygen_saturation": v, "oxygen_scale": scale, "supplemental_oxygen": 1} for v in chart]
    assert _scores(runtime, patients) == [points + 2 for points in chart.values()]


# One value for each number of points that a parameter can give.
_LEVELS = {
    "respiration_rate": {16: 0, 10: 1, 22: 2, 30: 3},
    "oxygen_saturation": {97: 0, 94: 1, 92: 2, 80: 3},
    "supplemental_oxygen": {0: 0, 1: 2},
    "systolic_blood_pressure": {120: 0, 105: 1, 95: 2, 80: 3},
    "pulse": {70: 0, 45: 1, 120: 2, 140: 3},
    "consciousness": {0: 0, 4: 3},
    "temperature": {37: 0, 38.5: 1, 40: 2, 34: 3},
}


def test_all_combinations_add_up_and_have_their_risk(package: ModelPackage, rules: Rules) -> None:
    combinations = list(itertools.product(*(levels.items() for levels in _LEVELS.values())))
    patients = [dict(zip(_LEVELS, (value for value, _ in chosen), strict=True)) for chosen in combinations]
    points = np.array([[number for _, number in chosen] for chosen in combinations])
    answers = rules.run(_tensors(patients))
    assert len(combinations) == 4096
    assert np.array_equal(answers["points"], points)
    assert np.array_equal(answers["score"], points.sum(axis=1))
    assert answers["score"].min() == 0
    assert answers["score"].max() == 20
    for total, most, risk in zip(answers["score"], points.max(axis=1), answers["risk"], strict=True):
        expected = "high" if total >= 7 else "medium" if total >= 5 else "low_medium" if most == 3 else "low"
        assert rules.classes[risk].name == expected
    assert np.array_equal(answers["highest_points"], points.max(axis=1))


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "oxygen_scale"])
def test_a_missing_vital_sign_means_no_score_and_is_named(runtime: Runtime, rules: Rules, column: str) -> None:
    outputs = _ask(runtime, {column: None}, {}).outputs
    assert outputs["score"].tolist() == [-1, 0]
    assert outputs["risk"].tolist() == [-1, 0]
    assert outputs["highest_points"].tolist() == [-1, 0]
    named = [rules.columns[place].name for place in np.flatnonzero(outputs["missing"][0])]
    assert named == [column]
    assert outputs["missing"][0].max() == 1
    unscored = [rules.terms[place].name for place in np.flatnonzero(outputs["points"][0] == -1)]
    # Which column of the chart holds for the saturation depends on the oxygen.
    assert unscored == (["oxygen_saturation", column] if column == "supplemental_oxygen" else [column])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("temperature", 98.6), ("temperature", 0), ("oxygen_saturation", 0.97), ("oxygen_saturation", 101)),
        *(("systolic_blood_pressure", 16), ("pulse", 999), ("respiration_rate", -1)),
        *(("consciousness", 5), ("consciousness", 15), ("supplemental_oxygen", 2), ("oxygen_scale", 0)),
    ],
)
def test_what_is_no_such_measurement_is_reported_and_not_scored(
    runtime: Runtime, rules: Rules, column: str, value: float
) -> None:
    outputs = _ask(runtime, {column: value}).outputs
    assert outputs["score"].tolist() == [-1]
    assert {rules.columns[place].name: int(outputs["missing"][0, place]) for place in range(8)} == {
        name: 2 if name == column else 0 for name in COLUMNS
    }


@pytest.mark.parametrize(
    ("column", "value", "points"),
    [
        *(("respiration_rate", 8.4, 3), ("respiration_rate", 8.5, 1), ("temperature", 35.04, 3)),
        *(("temperature", 35.05, 1), ("temperature", 36.05, 0), ("temperature", 39.04, 1), ("pulse", 130.5, 3)),
    ],
)
def test_values_between_the_charts_are_rounded_halves_upwards(
    runtime: Runtime, column: str, value: float, points: int
) -> None:
    assert _ask(runtime, {column: value}).outputs["score"].tolist() == [points]


def test_the_number_of_a_missing_value_is_never_looked_at(rules: Rules) -> None:
    inputs = _tensors([{"pulse": None}])
    inputs["pulse"][:] = np.nan
    assert rules.run(inputs)["score"].tolist() == [-1]
    assert rules.run(inputs)["missing"].tolist() == [[0, 0, 0, 0, 0, 1, 0, 0]]


def test_the_card_names_its_source_and_every_input(package: ModelPackage) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text()
    assert "Royal College of Physicians" in card
    assert all(f"`{name}`" in card for name in COLUMNS)
    assert all(f"`{spec.name}`" in card for spec in package.outputs)
