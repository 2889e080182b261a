"""What the models knew before unlearning."""

from functools import partial

import numpy as np
import pandas as pd

from unlearning.analysis.averages import average
from unlearning.analysis.replicates import per_replicate, replicated
from unlearning.analysis.rows import ALL, TableJob, arrange
from unlearning.statistics import (
    bootstrap_difference,
    bootstrap_interval,
    mean_interval,
    proportion_difference,
    proportion_interval,
    unpaired_difference,
)


def original_table(
    memorization: pd.DataFrame,
    membership: pd.DataFrame,
    sequences: pd.DataFrame,
    settings: TableJob,
) -> pd.DataFrame:
    """What the models knew before unlearning, planted sequences beside unseen ones.

    Returns:
        Columns model, unlearner ("original" or "control"), split ("planted", "unseen" or
        "planted - unseen"), repetitions ("all" or how often it stood in the training text),
        metric (ma, ma_spread, el, loss, verbatim_run, extracted), mean, low, high, n.
        n counts sequences (for a difference: the planted ones). Intervals: Student t for means,
        Welch for their difference, percentile bootstrap for the spread, Wilson and Newcombe for
        shares. Extraction is known for sequences that are in some forget set, and unseen ones.
        Of several replicates n counts them: mean and Student interval of each one's mean.
    """
    columns = ["model", "unlearner", "split", "repetitions", "metric"]
    if replicated(memorization):
        each = per_replicate(
            partial(original_table, settings=settings), memorization, membership, sequences
        )
        return average(each, columns, "mean", settings.confidence)
    known = memorization[memorization["unlearner"].isin(["original", "control"])]
    keys = ["model", "unlearner", "sequence_id"]
    known = known.drop_duplicates(keys)[[*keys, "ma", "el", "loss", "verbatim_run"]]
    emitted = membership.drop_duplicates(keys)[[*keys, "extracted"]]
    table = known.merge(emitted, on=keys, how="left").merge(
        sequences[["sequence_id", "split", "repetitions"]], on="sequence_id"
    )
    rows = []
    for number, ((model, role), group) in enumerate(table.groupby(["model", "unlearner"])):
        generator = np.random.default_rng([settings.seed, number])
        planted = group[group["split"] == "planted"]
        unseen = group[group["split"] == "unseen"]
        parts = [("planted", ALL, planted), ("unseen", ALL, unseen)]
        levels = sorted(planted["repetitions"].unique())
        if len(levels) <= 12:
            parts += [
                ("planted", str(level), planted[planted["repetitions"] == level])
                for level in levels
            ]
        for split, repetitions, part in parts:
            for metric, interval in _levels(part, generator, settings.confidence).items():
                rows.append((model, role, split, repetitions, metric, interval))
        gap = _gaps(planted, unseen, generator, settings.confidence)
        rows += [(model, role, "planted - unseen", ALL, m, interval) for m, interval in gap.items()]
    table = pd.DataFrame(rows, columns=[*columns, "interval"])
    for name in ("mean", "low", "high", "n"):
        table[name] = [getattr(interval, name) for interval in table["interval"]]
    return arrange(table.drop(columns="interval"), settings.models)


def _levels(part: pd.DataFrame, generator: np.random.Generator, confidence: float) -> dict:
    emitted = part["extracted"].dropna().astype(bool)
    levels = {
        name: mean_interval(part[name], confidence) for name in ("ma", "el", "loss", "verbatim_run")
    }
    spread = bootstrap_interval(part["ma"], np.std, generator, confidence=confidence)
    levels["ma_spread"] = spread
    levels["extracted"] = proportion_interval(int(emitted.sum()), len(emitted), confidence)
    return levels


def _gaps(
    planted: pd.DataFrame,
    unseen: pd.DataFrame,
    generator: np.random.Generator,
    confidence: float,
) -> dict:
    gaps = {
        name: unpaired_difference(planted[name], unseen[name], confidence)
        for name in ("ma", "el", "loss", "verbatim_run")
    }
    gaps["ma_spread"] = bootstrap_difference(
        planted["ma"], unseen["ma"], np.std, generator, confidence=confidence
    )
    a, b = (t["extracted"].dropna().astype(bool) for t in (planted, unseen))
    gaps["extracted"] = proportion_difference(
        int(a.sum()), len(a), int(b.sum()), len(b), confidence
    )
    return gaps
