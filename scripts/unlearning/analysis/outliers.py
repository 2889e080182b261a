"""c(D_f), the outlier-based forgetting metric, and how sure it is.

Two things make a count uncertain within a model. Other sequences might have been drawn, and other
unseen sequences might have set the band: its ends are near the extremes of a few dozen values. The
bootstrap here draws both anew; the Student interval beside it is over forget-set draws, which all
share one band, and knows nothing of the second. Where an average or a difference over runs decides
something, its bootstrap draws the band anew as well (`redrawn_values`).
"""

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import pandas as pd

from unlearning.analysis.averages import average
from unlearning.analysis.per_run import EXCESS
from unlearning.analysis.replicates import REPLICATE, pair_of, per_replicate, replicated
from unlearning.analysis.rows import CELL, KEYS, TableJob, arrange, require
from unlearning.jobs.errors import InputError
from unlearning.limits import above, below
from unlearning.memorization.forgetting import (
    SIDES,
    Thresholds,
    count_outliers,
    redrawn_ends,
    thresholds_of,
)
from unlearning.statistics import (
    RESAMPLES,
    WITNESSES,
    percentile_interval,
    resample_indices,
    resampled_means,
    spread_is_known,
)

BANDS = ("paper", "calibrated")
PART = [*CELL, "split"]
COUNT = ["band", "side", "metric"]
REDRAWN = ["metric", "unlearner", "model", "forget_size", "seed"]


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
    samples: dict[tuple, list] = {}  # of each part, those of its runs: by replicate

    def counted(
        memorization: pd.DataFrame, membership: pd.DataFrame, thresholds: pd.DataFrame
    ) -> pd.DataFrame:
        ends, rows, own = redrawn_bands(membership, thresholds), [], {}
        for key, g in _parts(memorization, membership):
            limits = thresholds_of(thresholds, str(key[0]))
            for name in BANDS:
                counts = count_outliers(g, getattr(limits, name))
                rows += [(*key, name, side, "count", counts[side]) for side in SIDES]
                rows += [(*key, name, side, "rate", counts[side] / len(g)) for side in SIDES]
            if not np.isnan(g).any():
                model, size, label, seed, split = key
                seeded = [settings.seed, crc32("/".join(map(str, key)).encode())]
                drawn = redrawn_counts(g, limits, ends[model], np.random.default_rng(seeded))
                own.setdefault((model, size, label, split), []).append((len(g), drawn))
        for part, runs in own.items():
            samples.setdefault(part, []).append(runs)
        return pd.DataFrame(rows, columns=[*KEYS, "split", *COUNT, "value"])

    table = per_replicate(counted, memorization, membership, thresholds)
    table = arrange(table, settings.models)
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


def redrawn_values(
    memorization: pd.DataFrame, membership: pd.DataFrame, thresholds: pd.DataFrame
) -> pd.DataFrame:
    """What per_run.csv would hold of the calibrated band, had other unseen sequences set it.

    For the bootstraps of averages and differences over runs: all runs of a model share its band,
    so that no resample of runs shows what hangs on it.

    Args:
        memorization: rows per run and sequence.
        membership: raw attack scores per run and sequence.
        thresholds: one row per model.

    Returns:
        Index `REDRAWN`, of several replicates with theirs, sorted; a column for each of `RESAMPLES`
        resamples of the unseen sequences, "0", "1", ...; NaN for a diverged run.
    """
    if replicated(memorization):
        table = indexed(per_replicate(_redrawn_rows, memorization, membership, thresholds))
        # the resamples of replicate r stand r places on: replicates share no luck of a draw
        for number in table.index.unique(REPLICATE):
            own = table.index.get_level_values(REPLICATE) == number
            table[own] = np.roll(table[own].to_numpy(), number, axis=1)
        return table.sort_index()
    ends, found = redrawn_bands(membership, thresholds), {}
    for (model, size, label, seed, split), g in _parts(memorization, membership):
        low, high = ends[model]
        lost = np.nan if np.isnan(g).any() else 0.0
        under = above(g[:, None], high).sum(axis=0) + lost
        over = below(g[:, None], low).sum(axis=0) + lost
        run = (label, model, size, seed)
        if split == "unseen":
            found["unseen_outliers_calibrated_rate", *run] = (under + over) / len(g)
            found["unseen_above_calibrated_rate", *run] = under / len(g)
            continue
        for name, counts in zip(SIDES, (under + over, under, over), strict=True):
            name = "outliers" if name == "both" else name
            found[f"{name}_calibrated", *run] = counts
            found[f"{name}_calibrated_rate", *run] = counts / len(g)
    table = pd.DataFrame.from_dict(found, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=REDRAWN)
    excess = {name: table.loc[own] - table.loc[control] for name, (own, control) in EXCESS.items()}
    table = pd.concat([table, pd.concat(excess, names=["metric"])]).sort_index()
    return table.set_axis([str(number) for number in range(RESAMPLES)], axis=1)


def _redrawn_rows(*tables: pd.DataFrame) -> pd.DataFrame:
    """`redrawn_values` of one experiment, the index as columns."""
    return redrawn_values(*tables).reset_index()


def indexed(redrawn: pd.DataFrame) -> pd.DataFrame:
    """Redrawn values read from a file, with the index that `redrawn_values` gives them."""
    return redrawn.set_index([*REDRAWN[:2], *pair_of(redrawn)])


def redrawn_of(
    redrawn: pd.DataFrame | None, metric: str, label: str, runs: pd.DataFrame
) -> np.ndarray:
    """A method's values of a metric under every redrawn band.

    Args:
        redrawn: as `redrawn_values` returns it; None: the band is taken as it is.
        metric: of per_run.csv.
        label: of the method.
        runs: columns as `pair_of` has them.

    Returns:
        (N, RESAMPLES) in the order of `runs`; (N, 0) where no end of the band enters.
    """
    if redrawn is None or (metric, label) not in redrawn.index:
        return np.empty((len(runs), 0))
    wanted = pd.MultiIndex.from_frame(runs[pair_of(runs)])
    return redrawn.loc[(metric, label)].reindex(wanted).to_numpy()


def _parts(
    memorization: pd.DataFrame, membership: pd.DataFrame
) -> Iterator[tuple[tuple, np.ndarray]]:
    """The forget set and the unseen "attack" half of every run: (*KEYS, split) and g, by id."""
    require(membership, [*KEYS, "sequence_id", "split", "half", "ma"], "membership")
    forget = memorization.loc[memorization["split"] == "forget", [*KEYS, "sequence_id", "ma"]]
    unseen = membership.loc[membership["half"] == "attack", [*KEYS, "sequence_id", "ma"]]
    both = pd.concat([forget.assign(split="forget"), unseen.assign(split="unseen")])
    both = both.sort_values("sequence_id", kind="stable")
    for key, run in both.groupby([*KEYS, "split"]):
        yield key, run["ma"].to_numpy()


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
        bands[model] = redrawn_ends(ma, thresholds_of(thresholds, model).quantiles, RESAMPLES)
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
    """Percentile intervals of means over draws; nothing where all resamples are equal.

    Of several replicates a resample draws these, and draws within them, and has of each run what
    the same resample of its sequences gave; fewer than `WITNESSES` have no interval.

    Args:
        samples: by part, of each replicate its runs: how many sequences, and `redrawn_counts`.
        confidence: of the intervals.
    """
    bounds = {}
    for part, replicates in samples.items():
        runs = [run for own in replicates for run in own]
        if 1 < len(replicates) < WITNESSES:
            continue
        for band in BANDS:
            for place, side in enumerate(SIDES):
                # a run of replicate r has its resamples r places on: what two replicates have in
                # common is no luck of a draw
                count = [
                    np.roll(drawn[band][place], r)
                    for r, own in enumerate(replicates)
                    for _, drawn in own
                ]
                rate = [values / n for values, (n, _) in zip(count, runs, strict=True)]
                counts, rates = np.mean(count, axis=0), np.mean(rate, axis=0)
                if len(replicates) > 1:
                    means = resampled_means(tuple(map(len, replicates)))
                    counts, rates = (np.einsum("bn,nb->b", means, v) for v in (count, rate))
                if spread_is_known(counts):
                    for metric, values in (("count", counts), ("rate", rates)):
                        bounds[*part, band, side, metric] = percentile_interval(values, confidence)
    return bounds


def _metric(row: tuple) -> str:
    """The name that a count has in per_run.csv."""
    count = "outliers" if row.side == "both" else row.side
    return f"{count}_{row.band}" + "_rate" * (row.metric == "rate")
