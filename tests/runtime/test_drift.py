"""Drift: the reference's file, the window's counts, and the two distances against their definitions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import PackageError
from runtime.drift import (
    WINDOW_SAMPLES,
    Reference,
    Window,
    compare,
    fit_reference,
    kolmogorov_distance,
    kolmogorov_probability,
    stability_index,
)

FILE = Path("reference.json")
ONE_FEATURE: dict[str, Any] = {
    "format": 1,
    "levels": None,
    "projection": None,
    "features": {"score.0": {"edges": [0.25, 0.5, 0.75], "counts": [10, 10, 10, 10]}},
}

Samples = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def samples(count: int, seed: int = 0, brighter: float = 0.0) -> Samples:
    """Inputs, embeddings and scores of a model that does not exist."""
    random = np.random.default_rng(seed)
    level = random.uniform(0.3, 0.5, (count, 1, 1, 1)) + brighter
    inputs = np.clip(level + random.normal(0, 0.1, (count, 1, 24, 24)), 0, 1).astype(np.float32)
    embeddings = (random.normal(size=(count, 6)) * [5, 3, 1, 1, 1, 1] + 20 * brighter).astype(np.float32)
    scores = random.dirichlet([2, 1], count).astype(np.float32)
    return inputs, embeddings, scores


def reference(count: int = 600) -> Reference:
    inputs, embeddings, scores = samples(count)
    return fit_reference(inputs, embeddings=embeddings, scores=scores)


def drift(reference: Reference, seen: Samples) -> dict[str, Any]:
    window = Window(reference)
    window.add(reference.measure(*seen))
    return {one.feature: one for one in compare(reference, window.counts())}


def test_the_same_kind_of_data_has_not_moved() -> None:
    for feature in drift(reference(), samples(500, seed=1)).values():
        assert feature.samples == 500
        assert feature.stability_index < 0.2, feature
        assert feature.p_value > 0.001, feature


def test_brighter_images_and_moved_embeddings_are_found_and_the_scores_are_not_blamed() -> None:
    found = drift(reference(), samples(300, seed=1, brighter=0.15))
    for name in ("input.mean", "embedding.0"):
        assert found[name].stability_index > 0.25, name
        assert found[name].p_value < 1e-6, name
    assert found["score.0"].p_value > 0.001


def test_the_file_holds_the_whole_reference(tmp_path: Path) -> None:
    made = reference(100)
    made.write(tmp_path / "reference.json")
    assert Reference.read(FILE, (tmp_path / "reference.json").read_bytes()) == made


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"format": 2}, "format"),
        ({"levels": [1.0, 0.0]}, ""),
        ({"other": 1}, "other"),
        ({"features": {"score.0": {"edges": [0.5, 0.5], "counts": [1, 1, 1]}}}, "features.score.0"),
        ({"features": {"score.0": {"edges": [0.5], "counts": [1, 1, 1]}}}, "features.score.0"),
        ({"features": {"score.0": {"edges": [0.5], "counts": [0, 0]}}}, "features.score.0"),
        ({"features": {"score.0": {"edges": [0.5], "counts": [-1, 2]}}}, "features.score.0.counts.0"),
        ({"projection": {"mean": [0.0, 0.0], "axes": [[1.0]]}}, "projection"),
    ],
)
def test_a_wrong_file_is_refused_by_name(change: dict[str, Any], key: str) -> None:
    with pytest.raises(PackageError) as refused:
        Reference.read(FILE, json.dumps({**ONE_FEATURE, **change}).encode())
    assert refused.value.key == key


@given(st.binary(max_size=200))
def test_bytes_that_are_no_reference_are_refused(data: bytes) -> None:
    with pytest.raises(PackageError):
        Reference.read(FILE, data)


def test_a_number_on_an_edge_falls_below_it() -> None:
    distribution = Reference.model_validate(ONE_FEATURE).features["score.0"]
    assert distribution.count(np.array([-9, 0.25, 0.26, 0.75, 0.76, 9])).tolist() == [2, 1, 1, 2]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_a_window_counts_the_latest_samples_and_never_more_than_its_size(batches: list[int]) -> None:
    window = Window(Reference.model_validate(ONE_FEATURE))
    for number, size in enumerate(batches):
        window.add({"score.0": np.full(size, (number % 4) / 4 + 0.1)})
    assert window.samples == sum(window.counts()["score.0"]) <= WINDOW_SAMPLES
    assert window.samples >= min(sum(batches), WINDOW_SAMPLES * 3 // 4 - 64)
    assert window.counts()["score.0"][(len(batches) - 1) % 4] >= batches[-1]


_VALUES = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.75, 0.9, -1.0, 2.0, math.inf, -math.inf, math.nan])


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[_VALUES] * 3), min_size=n, max_size=n)))
def test_all_features_are_counted_at_once_as_each_is_alone(rows: list[tuple[float, float, float]]) -> None:
    """Also on an edge, beyond all of them, and where there is no number."""
    edges = {"score.0": [0.25, 0.5, 0.75], "score.1": [0.3], "score.2": [-1.0, 0.1, 0.5, 0.9]}
    features = {name: {"edges": each, "counts": [1] * (len(each) + 1)} for name, each in edges.items()}
    known = Reference.model_validate({**ONE_FEATURE, "features": features})
    seen = dict(zip(edges, np.array(rows).T, strict=True))
    window = Window(known)
    window.add({"score.2": seen["score.2"], "score.0": seen["score.0"]})
    window.add({"score.1": seen["score.1"]})
    counts = window.counts()
    for name, distribution in known.features.items():
        assert counts[name].tolist() == distribution.count(seen[name]).tolist()


def test_old_samples_leave_the_window() -> None:
    window = Window(Reference.model_validate(ONE_FEATURE))
    for value in (0.1, 0.9):
        for _ in range(2 * WINDOW_SAMPLES):
            window.add({"score.0": np.array([value])})
    assert window.counts()["score.0"][0] == 0


def test_counts_of_two_windows_add_up_to_those_of_one() -> None:
    known = Reference.model_validate(ONE_FEATURE)
    values = np.random.default_rng(0).random(300)
    one, left, right = Window(known), Window(known), Window(known)
    one.add({"score.0": values})
    left.add({"score.0": values[:100]})
    right.add({"score.0": values[100:]})
    assert (left.counts()["score.0"] + right.counts()["score.0"] == one.counts()["score.0"]).all()


def test_the_stability_index_is_the_textbooks() -> None:
    many = np.array([100_000, 300_000, 600_000]), np.array([200_000, 300_000, 500_000])
    wanted = 0.1 * math.log(0.2 / 0.1) + -0.1 * math.log(0.5 / 0.6)
    assert stability_index(*many) == pytest.approx(wanted, rel=1e-4)
    assert stability_index(many[0], many[0]) == 0
    assert math.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


def test_the_distance_at_the_edges_is_never_more_than_the_true_one_and_equal_to_it_for_discrete_values() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        first, second = random.normal(size=200), random.normal(0.3, 1, size=150)
        edges = np.quantile(first, np.arange(1, 20) / 20)
        counts = [np.bincount(np.searchsorted(edges, values), minlength=20) for values in (first, second)]
        assert kolmogorov_distance(*counts) <= _true_distance(first, second) + 1e-12
        whole = [np.bincount(random.integers(0, 6, 100), minlength=6) for _ in range(2)]
        values = [np.repeat(np.arange(6), counted) for counted in whole]
        assert kolmogorov_distance(*whole) == pytest.approx(_true_distance(*values))


def _true_distance(first: Any, second: Any) -> float:
    points = np.concatenate([first, second])
    return max(abs(float((first <= point).mean() - (second <= point).mean())) for point in points)


@pytest.mark.parametrize("share", [0.08, 0.1, 0.13, 0.16, 0.2])
def test_the_probability_is_that_of_the_exact_distribution(share: float) -> None:
    """That of two samples of one size (Gnedenko and Korolyuk, Dokl. Akad. Nauk SSSR 80, 1951)."""
    size = 400
    steps = round(share * size)
    ways = sum((-1) ** (j - 1) * math.comb(2 * size, size + j * steps) for j in range(1, size // steps + 1))
    exact = 2 * ways / math.comb(2 * size, size)
    assert kolmogorov_probability(share, size, size) == pytest.approx(exact, abs=0.02, rel=0.2)


@pytest.mark.parametrize(("x", "probability"), [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)])
def test_the_probability_has_the_known_critical_values(x: float, probability: float) -> None:
    """Smirnov's table of the limiting distribution (Ann. Math. Statist. 19, 1948), which sizes like these are near."""
    size = 10**8
    distance = x / math.sqrt(size / 2)
    assert kolmogorov_probability(distance, size, size) == pytest.approx(probability, rel=2e-3)


def test_false_alarms_are_as_rare_as_the_probability_says() -> None:
    random = np.random.default_rng(0)
    low = 0
    for _ in range(400):
        first, second = (np.bincount(random.integers(0, 20, count), minlength=20) for count in (600, 400))
        low += kolmogorov_probability(kolmogorov_distance(first, second), 600, 400) < 0.05
    assert low / 400 <= 0.07
