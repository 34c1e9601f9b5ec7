"""The gate and the reference that a package carries."""

import json

import numpy as np
import pytest

from training.watching import STATISTICS, distances, input_statistics, shrunk_covariance, write_gate, write_reference


def images(count, seed, low=0.2, high=0.8):
    return np.random.default_rng(seed).uniform(low, high, (count, 1, 16, 16)).astype(np.float32)


def features(count, seed):
    mixing = np.random.default_rng(0).normal(size=(12, 12))
    return (np.random.default_rng(seed).normal(size=(count, 12)) @ mixing + 3).astype(np.float32)


def test_the_gate_lets_pass_what_it_knows_and_stops_what_it_does_not(tmp_path):
    write_gate(tmp_path / "gate.npz", images(300, 1), features(300, 1), images(200, 2), features(200, 2))
    with np.load(tmp_path / "gate.npz", allow_pickle=False) as gate:

        def far(x):
            return distances(x, gate["mean"], gate["precision"]) > gate["threshold"]

        assert far(features(2000, 3)).mean() < 0.05
        assert far(features(50, 4) + 30).all()
        assert tuple(gate["statistics"]) == STATISTICS
        inside = input_statistics(images(20, 5))
        assert ((inside >= gate["low"]) & (inside <= gate["high"])).all()
        black = input_statistics(np.zeros((1, 1, 16, 16), np.float32))
        assert not ((black >= gate["low"]) & (black <= gate["high"])).all()


def test_the_covariance_is_that_of_ledoit_and_wolf():
    rows = features(40, 1) - features(40, 1).mean(axis=0)
    shrunk = shrunk_covariance(rows)
    sample = rows.T @ rows / len(rows)
    assert np.trace(shrunk) == pytest.approx(np.trace(sample), rel=1e-5)
    assert np.linalg.cond(shrunk) < np.linalg.cond(sample)
    many = features(100_000, 1) - features(100_000, 1).mean(axis=0)
    assert shrunk_covariance(many) == pytest.approx(many.T @ many / len(many), rel=1e-2, abs=1e-2)


def test_the_reference_holds_quantiles_of_all_that_is_watched(tmp_path):
    scores = np.random.default_rng(0).dirichlet((1, 1), 100).astype(np.float32)
    write_reference(tmp_path / "reference.json", images(100, 1), features(100, 1), scores, ("a", "b"))
    content = json.loads((tmp_path / "reference.json").read_text())
    assert content["samples"] == 100
    watched = content["quantiles"]
    assert set(watched) == {*(f"inputs.{name}" for name in STATISTICS), "embedding.norm", "outputs.a", "outputs.b"}
    assert all(len(levels) == 101 and levels == sorted(levels) for levels in watched.values())
    assert watched["outputs.a"][50] == pytest.approx(np.median(scores[:, 0]), abs=1e-5)
