"""A set counts as forgotten or not whatever the rounding on the way from threshold to rule."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearning.jobs.files import read_csv, write_csv
from unlearning.limits import below
from unlearning.memorization.forgetting import THRESHOLD_COLUMNS, Band, thresholds
from unlearning.unlearners.driver import StopRule
from unlearning.unlearners.request import Request
from unlearning.unlearners.selective_gradient_ascent import select

LENGTHS = range(8, 257)
"""Tokens of a sequence; g moves in steps of one less."""


def request(threshold: float = 1.0, band: Band = Band(0.0, 1.0)) -> Request:
    nothing = torch.empty((0, 8), dtype=torch.int64)
    return Request(nothing, nothing, threshold, 1.0, band)


def met(rule: str, asked: Request, g: np.ndarray) -> bool:
    """The rule's answer; no model is needed for g alone."""
    return StopRule(rule).met(None, asked, g)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Thresholds of models whose unseen sequences all have one g, every g there is; and as read."""
    limits = cache(lambda g: thresholds([g] * 3, [0.0] * 3))  # many lengths share a fraction
    rows = [
        {"model": f"{length}/{hits}"} | limits(hits / (length - 1))
        for length in LENGTHS
        for hits in range(length)
    ]
    path = tmp_path_factory.mktemp("thresholds") / "thresholds.csv"
    write_csv(pd.DataFrame(rows), path)
    return pd.DataFrame(rows), read_csv(path)


def test_thresholds_come_back_to_the_last_bit(written):
    sent, back = written
    assert len(sent) == sum(LENGTHS)
    for name in THRESHOLD_COLUMNS[1:]:
        np.testing.assert_array_equal(sent[name].to_numpy(), back[name].to_numpy())


@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_a_g_at_the_end_of_the_band_is_inside_for_every_rule(written, precision):
    steps = np.concatenate([np.full(length, length - 1) for length in LENGTHS])
    hits = np.concatenate([np.arange(length) for length in LENGTHS])
    low, high, mean = (
        written[1][name].to_numpy() for name in ("calibrated_low", "calibrated_high", "ma_mean")
    )
    for step, hit, bottom, top, threshold in zip(steps, hits, low, high, mean, strict=True):
        band = Band(bottom, top)
        g = np.array([hit / step], dtype=precision)
        assert not band.outside(g).any()
        assert met("each", request(band=band), g)
        assert not met("mean", request(threshold), g)
        assert select(np.array([g[0], 1.0]), top).tolist() == [0, 1]
        if hit < step:
            beyond = np.array([hit + 1], dtype=precision) / precision(step)
            assert band.under_forgotten(beyond).all()
            assert not met("each", request(band=band), beyond)
        if hit:
            beneath = np.array([hit - 1], dtype=precision) / precision(step)
            assert band.over_forgotten(beneath).all()
            assert met("mean", request(threshold), beneath)


@given(
    st.integers(8, 256).flatmap(
        lambda length: st.tuples(
            st.just(length), st.lists(st.integers(1, length - 1), min_size=1, max_size=64)
        )
    ),
    st.permutations(range(64)),
    st.integers(1, 3),
    st.sampled_from([np.float64, np.float32]),
)
def test_a_mean_equal_to_the_threshold_is_never_below_it(known, order, times, precision):
    """The same values in another order, and each as often: their sum rounds differently."""
    length, hits = known
    unseen = np.array(hits) / (length - 1)
    threshold = thresholds(unseen, unseen)["ma_mean"]
    shuffled = [hits[place] for place in order if place < len(hits)] * times
    g = (np.array(shuffled) / (length - 1)).astype(precision)
    assert not below(g.mean(), threshold)
    assert not met("mean", request(threshold), g)
    fewer = np.array([shuffled[0] - 1, *shuffled[1:]])
    g = (fewer / (length - 1)).astype(precision)
    assert met("mean", request(threshold), g)


def test_a_diverged_set_is_not_forgotten():
    for rule in ("mean", "each"):
        assert not met(rule, request(), np.array([np.nan, np.nan]))
