"""Thresholds, bands and outlier counts against counting by hand."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import (
    PAPER_BAND,
    THRESHOLD_COLUMNS,
    Band,
    count_outliers,
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
