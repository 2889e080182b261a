"""c(D_f) and how sure it is, against counting resample by resample."""

from zlib import crc32

import numpy as np
import pandas as pd
import pytest

from synthetic_results import EFFECTS, Shape, make
from unlearning.analysis.outliers import outlier_table, redrawn_bands, redrawn_counts
from unlearning.analysis.rows import TableJob
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import (
    SIDES,
    Band,
    band_ends,
    count_outliers,
    thresholds,
    thresholds_of,
    unseen_resamples,
)
from unlearning.statistics import RESAMPLES, percentile_interval, resample_indices

JOB = TableJob(seed=3)
KEYS = ["model", "forget_size", "unlearner", "split", "band", "side", "metric"]


@pytest.fixture(scope="module")
def results():
    effects = {"ga": EFFECTS["ga"]}
    return make(Shape(models=("small",), sizes=(8,), seeds=(0, 1), effects=effects, items=2))


@pytest.fixture(scope="module")
def table(results):
    made = outlier_table(results["memorization"], results["membership"], results["thresholds"], JOB)
    return made.set_index(KEYS)


def test_counts_of_every_resample_are_those_of_its_own_band(results, table):
    """Sequences and the band drawn anew, one resample after the other, then the mean of draws."""
    rows = results["memorization"].query("unlearner == 'ga' and split == 'forget'")
    unseen = results["membership"].query("unlearner == 'original' and half == 'threshold'")
    unseen = unseen.query("seed == 0").sort_values("sequence_id")["ma"].to_numpy()
    limits = thresholds_of(results["thresholds"], "small")
    others = unseen_resamples(len(unseen))
    counts = {
        (band, side): np.zeros(RESAMPLES) for band in ("paper", "calibrated") for side in SIDES
    }
    for seed in (0, 1):
        g = rows[rows["seed"] == seed].sort_values("sequence_id")["ma"].to_numpy()
        key = f"small/8/ga/{seed}/forget"
        generator = np.random.default_rng([JOB.seed, crc32(key.encode())])
        indices = resample_indices(len(g), RESAMPLES, generator)
        for number in range(RESAMPLES):
            band = Band(*band_ends(unseen[others[number]], (0.01, 0.99)))
            for name, ends in (("paper", limits.paper), ("calibrated", band)):
                for side, count in count_outliers(g[indices[number]], ends).items():
                    counts[name, side][number] += count / 2
    for (band, side), values in counts.items():
        for metric, divisor in (("count", 1), ("rate", 8)):
            row = table.loc[("small", 8, "ga", "forget", band, side, metric)]
            expected = percentile_interval(values / divisor)
            if np.ptp(values) == 0:
                expected = (np.nan, np.nan)
            found = (row["boot_low"], row["boot_high"])
            assert found == pytest.approx(expected, nan_ok=True), (band, side, metric)
    assert np.isfinite(table["boot_low"]).sum() > 10


def test_a_band_that_might_have_been_another_makes_a_count_less_sure():
    """All g lie just inside the band's upper end: only the band's own error can count them."""
    unseen = np.linspace(0.2, 0.6, 64)
    row = {"model": "m"} | thresholds(unseen, unseen)
    limits = thresholds_of(pd.DataFrame([row]), "m")
    membership = pd.DataFrame(
        {"model": "m", "unlearner": "original", "half": "threshold", "ma": unseen}
    ).assign(sequence_id=[f"s{i:02d}" for i in range(64)])
    ends = redrawn_bands(membership, pd.DataFrame([row]))["m"]
    fixed = tuple(
        np.full(RESAMPLES, end) for end in (row["calibrated_low"], row["calibrated_high"])
    )
    g = np.full(16, row["calibrated_high"] - 1e-3)
    counts = [
        redrawn_counts(g, limits, drawn, np.random.default_rng(0))["calibrated"][0]
        for drawn in (fixed, ends)
    ]
    assert counts[0].max() == 0
    assert percentile_interval(counts[1])[1] == 16


def test_thresholds_say_how_uncertain_they_are():
    unseen = np.random.default_rng(5).integers(10, 40, 64) / 55
    row = thresholds(unseen, unseen)
    slow = []
    for draw in unseen_resamples(64):
        drawn = unseen[draw]
        slow.append((drawn.mean(), np.quantile(drawn, 0.01), np.quantile(drawn, 0.99)))
    for name, values in zip(
        ("ma_mean", "calibrated_low", "calibrated_high"), zip(*slow, strict=True), strict=True
    ):
        low, high = percentile_interval(np.array(values))
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high))
        assert low <= row[name] <= high
    assert row == thresholds(unseen, unseen)
    given = thresholds(unseen, unseen, ma_mean=0.3)
    assert np.isnan([given["ma_mean_low"], given["ma_mean_high"]]).all()
    one = thresholds(unseen[:1], unseen[:1])
    assert np.isnan([one["ma_mean_low"], one["calibrated_high_high"]]).all()


def test_where_no_resample_differs_there_is_no_interval(results):
    same = results["memorization"].assign(ma=0.4)
    made = outlier_table(same, results["membership"], results["thresholds"], JOB).set_index(KEYS)
    row = made.loc[("small", 8, "ga", "forget", "paper", "both", "count")]
    assert row["mean"] == 0
    assert np.isnan(row[["low", "high", "boot_low", "boot_high"]].to_numpy(float)).all()


def test_a_model_without_its_unseen_half_is_named(results):
    lacking = results["membership"].query("half != 'threshold'")
    with pytest.raises(InputError, match="'small' has no unseen 'threshold'"):
        outlier_table(results["memorization"], lacking, results["thresholds"], JOB)
