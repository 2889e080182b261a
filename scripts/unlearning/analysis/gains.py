"""Paired differences between methods on the same forget sets.

Of several replicates, n counts them. Of one, where cells (model x forget size) are pooled, n counts
cells, each the mean over its draws: draws come from one pool and are not independent.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from unlearning.analysis.outliers import redrawn_of
from unlearning.analysis.replicates import (
    POOLED,
    REPLICATE,
    REPLICATES,
    pair_of,
    pooled_draws,
    replicated,
)
from unlearning.analysis.rows import ALL, CELLS, DRAWS, TableJob
from unlearning.names import COUNTED, HEADLINE, METRICS, model_order
from unlearning.statistics import PairedDifference, holm, paired_difference, sign_of


def paired_values(runs: pd.DataFrame, metric: str, left: str, right: str) -> pd.DataFrame:
    """Values of two methods on the same forget sets: the columns `pair_of`, left, right.

    Draws where either has no value (diverged, not run) are left out.
    """
    chosen = runs[(runs["metric"] == metric) & runs["unlearner"].isin([left, right])]
    wide = chosen.pivot(index=pair_of(runs), columns=["unlearner", "metric"], values="value")
    return _pairs(wide, metric, left, right)


def _pairs(wide: pd.DataFrame, metric: str, left: str, right: str) -> pd.DataFrame:
    if (left, metric) not in wide or (right, metric) not in wide:
        return pd.DataFrame(columns=[*wide.index.names, "left", "right"])
    pairs = pd.DataFrame({"left": wide[left, metric], "right": wide[right, metric]})
    return pairs.dropna().reset_index()


def pool_cells(table: pd.DataFrame, values: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """What a pooled mean is taken over, one row each.

    Of one experiment the cells (each the mean over its draws), or the draws themselves if there is
    one cell. Of several replicates their draws, each the mean over its cells (`pooled_draws`), with
    the column replicate: by `clusters_of` a replicate is one value.

    Returns:
        The rows, and what n counts (`CELLS`, `DRAWS` or `POOLED`), for the column n_counts.
    """
    if replicated(table):
        weights, replicate = pooled_draws(table)
        draws = pd.DataFrame(weights @ table[list(values)].to_numpy(float), columns=list(values))
        return draws.assign(**{REPLICATE: replicate}), POOLED
    cells = table.groupby(["model", "forget_size"], sort=False)[list(values)].mean()
    return (cells.reset_index(), CELLS) if len(cells) > 1 else (table, DRAWS)


def clusters_of(table: pd.DataFrame) -> np.ndarray | None:
    """The replicate of each row; None where there is one: each row counts by itself."""
    return table[REPLICATE].to_numpy() if replicated(table) else None


def pooled_difference(
    runs: pd.DataFrame,
    metric: str,
    left: str,
    right: str,
    confidence: float = 0.95,
    shift: float = 0.0,
) -> PairedDifference:
    """Paired difference left - right + shift over what `pool_cells` takes a mean over."""
    pairs = pool_cells(paired_values(runs, metric, left, right), ["left", "right"])[0]
    return paired_difference(
        pairs["left"].astype(float) + shift,
        pairs["right"].astype(float),
        confidence,
        clusters=clusters_of(pairs),
    )


def _scopes(
    pairs: pd.DataFrame, redrawn: np.ndarray
) -> Iterator[tuple[tuple[str, str], np.ndarray, str, np.ndarray | None]]:
    """What is compared where: all cells, each model's cells, each cell's draws; or replicates.

    Args:
        pairs: as `paired_values` returns them.
        redrawn: the differences again under each redrawn band, (N, RESAMPLES) or (N, 0).

    Yields:
        Model and forget size; left, right and what is redrawn, side by side; what n counts; the
        replicate of each row, None where there is one.
    """
    several = replicated(pairs)
    values = np.column_stack([pairs["left"], pairs["right"], redrawn])
    draws = dict(sorted(pairs.groupby(["model", "forget_size"], sort=False).indices.items()))
    means = {cell: values[rows].mean(axis=0) for cell, rows in draws.items()}
    for model in (ALL, *dict.fromkeys(model for model, _ in draws)):
        own = [cell for cell in draws if model in (ALL, cell[0])]
        if several:
            rows = np.concatenate([draws[cell] for cell in own])
            weights, replicate = pooled_draws(pairs.iloc[rows])
            yield (model, ALL), weights @ values[rows], POOLED, replicate
        elif len(own) > 1:
            yield (model, ALL), np.array([means[cell] for cell in own]), CELLS, None
        else:
            yield (model, ALL), values[draws[own[0]]], DRAWS, None
    for (model, size), rows in draws.items():
        counts = REPLICATES if several else DRAWS
        yield (model, str(size)), values[rows], counts, clusters_of(pairs.iloc[rows])


def gains_table(
    runs: pd.DataFrame, settings: TableJob, redrawn: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Paired differences proposal - baseline, per cell, per model and pooled over all cells.

    Args:
        runs: as `per_run` returns it.
        settings: who is compared; a method that was not run is left out.
        redrawn: as `outliers.redrawn_values` returns it: the bootstrap of a measure that the
            calibrated band enters draws the band anew. None: it is taken as it is.

    Returns:
        Columns model, forget_size (text; "all" where pooled), proposal, baseline, metric, better
        ("lower", "higher" or ""), mean, low, high (Student), boot_low, boot_high (bootstrap), n,
        n_counts, p, family, p_holm, sure, by_construction. Pairs share model, forget size and seed.
        p is of the paired t-test; p_holm corrects it over its family. The comparisons of all pairs
        by the metrics of `HEADLINE` in one scope are one family, "headline"; any other metric is a
        family of its own there. sure is 1 or -1 where both intervals exclude zero on that side and
        p_holm is below 1 - confidence, else 0. by_construction: the stop rule of one of the two
        brings about its value of the metric; such a difference stays in its family, and is never
        sure.
    """
    present = set(runs["unlearner"])
    pairs = [
        (proposal, baseline)
        for proposal in settings.proposals
        for baseline in settings.baselines
        if proposal != baseline and {proposal, baseline} <= present
    ]
    wide = runs.pivot(index=pair_of(runs), columns=["unlearner", "metric"], values="value")
    rows = []
    for proposal, baseline in pairs:
        for metric in METRICS:
            if metric in COUNTED:
                continue
            values = _pairs(wide, metric, proposal, baseline)
            if values.empty:
                continue
            ours, theirs = (redrawn_of(redrawn, metric, m, values) for m in (proposal, baseline))
            for (model, size), part, counts, clusters in _scopes(values, ours - theirs):
                d = paired_difference(*part.T[:2], settings.confidence, part[:, 2:], clusters)
                rows.append(
                    (model, size, proposal, baseline, metric, METRICS[metric].better)
                    + (d.mean, d.low, d.high, d.boot_low, d.boot_high, d.n, counts, d.p)
                    + ("headline" if metric in HEADLINE else metric, sign_of(d))
                )
    columns = ["model", "forget_size", "proposal", "baseline", "metric", "better"]
    columns += ["mean", "low", "high", "boot_low", "boot_high", "n", "n_counts", "p", "family"]
    table = pd.DataFrame(rows, columns=[*columns, "sure"])
    families = table.groupby(["model", "forget_size", "family"])["p"]
    table.insert(len(columns), "p_holm", families.transform(lambda p: holm(p.to_numpy())))
    table["by_construction"] = [
        bool({proposal, baseline} & settings.circular(metric))
        for proposal, baseline, metric in zip(
            table["proposal"], table["baseline"], table["metric"], strict=True
        )
    ]
    passed = (table["p_holm"] < 1 - settings.confidence) & ~table["by_construction"]
    table["sure"] = table["sure"].where(passed, 0)
    return _arrange_gains(table, settings)


def _arrange_gains(table: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    models = [ALL, *model_order(set(table["model"]) - {ALL}, settings.models)]
    order = {
        "model": models,
        "forget_size": [ALL, *sorted(set(table["forget_size"]) - {ALL}, key=int)],
        "proposal": list(settings.proposals),
        "baseline": list(settings.baselines),
        "metric": list(METRICS),
    }
    return table.sort_values(
        list(order),
        key=lambda c: c.map({label: i for i, label in enumerate(order[c.name])}),
        kind="stable",
        ignore_index=True,
    )
