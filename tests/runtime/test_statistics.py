"""Intervals and tests against published values, and SciPy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from runtime.statistics import (
    Mean,
    Proportion,
    compare_means,
    compare_paired_means,
    compare_paired_proportions,
    compare_proportions,
    fisher,
    t_quantile_975,
)


def test_the_difference_of_two_proportions_has_the_interval_that_newcombe_printed():
    difference = compare_proportions(Proportion(48, 80), Proportion(56, 70))
    assert difference.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference.test == "z"


def test_large_counts_are_compared_by_z_and_small_ones_exactly():
    assert compare_proportions(Proportion(30, 100), Proportion(45, 100)).p_value == pytest.approx(0.028459736916310638)
    tea = compare_proportions(Proportion(3, 4), Proportion(1, 4))  # Fisher, The Design of Experiments, 1935
    assert (tea.test, tea.p_value) == ("Fisher", pytest.approx(34 / 70))
    assert fisher(Proportion(1, 10), Proportion(11, 14)) == pytest.approx(0.0027594561852200836)


def test_means_are_compared_by_welch():
    difference = compare_means(Mean.of([1, 4, 5, 7, 8.5]), Mean.of([2, 3, 9.5]))
    assert difference.p_value == pytest.approx(0.9266152816487339)
    assert difference.interval == pytest.approx((-8.457804002201648, 7.924470668868314))


def test_pairs_are_compared_as_pairs():
    assert compare_paired_proportions(3, 10, 50).p_value == pytest.approx(0.09228515625)
    assert compare_paired_means([0.1, 0.4, -0.2, 0.6]).p_value == pytest.approx(0.28879851363008535)


def test_a_quantile_of_t():
    assert t_quantile_975(3.5) == pytest.approx(2.9400886379827282)
    assert t_quantile_975(1e6) == pytest.approx(1.96, abs=1e-4)


def test_nothing_is_compared_with_nothing():
    assert math.isnan(compare_proportions(Proportion(0, 0), Proportion(1, 2)).p_value)
    assert math.isnan(compare_means(Mean.of([1.0]), Mean.of([1.0, 2.0])).p_value)
    assert math.isnan(compare_paired_proportions(0, 0, 0).p_value)


def test_numbers_that_do_not_vary_give_a_test_nothing_to_judge_by():
    """Two studies each, of models that are always as sure: that is no proof of a difference."""
    assert math.isnan(compare_means(Mean.of([1.0, 1.0]), Mean.of([0.99, 0.99])).p_value)
    assert math.isnan(compare_paired_means([0.01, 0.01]).p_value)


def test_equal_numbers_do_not_differ():
    assert compare_means(Mean.of([2.0, 2.0]), Mean.of([2.0, 2.0])).p_value == 1
    assert compare_paired_means([0.0, 0.0, 0.0]).p_value == 1
    assert compare_paired_proportions(0, 0, 9).p_value == 1


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
samples = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=30)


@given(counts.flatmap(lambda pair: st.tuples(st.integers(0, pair[0]), st.just(pair[0]), st.just(pair[1]))))
def test_the_interval_of_pairs_holds_their_difference_and_no_impossible_one(table: tuple[int, int, int]):
    first, discordant, pairs = table
    difference = compare_paired_proportions(first, discordant - first, pairs)
    low, high = difference.interval
    assert -1 <= low <= difference.value <= high <= 1


@given(counts, counts)
def test_fisher_agrees_with_scipy(first: tuple[int, int], second: tuple[int, int]):
    table = [[first[0], first[1] - first[0]], [second[0], second[1] - second[0]]]
    assert fisher(Proportion(*first), Proportion(*second)) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-9)


@given(samples, samples)
def test_welch_agrees_with_scipy(first: list[float], second: list[float]):
    if len(set(first)) == 1 and len(set(second)) == 1:
        return
    expected = stats.ttest_ind(second, first, equal_var=False).pvalue
    assert compare_means(Mean.of(first), Mean.of(second)).p_value == pytest.approx(expected, abs=1e-9)
