"""Averages over forget-set draws, or over replicates where there are several.

What n counts: replicates, each the mean over its draws; where there is one, forget-set draws
(seeds) of one cell (model x forget size). The draws come from one pool, so the sets overlap, and
the sets of one seed are nested: they are not independent, and intervals over them understate what a
fresh pool would bring.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from unlearning.analysis.replicates import pair_of, units
from unlearning.analysis.rows import CELL, KEYS, TableJob, arrange, require
from unlearning.names import COUNTED
from unlearning.statistics import mean_interval, paired_difference


def average(
    table: pd.DataFrame, by: Sequence[str], value: str = "value", confidence: float = 0.95
) -> pd.DataFrame:
    """Mean and interval of `value` in each group of `by`: columns by, mean, low, high, n.

    Of several replicates, n counts them; of one, the rows.
    """
    rows = []
    for key, group in units(table, by, [value]).groupby(list(by), sort=False, dropna=False):
        interval = mean_interval(group[value].to_numpy(dtype=float), confidence)
        rows.append((*key, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def main_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Every metric averaged over draws.

    Args:
        runs: as `per_run` returns it.
        settings: confidence, stop rules.

    Returns:
        Columns CELL, metric, mean, low, high, n, by_construction (whether the method's own stop
        rule brings the number about). n counts the draws with a value. The rows n_diverged and
        n_cap hold the number of such runs in `mean`, no interval, and the number of all runs in n.
    """
    table = average(runs, [*CELL, "metric"], confidence=settings.confidence)
    counted = table["metric"].isin(COUNTED)
    of_runs = runs[runs["metric"].isin(COUNTED)].groupby([*CELL, "metric"], sort=False)["value"]
    sums = of_runs.agg(["sum", "count"]).reindex(pd.MultiIndex.from_frame(table[[*CELL, "metric"]]))
    table.loc[counted, ["mean", "n"]] = sums.to_numpy()[counted]
    table["n"] = table["n"].astype(int)
    table.loc[counted, ["low", "high"]] = np.nan
    table["by_construction"] = settings.marks(table)
    return table


def cost_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Wall time per run, averaged: the one table that differs from one execution to the next."""
    require(runs, [*KEYS, "seconds"], "runs")
    table = runs.assign(metric="seconds", value=runs["seconds"])
    table = arrange(table, settings.models)
    return average(table, [*CELL, "metric"], confidence=settings.confidence)


def attack_table(attack_runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Attack success averaged over draws: columns CELL, score, side, metric, mean, low, high, n."""
    table = arrange(attack_runs, settings.models)
    return average(table, [*CELL, "score", "side", "metric"], confidence=settings.confidence)


def utility_table(tasks: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Each task averaged over draws, and its paired change against the original model.

    Args:
        tasks: as `task_values` returns it.
        settings: order and confidence.

    Returns:
        Columns CELL, task, kind, metric, mean, low, high, change, change_low, change_high, n
        (draws), items. All models answer the same items, so the change is paired; intervals are
        over draws and say nothing about other items.
    """
    by = [*CELL, "task", "kind", "metric"]
    table = arrange(tasks, settings.models, ["kind", "task"])
    join = [*pair_of(table), "task"]
    original = table.loc[table["unlearner"] == "original", [*join, "value"]]
    table = table.merge(original, on=join, how="left", suffixes=("", "_original"))
    table = units(table, by, ["value", "value_original", "items"])
    rows = []
    for key, group in table.groupby(by, sort=False):
        mean = mean_interval(group["value"], settings.confidence)
        change = paired_difference(group["value"], group["value_original"], settings.confidence)
        rows.append(
            (*key, mean.mean, mean.low, mean.high, change.mean, change.low, change.high)
            + (mean.n, int(group["items"].iloc[0]))
        )
    columns = ["mean", "low", "high", "change", "change_low", "change_high", "n", "items"]
    return pd.DataFrame(rows, columns=[*by, *columns])
