import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.evaluation import measure
from training.errors import DataError
from training.evaluation import (
    Proportion,
    auroc,
    by_source,
    calibration_error,
    choose_thresholds,
    clustered,
    evaluate,
    reliability,
)

LABELS = ("Normal", "Pneumonia", "COVID-19")


def test_the_wilson_interval_is_that_of_the_literature():
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81/263 gives 0.2553 to 0.3662; 0/20 gives 0 to 0.1611.
    assert Proportion(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Proportion(0, 20).interval == pytest.approx((0, 0.1611), abs=5e-5)
    assert math.isnan(Proportion(0, 0).value)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs):
    scores, positive = np.array([float(s) for s, _ in pairs]), np.array([p for _, p in pairs])
    wins = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    if wins:
        assert auroc(scores, positive) == pytest.approx(sum(wins) / len(wins))
    else:
        assert math.isnan(auroc(scores, positive))


def test_all_measures_of_a_case_computed_by_hand():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.3, 0.2, 0.5]])
    targets = np.array([0, 0, 1, 2, 1])
    result = evaluate(probabilities, targets, LABELS, {"Normal": 0.35, "Pneumonia": 0.45, "COVID-19": 0.6})
    assert (result.accuracy.hits, result.accuracy.total) == (3, 5)
    assert result.confusion == ((1, 1, 0), (0, 1, 1), (0, 0, 1))
    normal, pneumonia, covid = result.labels
    assert (normal.sensitivity.hits, normal.sensitivity.total) == (2, 2)
    assert (normal.specificity.hits, normal.specificity.total) == (3, 3)
    assert (pneumonia.sensitivity.hits, pneumonia.specificity.hits) == (1, 2)
    assert covid.auroc == 1
    # Normal and Pneumonia alone: shares of Pneumonia 1/9, 5/9, 7/9, 2/5 for Normal, Normal, Pneumonia, Pneumonia.
    assert (result.pair_accuracy.hits, result.pair_accuracy.total) == (2, 4)
    assert result.pair_auroc == pytest.approx(3 / 4)


def test_thresholds_separate_what_can_be_separated_and_sit_on_no_image():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.9])
    probabilities = np.stack([scores, 1 - scores, np.zeros(5)], axis=1)
    chosen = choose_thresholds(probabilities, np.array([1, 1, 1, 0, 0]), LABELS[:2])
    assert chosen["Normal"] == pytest.approx(0.5)
    assert chosen["Pneumonia"] == pytest.approx(0.5)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20).filter(lambda scores: len(set(scores)) > 1),
    st.integers(1, 2**20 - 2),
)
def test_no_other_threshold_is_better_however_close_to_each_other_the_scores_are(scores, kinds):
    """Sure models give scores that differ in the sixth digit: a threshold that is rounded lies beyond some of them."""
    values = np.array(scores, np.float32)
    positive = np.array([bool(kinds >> at & 1) for at in range(len(values))])
    positive[0], positive[-1] = True, False
    both = np.stack([values, 1 - values], axis=1)
    chosen = choose_thresholds(both, np.where(positive, 0, 1), LABELS[:2])["Normal"]

    exact = values.astype(float)  # beside float32, numpy would round the threshold to one

    def youden(threshold):
        return (exact[positive] >= threshold).mean() + (exact[~positive] < threshold).mean()

    edges = np.unique(exact)
    assert youden(chosen) == max(youden(middle) for middle in (edges[1:] + edges[:-1]) / 2)
    assert chosen not in edges


def test_a_score_just_below_a_threshold_does_not_reach_it():
    """As the daemon judges it: beside float32, numpy would round the threshold down to the score."""
    score = np.float32(0.3)
    threshold = float(score) + 1e-8
    measured = measure(
        np.stack([[score, 1 - score]] * 2), np.array([0, 1]), LABELS[:2], dict.fromkeys(LABELS, threshold)
    )
    assert (measured.labels[0].sensitivity.hits, measured.labels[0].specificity.hits) == (0, 1)


def test_no_threshold_is_chosen_for_a_label_that_validation_lacks():
    with pytest.raises(DataError, match="COVID-19"):
        choose_thresholds(np.full((4, 3), 1 / 3), np.array([0, 0, 1, 1]), LABELS)


def test_calibration_error_is_zero_of_the_certain_and_right_and_one_of_the_certain_and_wrong():
    certain = np.eye(3)
    assert calibration_error(certain, np.array([0, 1, 2])) == 0
    assert calibration_error(certain, np.array([1, 2, 0])) == 1


def test_intervals_over_patients_are_wider_where_a_patients_images_are_alike():
    generator = np.random.default_rng(0)
    once = generator.dirichlet((1, 1, 1), 60)
    targets = np.repeat(generator.integers(0, 3, 60), 6)
    six = np.repeat(once, 6, axis=0)
    even = dict.fromkeys(LABELS, 0.5)
    low, high = clustered(six, targets, [f"p{n // 6}" for n in range(360)], LABELS, even, draws=200)["accuracy"]
    alone_low, alone_high = clustered(six, targets, [f"p{n}" for n in range(360)], LABELS, even, draws=200)["accuracy"]
    assert high - low > 1.8 * (alone_high - alone_low)
    assert low < (six.argmax(axis=1) == targets).mean() < high


def test_reliability_counts_each_image_once():
    probabilities = np.array([[0.95, 0.05, 0], [0.91, 0.09, 0], [0.45, 0.55, 0]])
    assert reliability(probabilities, np.array([0, 1, 1])) == (
        (pytest.approx(0.55), 1.0, 1),
        (pytest.approx(0.93), 0.5, 2),
    )


def test_each_source_has_its_own_accuracy():
    found = by_source(np.eye(3)[[0, 1, 1]], np.array([0, 1, 2]), ["a", "b", "b"])
    assert (found["a"].value, found["b"].value) == (1, 0.5)
