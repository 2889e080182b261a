"""c(D_f), the outlier-based forgetting metric, and how sure it is.

Two things make a count uncertain within a model. Other sequences might have been drawn, and other
unseen sequences might have set the band: its ends are near the extremes of a few dozen values. The
bootstrap here draws both anew; the Student interval beside it is over forget-set draws, which all
share one band, and knows nothing of the second.
"""

from zlib import crc32

import numpy as np
import pandas as pd

from unlearning.analysis.averages import average
from unlearning.analysis.rows import CELL, KEYS, TableJob, arrange, require
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import (
    SIDES,
    Thresholds,
    above,
    below,
    count_outliers,
    redrawn_ends,
    thresholds_of,
)
from unlearning.statistics import RESAMPLES, percentile_interval, resample_indices, spread_is_known

BANDS = ("paper", "calibrated")
PART = [*CELL, "split"]
COUNT = ["band", "side", "metric"]


def outlier_table(
    memorization: pd.DataFrame,
    membership: pd.DataFrame,
    thresholds: pd.DataFrame,
    settings: TableJob,
) -> pd.DataFrame:
    """c(D_f) and its sides, beside the same count on unseen sequences of the same model.

    Args:
        memorization: rows per run and sequence.
        membership: raw attack scores per run and sequence.
        thresholds: one row per model.
        settings: order, confidence, seed, stop rules.

    Returns:
        Columns CELL, split ("forget" or "unseen", the "attack" half), band ("paper" or
        "calibrated"), side ("both", "under_forgotten", "over_forgotten"), metric ("count" or
        "rate"), mean, low, high, n (draws), boot_low, boot_high (`redrawn_counts`),
        by_construction (whether the method's own stop rule brings the number about).

    Raises:
        InputError: a column is missing, or a model's unseen "threshold" half.
    """
    require(membership, [*KEYS, "sequence_id", "split", "half", "ma"], "membership")
    forget = memorization.loc[memorization["split"] == "forget", [*KEYS, "sequence_id", "ma"]]
    unseen = membership.loc[membership["half"] == "attack", [*KEYS, "sequence_id", "ma"]]
    both = pd.concat([forget.assign(split="forget"), unseen.assign(split="unseen")])
    both = both.sort_values("sequence_id", kind="stable")
    ends, rows, samples = redrawn_bands(membership, thresholds), [], {}
    for key, run in both.groupby([*KEYS, "split"]):
        limits = thresholds_of(thresholds, str(key[0]))
        g = run["ma"].to_numpy()
        for name in BANDS:
            counts = count_outliers(g, getattr(limits, name))
            rows += [(*key, name, side, "count", counts[side]) for side in SIDES]
            rows += [(*key, name, side, "rate", counts[side] / len(g)) for side in SIDES]
        if not np.isnan(g).any():
            model, size, label, seed, split = key
            seeded = [settings.seed, crc32("/".join(map(str, key)).encode())]
            drawn = redrawn_counts(g, limits, ends[model], np.random.default_rng(seeded))
            samples.setdefault((model, size, label, split), []).append((len(g), drawn))
    table = arrange(pd.DataFrame(rows, columns=[*KEYS, "split", *COUNT, "value"]), settings.models)
    table = average(table, [*PART, *COUNT], confidence=settings.confidence)
    bounds = _bounds(samples, settings.confidence)
    unknown = (np.nan, np.nan)
    found = [bounds.get(tuple(row), unknown) for row in table[[*PART, *COUNT]].to_numpy()]
    table[["boot_low", "boot_high"]] = np.array(found).reshape(-1, 2)
    table["by_construction"] = [
        row.split == "forget" and settings.by_construction(row.unlearner, _metric(row))
        for row in table.itertuples()
    ]
    return table


def redrawn_bands(
    membership: pd.DataFrame, thresholds: pd.DataFrame
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The calibrated bands that resamples of the unseen "threshold" half would have set.

    Returns:
        Model -> lower and upper ends, (RESAMPLES,) each: the same for all runs of a model, as its
        band is.

    Raises:
        InputError: a model's original was not scored on that half.
    """
    half = (membership["unlearner"] == "original") & (membership["half"] == "threshold")
    unseen = membership[half].drop_duplicates(["model", "sequence_id"]).sort_values("sequence_id")
    bands = {}
    for model in membership["model"].unique():
        ma = unseen.loc[unseen["model"] == model, "ma"].to_numpy()
        if not len(ma):
            raise InputError(
                f"membership: the original of model '{model}' has no unseen 'threshold' sequences;"
                " measure it again"
            )
        indices = resample_indices(len(ma), RESAMPLES, np.random.default_rng(len(ma)))
        bands[model] = redrawn_ends(ma, thresholds_of(thresholds, model).quantiles, indices)
    return bands


def redrawn_counts(
    g: np.ndarray,
    limits: Thresholds,
    ends: tuple[np.ndarray, np.ndarray],
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Outliers of one run in each resample of its sequences, under each redrawn band.

    Args:
        g: memorization of each sequence, (F,), all finite.
        limits: of the model; the fixed band stays as it is.
        ends: lower and upper ends of the calibrated band in each resample, (B,) each.
        generator: source of the resamples.

    Returns:
        Band -> counts in the order of `SIDES`, (3, B).
    """
    drawn = g[resample_indices(len(g), len(ends[0]), generator)]
    low, high = (end[:, None] for end in ends)
    sides = {
        "paper": (limits.paper.under_forgotten(drawn), limits.paper.over_forgotten(drawn)),
        "calibrated": (above(drawn, high), below(drawn, low)),
    }
    counts = {}
    for band, (under, over) in sides.items():
        under, over = under.sum(axis=1), over.sum(axis=1)
        counts[band] = np.stack([under + over, under, over])
    return counts


def _bounds(samples: dict, confidence: float) -> dict[tuple, tuple[float, float]]:
    """Percentile intervals of means over draws; nothing where all resamples are equal."""
    bounds = {}
    for part, runs in samples.items():
        for band in BANDS:
            for place, side in enumerate(SIDES):
                counts = np.mean([drawn[band][place] for _, drawn in runs], axis=0)
                rates = np.mean([drawn[band][place] / n for n, drawn in runs], axis=0)
                if spread_is_known(counts):
                    for metric, values in (("count", counts), ("rate", rates)):
                        bounds[*part, band, side, metric] = percentile_interval(values, confidence)
    return bounds


def _metric(row: tuple) -> str:
    """The name that a count has in per_run.csv."""
    count = "outliers" if row.side == "both" else row.side
    return f"{count}_{row.band}" + "_rate" * (row.metric == "rate")
