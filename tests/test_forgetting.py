"""Thresholds, bands and outlier counts against counting by hand."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import (
    PAPER_BAND,
    THRESHOLD_COLUMNS,
    Band,
    about_band,
    band_ends,
    count_outliers,
    coverage,
    describe,
    thresholds,
    thresholds_of,
)

STEPS = 60  # so that 0.15 and 0.60 are values that g can take


@given(st.lists(st.integers(0, STEPS), min_size=1, max_size=30))
def test_the_fixed_band_counts_its_ends_as_the_release_does(hits):
    counts = count_outliers(np.array(hits) / STEPS, PAPER_BAND)
    over = under = 0
    for hit in hits:
        over += hit <= 9
        under += hit >= 36
    assert counts == {"both": over + under, "under_forgotten": under, "over_forgotten": over}


@given(
    st.lists(st.integers(0, STEPS), min_size=1, max_size=30),
    st.integers(0, STEPS),
    st.integers(0, STEPS),
    st.booleans(),
)
def test_a_calibrated_band_counts_only_what_is_strictly_outside(hits, one, other, printed):
    low, high = min(one, other), max(one, other)
    ends = (low / STEPS, high / STEPS)
    g = np.array(hits) / STEPS
    if printed:  # neither a CSV's nine digits nor single precision may move a count
        ends = tuple(float(f"{end:.9g}") for end in ends)
        g = g.astype(np.float32)
    counts = count_outliers(g, Band(*ends))
    assert counts["under_forgotten"] == sum(hit > high for hit in hits)
    assert counts["over_forgotten"] == sum(hit < low for hit in hits)
    assert counts["both"] == counts["under_forgotten"] + counts["over_forgotten"]


@pytest.mark.parametrize("g", [[], [0.4, float("nan")]])
def test_a_diverged_run_has_no_count_rather_than_a_count_of_zero(g):
    assert np.isnan(list(count_outliers(g, PAPER_BAND).values())).all()
    assert np.isnan(list(describe(g).values())).all()


def test_thresholds_are_means_and_quantiles_of_the_unseen_half():
    rng = np.random.default_rng(1)
    ma, el = rng.random(101), rng.random(101)
    found = thresholds(ma, el, (0.05, 0.9))
    assert found["ma_mean"] == pytest.approx(sum(ma) / 101)
    assert found["el_mean"] == pytest.approx(sum(el) / 101)
    # of 101 sorted values the quantiles 0.05 and 0.90 are the 6th and the 91st
    assert found["calibrated_low"] == pytest.approx(sorted(ma)[5])
    assert found["calibrated_high"] == pytest.approx(sorted(ma)[90])
    assert (found["paper_low"], found["paper_high"], found["n"]) == (0.15, 0.60, 101)


KINDS = {
    "all alike": lambda rng, n: rng.binomial(63, 0.3, n) / 63,
    "of different ease": lambda rng, n: rng.binomial(63, rng.beta(12, 30, n)) / 63,
    "hardly known": lambda rng, n: rng.binomial(63, rng.beta(2, 14, n)) / 63,
    "short": lambda rng, n: rng.binomial(15, rng.beta(12, 30, n)) / 15,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [10, 20, 40, 57])
def test_a_band_of_few_holds_what_it_should_of_others(kind, n):
    """Of fresh unseen sequences about 2 % lie outside, where quantiles alone leave out far more."""
    rng, meant = np.random.default_rng(n), (0.01, 0.99)
    outside, by_quantiles = [], []
    for _ in range(300):
        ma, fresh = KINDS[kind](rng, n), KINDS[kind](rng, 500)
        outside.append(Band(*band_ends(ma, meant)).outside(fresh).mean())
        by_quantiles.append(Band(*np.quantile(ma, meant)).outside(fresh).mean())
    assert 0.005 < np.mean(outside) < 0.035
    assert np.mean(by_quantiles) > np.mean(outside)
    assert coverage(n, meant) == pytest.approx(0.98)


@given(
    st.lists(st.integers(0, STEPS), min_size=1, max_size=80),
    st.sampled_from([(0.01, 0.99), (0.05, 0.9), (0.0, 1.0), (0.0, 0.99), (0.2, 1.0)]),
)
def test_the_ends_of_a_band_by_hand(hits, quantiles):
    """One list at a time with the library's own normal theory, against all lists at once."""
    ma = np.array(hits) / STEPS
    expected = np.quantile(ma, quantiles)
    n, meant = len(ma), (quantiles[0], 1 - quantiles[1])
    z = np.arcsin(np.sqrt(ma))
    for end, share in enumerate(meant):
        if n == 1 or share == 0 or (1 + (n - 1) * share) / (n + 1) <= share + 1 / 60:
            continue
        half = stats.t.isf(share, n - 1) * stats.sem(z) * np.sqrt(n + 1)
        if end:
            expected[1] = max(expected[1], np.sin(min(z.mean() + half, np.pi / 2)) ** 2)
        else:
            expected[0] = min(expected[0], np.sin(max(z.mean() - half, 0)) ** 2)
    low, high = band_ends(np.stack([ma, ma[::-1], ma]), quantiles)
    np.testing.assert_allclose([low, high], np.repeat(expected[:, None], 3, axis=1), atol=1e-12)
    assert 0 <= low[0] <= ma.max()
    assert ma.min() <= high[0] <= 1


@pytest.mark.parametrize("n", [58, 64, 100, 750])
def test_a_band_of_enough_is_the_quantiles_and_says_what_it_holds(n):
    rng, meant = np.random.default_rng(n), (0.01, 0.99)
    ma = rng.random(n)
    assert tuple(map(float, band_ends(ma, meant))) == tuple(np.quantile(ma, meant))
    held = [np.diff(band_ends(rng.random(n), meant)).item() for _ in range(4000)]
    assert coverage(n, meant) == pytest.approx(np.mean(held), abs=0.002)
    assert f"hold {coverage(n, meant):.0%} of others" in about_band(n, meant)


def test_a_band_of_few_says_that_its_ends_are_predicted():
    assert "limits of prediction" in about_band(57, (0.01, 0.99))
    assert "hold 89% of others where 98% are meant" in about_band(20, (0.01, 0.99))
    assert "limits of prediction" not in about_band(40, (0.2, 0.8))
    assert coverage(1, (0.01, 0.99)) == pytest.approx(0)


def test_a_given_threshold_stands_for_the_measured_one():
    found = thresholds([0.1, 0.2], [0.0, 0.1], ma_mean=0.2994, el_mean=0.0499)
    assert (found["ma_mean"], found["el_mean"]) == (0.2994, 0.0499)


def test_thresholds_come_back_from_their_table():
    row = {"model": "small"} | thresholds([0.2, 0.4, 0.6], [0.0, 0.1, 0.2], (0.0, 1.0))
    assert tuple(row) == THRESHOLD_COLUMNS
    text = pd.DataFrame([row]).to_csv(index=False)
    found = thresholds_of(pd.read_csv(io.StringIO(text)), "small")
    assert found.calibrated == Band(0.2, 0.6)
    assert found.paper == PAPER_BAND
    assert (found.n, found.ma_mean) == (3, pytest.approx(0.4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Band(0.6, 0.2), "not below"),
        (lambda: thresholds([], []), "empty"),
        (lambda: thresholds([0.1, np.nan], [0.1, 0.1]), "not finite"),
        (lambda: thresholds([0.1], [0.1], (0.9, 0.1)), "rising"),
        (lambda: thresholds_of(pd.DataFrame(columns=THRESHOLD_COLUMNS), "x"), "'x' has 0 rows"),
        (lambda: thresholds_of(pd.DataFrame({"model": ["x"]}), "x"), "no column 'ma_mean'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
