"""Intervals, tests, resampling and corrections against scipy, statsmodels and plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from unlearning.analysis.attack_effects import student
from unlearning.statistics import (
    WITNESSES,
    Interval,
    PairedDifference,
    bootstrap_difference,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_difference,
    percentile_interval,
    proportion_difference,
    proportion_interval,
    resample_indices,
    resample_weights,
    sign_of,
    unpaired_difference,
    witnessed_mean,
)

NUMBERS = st.lists(st.integers(-1000, 1000).map(lambda i: i / 100), min_size=3, max_size=12)
VARIED = NUMBERS.filter(lambda values: len(set(values)) > 1)


@given(VARIED, st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_is_students(values, confidence):
    found = mean_interval(values, confidence)
    expected = DescrStatsW(values).tconfint_mean(1 - confidence)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), len(values))


def test_one_value_has_no_interval_and_none_has_no_mean():
    one = mean_interval([0.5, np.nan])
    assert (one.mean, one.n) == (0.5, 1)
    assert np.isnan([one.low, one.high]).all()
    none = mean_interval([np.nan])
    assert none.n == 0
    assert np.isnan([none.mean, none.low, none.high]).all()


@given(NUMBERS, st.integers(0, 99))
def test_paired_difference_is_the_paired_t_test(values, seed):
    left = np.array(values)
    right = left + np.random.default_rng(seed).normal(0.3, 1, len(values))
    found = paired_difference(left, right)
    test = stats.ttest_rel(left, right)
    assert found.p == pytest.approx(test.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_a_pair_with_a_missing_side_is_left_out():
    found = paired_difference([1.0, np.nan, 4.0, 9.0], [0.0, 5.0, np.nan, 5.0])
    assert (found.mean, found.n) == (2.5, 2)


def test_equal_differences_give_no_false_certainty():
    same = paired_difference([3.0, 4.0], [1.0, 2.0])
    assert same.mean == 2.0
    assert np.isnan([same.low, same.high, same.p]).all()
    none = paired_difference([3.0, 4.0], [3.0, 4.0])
    assert (none.mean, none.p) == (0.0, 1.0)
    assert np.isnan([none.low, none.high, none.boot_low, none.boot_high]).all()
    assert sign_of(same) == sign_of(none) == 0


@given(st.floats(-100, 100), st.integers(2, 8), st.integers(0, 9))
def test_equal_values_have_no_interval_anywhere(value, n, seed):
    """Nor have values that differ by rounding alone: what is left of an interval has a width."""
    generator = np.random.default_rng(seed)
    values = value + generator.uniform(-1e-14, 1e-14, n)
    rows = pd.DataFrame({"group": "a", "value": values})
    found = [
        mean_interval(values),
        witnessed_mean(values),
        paired_difference(values, np.zeros(n)),
        unpaired_difference(values, values + 1),
        bootstrap_interval(values, np.mean, generator),
        bootstrap_difference(values, values + 1, np.mean, generator),
        *student(rows, ["group"], 0.95).itertuples(),
    ]
    for interval in found:
        assert interval.n == n
        assert np.isfinite(interval.mean)
        assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_bootstrap_of_two_or_three_is_no_witness(n):
    values = [0.50, 0.51, 0.52, 0.53][:n]
    found = witnessed_mean(values)
    assert found.low > 0
    assert np.isnan([found.boot_low, found.boot_high]).all() == (n < 4)
    assert sign_of(found) == (1 if n >= 4 else 0)


@settings(max_examples=10)
@given(NUMBERS.filter(lambda values: len(values) >= WITNESSES), st.integers(0, 99))
def test_the_bootstrap_of_a_paired_difference_is_that_of_scipy(values, seed):
    """Other random resamples, so equal only up to the noise of resampling."""
    right = np.random.default_rng(seed).normal(0, 1, len(values))
    differences = np.array(values) - right
    found = paired_difference(values, right)
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=5000, method="percentile", rng=seed
    ).confidence_interval
    noise = 0.25 * differences.std(ddof=1)
    assert (found.boot_low, found.boot_high) == pytest.approx(tuple(expected), abs=noise)
    assert found == paired_difference(values, right)


def test_a_difference_is_sure_where_both_intervals_say_so():
    def paired(low, high, boot_low, boot_high):
        return PairedDifference(0.0, low, high, 5, 0.01, boot_low, boot_high)

    assert sign_of(paired(0.1, 0.3, 0.1, 0.2)) == 1
    assert sign_of(paired(-0.3, -0.1, -0.2, -0.1)) == -1
    assert sign_of(paired(-0.1, 0.3, 0.1, 0.2)) == 0
    assert sign_of(paired(0.1, 0.3, -0.1, 0.2)) == 0
    assert sign_of(paired(np.nan, np.nan, 0.1, 0.2)) == 0
    assert sign_of(Interval(0.2, 0.1, 0.3, 5)) == 1


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_unpaired_difference_is_welchs(n, m, seed):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(0, 1, n), rng.normal(1, 3, m)
    found = unpaired_difference(left, right)
    compare = CompareMeans(DescrStatsW(left), DescrStatsW(right))
    expected = compare.tconfint_diff(0.05, usevar="unequal")
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.p == pytest.approx(compare.ttest_ind(usevar="unequal")[1])


@settings(max_examples=15, deadline=None)  # the one of statsmodels is slow
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels_and_skips_missing_tests(p_values):
    found = holm(p_values)
    known = [p for p in p_values if not np.isnan(p)]
    expected = iter(multipletests(known, method="holm")[1] if known else [])
    for p, adjusted in zip(p_values, found, strict=True):
        if np.isnan(p):
            assert np.isnan(adjusted)
        else:
            assert adjusted == pytest.approx(next(expected))


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 5))
def test_weights_count_the_indices(n, resamples, seed):
    indices = resample_indices(n, resamples, np.random.default_rng(seed))
    weights = resample_weights(indices)
    for row, counted in zip(indices, weights, strict=True):
        assert [list(row).count(i) for i in range(n)] == counted.tolist()


@settings(max_examples=20)
@given(VARIED, st.integers(0, 5))
def test_bootstrap_equals_a_loop_over_the_same_resamples(values, seed):
    found = bootstrap_interval(values, np.std, np.random.default_rng(seed), resamples=50)
    indices = resample_indices(len(values), 50, np.random.default_rng(seed))
    slow = [np.std([values[i] for i in row]) for row in indices]
    assert (found.low, found.high) == pytest.approx(percentile_interval(np.array(slow)))
    assert found.mean == pytest.approx(np.std(values))


def test_resamples_of_one_value_are_no_interval():
    generator = np.random.default_rng(0)
    for found in (
        bootstrap_interval([2.0], np.std, generator),
        bootstrap_difference([2.0], [1.0, 4.0], np.std, generator),
        bootstrap_difference([1.0, 4.0], [2.0], np.std, generator),
    ):
        assert np.isfinite(found.mean)
        assert np.isnan([found.low, found.high]).all()


def test_bootstrap_of_a_mean_is_near_the_t_interval():
    rng = np.random.default_rng(3)
    left, right = rng.normal(1, 1, 200), rng.normal(0, 1, 300)
    found = bootstrap_difference(left, right, np.mean, np.random.default_rng(4), resamples=4000)
    expected = unpaired_difference(left, right)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    assert found.mean == pytest.approx(expected.mean)


def test_proportions():
    # Wilson's formula, written out
    z, hits, n = stats.norm.ppf(0.975), 7, 20
    centre = (hits / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(hits / n * (1 - hits / n) / n + z**2 / (4 * n**2))
    found = proportion_interval(hits, n)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))
    assert proportion_interval(0, 10).low == 0.0
    assert proportion_interval(10, 10).high == 1.0
    assert np.isnan(proportion_interval(0, 0).mean)
    # Newcombe's: the square-and-add rule on the two Wilson intervals
    other = proportion_interval(3, 40)
    difference = proportion_difference(7, 20, 3, 40)
    gap = 7 / 20 - 3 / 40
    low = gap - np.hypot(7 / 20 - found.low, other.high - 3 / 40)
    high = gap + np.hypot(found.high - 7 / 20, 3 / 40 - other.low)
    assert (difference.low, difference.high) == pytest.approx((low, high))
