"""Tidy result tables: from rows per sequence and item to one row per measured thing.

Everything is first reduced to one value per run and metric (`per_run`); averages over runs and
paired differences between methods are taken from there, so that every number in a table can be
traced to its runs.

What n counts. In an average over one cell (model x forget size) n counts forget-set draws (seeds).
The draws come from one pool, so the sets overlap, and the sets of one seed are nested: they are not
independent, and intervals over them understate what a fresh pool would bring. Where cells are
pooled, n counts cells, each the mean over its draws, for the same reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from unlearning.attacks.membership import BLACK_BOX, CHANGES, EXTRACTION
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import SIDES, count_outliers, describe, thresholds_of
from unlearning.names import COUNTED, HEADLINE, METRICS, TASK_KINDS, method_order, model_order
from unlearning.settings import settings_class
from unlearning.settings.analysis import TableSettings
from unlearning.statistics import (
    PairedDifference,
    bootstrap_difference,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_difference,
    proportion_difference,
    proportion_interval,
    sign_of,
    unpaired_difference,
)

KEYS = ["model", "forget_size", "unlearner", "seed"]
CELL = ["model", "forget_size", "unlearner"]
ALL = "all"
LEARNED = "learned_black_box"
DRAWS = "forget-set draws"
CELLS = "cells (model x forget size), each the mean over its draws"


@settings_class
class TableJob(TableSettings):
    """`TableSettings`, and the order of the models."""

    models: tuple[str, ...] = ()
    """Display order, smallest first; models left out follow in alphabetical order."""


def arrange(table: pd.DataFrame, models: Sequence[str], then: Sequence[str] = ()) -> pd.DataFrame:
    """Sort rows by model, forget size, unlearner (display order) and further columns."""
    keys = [name for name in ("model", "forget_size", "unlearner", "seed") if name in table]
    orders = {
        "model": model_order(table["model"], models),
        "metric": list(METRICS),
    }
    if "unlearner" in table:
        orders["unlearner"] = method_order(table["unlearner"])

    def rank(column: pd.Series) -> pd.Series:
        order = orders.get(column.name)
        if order is None or not set(column) <= set(order):
            return column
        return column.map({label: i for i, label in enumerate(order)})

    return table.sort_values([*keys, *then], key=rank, kind="stable", ignore_index=True)


def require(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise InputError naming the first column that `table` lacks."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{name}: no column '{missing[0]}'; make the file again")


# One value per run -----------------------------------------------------------------------------


def memorization_metrics(memorization: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """Forget-set memorization, c(D_f) and its sides, per run: columns KEYS, metric, value."""
    require(memorization, [*KEYS, "split", "ma", "el", "loss", "verbatim_run"], "memorization")
    rows = []
    for key, run in memorization[memorization["split"] == "forget"].groupby(KEYS):
        limits = thresholds_of(thresholds, str(key[0]))
        g = describe(run["ma"])
        values = {
            "ma": g["mean"],
            "ma_max": g["max"],
            "ma_min": g["min"],
            "ma_spread": g["spread"],
            "el": run["el"].mean(),
            "el_max": run["el"].max(),
            "loss": run["loss"].mean(),
            "mean_met": np.nan if np.isnan(g["mean"]) else float(g["mean"] < limits.ma_mean),
        }
        # an integer column cannot hold the NaN of a diverged run
        runs = run["verbatim_run"].where(run["ma"].notna()).astype(float)
        values |= {"verbatim_run": runs.mean(), "verbatim_run_max": runs.max()}
        for band, name in ((limits.paper, "paper"), (limits.calibrated, "calibrated")):
            for side, count in count_outliers(run["ma"], band).items():
                label = "outliers" if side == "both" else side
                values[f"{label}_{name}"] = count
                values[f"{label}_{name}_rate"] = count / len(run)
        rows += [(*key, metric, value) for metric, value in values.items()]
    kept = memorization[memorization["split"] == "retained"].groupby(KEYS)["ma"].mean()
    rows += [(*key, "retained_ma", value) for key, value in kept.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "metric", "value"])


def unseen_metrics(membership: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """The control of c(D_f): unseen "attack" sequences on the same model, per run."""
    require(membership, [*KEYS, "split", "half", "ma", "loss"], "membership")
    unseen = membership[(membership["split"] == "unseen") & (membership["half"] == "attack")]
    rows = []
    for key, run in unseen.groupby(KEYS):
        limits = thresholds_of(thresholds, str(key[0]))
        g = describe(run["ma"])
        values = {
            "unseen_ma": g["mean"],
            "unseen_ma_spread": g["spread"],
            "unseen_loss": run["loss"].mean(),
        }
        for band, name in ((limits.paper, "paper"), (limits.calibrated, "calibrated")):
            counts = count_outliers(run["ma"], band)
            values[f"unseen_outliers_{name}_rate"] = counts["both"] / len(run)
            values[f"unseen_above_{name}_rate"] = counts["under_forgotten"] / len(run)
        rows += [(*key, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "metric", "value"])


def attack_metrics(attack_runs: pd.DataFrame) -> pd.DataFrame:
    """Headline attack numbers per run.

    The worst case is the largest two-sided value over the black-box scores. A maximum over several
    scores lies above 0.5 even when there is nothing to find: its chance level is the control
    model's value, not 0.5.
    """
    require(attack_runs, [*KEYS, "score", "side", "metric", "value"], "attack_runs")
    black_box = attack_runs["score"].isin(BLACK_BOX) & (attack_runs["side"] == "two")
    change = attack_runs["score"].isin(CHANGES) & (attack_runs["side"] == "two")
    loss = (attack_runs["score"] == "loss") & (attack_runs["side"] == "one")
    extraction = attack_runs["score"] == EXTRACTION
    auc = attack_runs["metric"] == "auc"
    chosen = {
        "attack_auc_loss": loss & auc,
        "attack_auc_worst": black_box & auc,
        "attack_tpr_at_5_worst": black_box & (attack_runs["metric"] == "tpr_at_5"),
        "attack_auc_change": change & auc,
        "attack_auc_learned": (attack_runs["score"] == LEARNED) & auc,
        "extracted": extraction & (attack_runs["metric"] == "rate"),
        "unseen_extracted": extraction & (attack_runs["metric"] == "rate_unseen"),
    }
    parts = []
    for metric, rows in chosen.items():
        worst = attack_runs[rows].groupby(KEYS)["value"].max().reset_index()
        parts.append(worst.assign(metric=metric))
    return pd.concat(parts, ignore_index=True)[[*KEYS, "metric", "value"]]


def task_values(utility: pd.DataFrame) -> pd.DataFrame:
    """One value per run and task.

    Returns:
        Columns KEYS, task, kind, metric ("accuracy", "f1" or "nats_per_token"), value, items. Items
        are weighted; for perplexity tasks the value is summed nats over scored tokens.
    """
    require(utility, [*KEYS, "task", "kind", "item", "value", "weight"], "utility")
    measure = {
        "choice": "accuracy",
        "last_word": "accuracy",
        "dialogue": "f1",
        "perplexity": "nats_per_token",
    }
    unknown = set(utility["kind"]) - set(measure)
    if unknown:
        raise InputError(f"utility: unknown kind '{min(unknown)}'; known: {', '.join(measure)}")
    # a perplexity item is a sum of nats already, any other item is a value to be weighted
    summed = utility["value"].where(
        utility["kind"] == "perplexity", utility["value"] * utility["weight"]
    )
    table = utility[[*KEYS, "task", "kind"]].assign(
        summed=summed, weight=utility["weight"].where(summed.notna()), items=1
    )
    table = table.groupby([*KEYS, "task", "kind"]).sum(min_count=1).reset_index()
    table["value"] = table["summed"] / table["weight"]
    table["metric"] = table["kind"].map(measure)
    return table[[*KEYS, "task", "kind", "metric", "value", "items"]]


def utility_metrics(tasks: pd.DataFrame, accuracy_kinds: Sequence[str]) -> pd.DataFrame:
    """Suite means per run: every task counts the same. A NaN task makes its mean NaN."""
    parts = []
    for metric, kinds in ({"utility_accuracy": accuracy_kinds} | TASK_KINDS).items():
        grouped = tasks[tasks["kind"].isin(kinds)].groupby(KEYS)["value"]
        mean = grouped.mean().where(grouped.count() == grouped.size()).reset_index()
        parts.append(mean.assign(metric=metric))
    nats = parts[-1]
    # exp of more than 700 nats is no number any more
    perplexity = np.exp(nats["value"].where(nats["value"] < 700))
    parts.append(nats.assign(metric="perplexity", value=perplexity))
    return pd.concat(parts, ignore_index=True)[[*KEYS, "metric", "value"]]


def run_metrics(runs: pd.DataFrame) -> pd.DataFrame:
    """Epochs and failures per run. Seconds are in `cost_table`, apart from what is repeatable."""
    require(runs, [*KEYS, "status", "epochs"], "runs")
    diverged = runs["status"] == "diverged"
    values = {
        "epochs": runs["epochs"].astype(float).where(~diverged),
        "n_diverged": diverged.astype(float),
        "n_cap": (runs["status"] == "cap").astype(float),
    }
    parts = [runs[KEYS].assign(metric=metric, value=value) for metric, value in values.items()]
    return pd.concat(parts, ignore_index=True)


def per_run(
    memorization: pd.DataFrame,
    membership: pd.DataFrame,
    attack_runs: pd.DataFrame,
    tasks: pd.DataFrame,
    runs: pd.DataFrame,
    thresholds: pd.DataFrame,
    settings: TableJob,
) -> pd.DataFrame:
    """Every metric of every run: columns KEYS, metric, value; NaN for a diverged run.

    Args:
        memorization: rows per run and sequence.
        membership: raw attack scores per run and sequence.
        attack_runs: attack success per run.
        tasks: as `task_values` returns it.
        runs: one row per run of an unlearner (the original and the control have none).
        thresholds: one row per model.
        settings: order and kinds.
    """
    table = pd.concat(
        [
            memorization_metrics(memorization, thresholds),
            unseen_metrics(membership, thresholds),
            attack_metrics(attack_runs),
            utility_metrics(tasks, settings.accuracy_kinds),
            run_metrics(runs),
        ],
        ignore_index=True,
    )
    wide = table.pivot(index=KEYS, columns="metric", values="value")
    for metric, own, control in (
        ("excess_outliers_rate", "outliers", "unseen_outliers"),
        ("excess_memorized_rate", "under_forgotten", "unseen_above"),
    ):
        excess = wide[f"{own}_calibrated_rate"] - wide[f"{control}_calibrated_rate"]
        excess = excess.rename("value").reset_index().assign(metric=metric)
        table = pd.concat([table, excess[table.columns]], ignore_index=True)
    return arrange(table, settings.models, ["metric"])


# Averages over forget-set draws ------------------------------------------------------------------


def average(
    table: pd.DataFrame, by: Sequence[str], value: str = "value", confidence: float = 0.95
) -> pd.DataFrame:
    """Mean and interval of `value` in each group of `by`: columns by, mean, low, high, n."""
    rows = []
    for key, group in table.groupby(list(by), sort=False, dropna=False):
        interval = mean_interval(group[value].to_numpy(dtype=float), confidence)
        rows.append((*key, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def main_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Every metric averaged over draws: columns CELL, metric, mean, low, high, n.

    Args:
        runs: as `per_run` returns it.
        settings: confidence.

    Returns:
        n counts the draws with a value. The rows n_diverged and n_cap hold the number of such runs
        in `mean`, no interval, and the number of all runs in n.
    """
    table = average(runs, [*CELL, "metric"], confidence=settings.confidence)
    counted = table["metric"].isin(COUNTED)
    table.loc[counted, "mean"] = (table["mean"] * table["n"]).round()
    table.loc[counted, ["low", "high"]] = np.nan
    return table


def cost_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Wall time per run, averaged: the one table that differs from one execution to the next."""
    require(runs, [*KEYS, "seconds"], "runs")
    table = runs[KEYS].assign(metric="seconds", value=runs["seconds"])
    table = arrange(table, settings.models)
    return average(table, [*CELL, "metric"], confidence=settings.confidence)


def outlier_table(
    memorization: pd.DataFrame,
    membership: pd.DataFrame,
    thresholds: pd.DataFrame,
    settings: TableJob,
) -> pd.DataFrame:
    """c(D_f) and its sides, beside the same count on unseen sequences of the same model.

    Returns:
        Columns CELL, split ("forget" or "unseen", the "attack" half), band ("paper" or
        "calibrated"), side ("both", "under_forgotten", "over_forgotten"), metric ("count" or
        "rate"), mean, low, high, n (draws).
    """
    forget = memorization.loc[memorization["split"] == "forget", [*KEYS, "split", "ma"]]
    unseen = membership[(membership["split"] == "unseen") & (membership["half"] == "attack")]
    rows = []
    both = pd.concat([forget, unseen[[*KEYS, "split", "ma"]]])
    for key, run in both.groupby([*KEYS, "split"]):
        limits = thresholds_of(thresholds, str(key[0]))
        for band, name in ((limits.paper, "paper"), (limits.calibrated, "calibrated")):
            counts = count_outliers(run["ma"], band)
            for side in SIDES:
                rows.append((*key, name, side, "count", counts[side]))
                rows.append((*key, name, side, "rate", counts[side] / len(run)))
    extra = ["split", "band", "side", "metric"]
    table = pd.DataFrame(rows, columns=[*KEYS, *extra, "value"])
    return average(arrange(table, settings.models), [*CELL, *extra], confidence=settings.confidence)


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
    join = ["model", "forget_size", "seed", "task"]
    original = table.loc[table["unlearner"] == "original", [*join, "value"]]
    table = table.merge(original, on=join, how="left", suffixes=("", "_original"))
    rows = []
    for key, group in table.groupby(by, sort=False):
        mean = mean_interval(group["value"], settings.confidence)
        change = paired_difference(group["value"], group["value_original"], settings.confidence)
        bounds = (change.low, change.high)
        if np.isnan(bounds).any() and change.n > 1:
            bounds = (change.mean, change.mean)  # the same items lost in every draw
        rows.append(
            (*key, mean.mean, mean.low, mean.high, change.mean, *bounds, mean.n)
            + (int(group["items"].iloc[0]),)
        )
    columns = ["mean", "low", "high", "change", "change_low", "change_high", "n", "items"]
    return pd.DataFrame(rows, columns=[*by, *columns])


# The original models ------------------------------------------------------------------------------


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
    """
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
    columns = ["model", "unlearner", "split", "repetitions", "metric"]
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


# Paired comparisons -------------------------------------------------------------------------------


PAIR = ["model", "forget_size", "seed"]


def paired_values(runs: pd.DataFrame, metric: str, left: str, right: str) -> pd.DataFrame:
    """Values of two methods on the same forget sets: columns model, forget_size, seed, left, right.

    Draws where either has no value (diverged, not run) are left out.
    """
    chosen = runs[(runs["metric"] == metric) & runs["unlearner"].isin([left, right])]
    wide = chosen.pivot(index=PAIR, columns=["unlearner", "metric"], values="value")
    return _pairs(wide, metric, left, right)


def _pairs(wide: pd.DataFrame, metric: str, left: str, right: str) -> pd.DataFrame:
    if (left, metric) not in wide or (right, metric) not in wide:
        return pd.DataFrame(columns=[*PAIR, "left", "right"])
    pairs = pd.DataFrame({"left": wide[left, metric], "right": wide[right, metric]})
    return pairs.dropna().reset_index()


def pool_cells(table: pd.DataFrame, values: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """One row per cell (the mean over its draws), or the draws themselves if there is one cell.

    Returns:
        The rows, and what they are (`CELLS` or `DRAWS`), for the column n_counts.
    """
    cells = table.groupby(["model", "forget_size"], sort=False)[list(values)].mean()
    return (cells.reset_index(), CELLS) if len(cells) > 1 else (table, DRAWS)


def pooled_difference(
    runs: pd.DataFrame,
    metric: str,
    left: str,
    right: str,
    confidence: float = 0.95,
    shift: float = 0.0,
) -> PairedDifference:
    """Paired difference left - right + shift over cells (over draws if there is one cell)."""
    pairs = pool_cells(paired_values(runs, metric, left, right), ["left", "right"])[0]
    return paired_difference(
        pairs["left"].astype(float) + shift, pairs["right"].astype(float), confidence
    )


def _scopes(values: pd.DataFrame) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray, str]]:
    """What is compared where: all cells, each model's cells, each cell's draws."""
    left, right = values["left"].to_numpy(), values["right"].to_numpy()
    draws = dict(sorted(values.groupby(["model", "forget_size"], sort=False).indices.items()))
    means = {cell: (left[rows].mean(), right[rows].mean()) for cell, rows in draws.items()}
    for model in (ALL, *dict.fromkeys(model for model, _ in draws)):
        own = [cell for cell in draws if model in (ALL, cell[0])]
        if len(own) > 1:
            pooled = np.array([means[cell] for cell in own])
            yield (model, ALL), pooled[:, 0], pooled[:, 1], CELLS
        else:
            yield (model, ALL), left[draws[own[0]]], right[draws[own[0]]], DRAWS
    for (model, size), rows in draws.items():
        yield (model, str(size)), left[rows], right[rows], DRAWS


def gains_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Paired differences proposal - baseline, per cell, per model and pooled over all cells.

    Args:
        runs: as `per_run` returns it.
        settings: who is compared; a method that was not run is left out.

    Returns:
        Columns model, forget_size (text; "all" where pooled), proposal, baseline, metric, better
        ("lower", "higher" or ""), mean, low, high (Student), boot_low, boot_high (bootstrap), n,
        n_counts, p, family, p_holm, sure. Pairs share model, forget size and seed. p is of the
        paired t-test; p_holm corrects it over its family. The comparisons of all pairs by the
        metrics of `HEADLINE` in one scope are one family, "headline"; any other metric is a family
        of its own there. sure is 1 or -1 where both intervals exclude zero on that side and
        p_holm is below 1 - confidence, else 0.
    """
    present = set(runs["unlearner"])
    pairs = [
        (proposal, baseline)
        for proposal in settings.proposals
        for baseline in settings.baselines
        if proposal != baseline and {proposal, baseline} <= present
    ]
    wide = runs.pivot(index=PAIR, columns=["unlearner", "metric"], values="value")
    rows = []
    for proposal, baseline in pairs:
        for metric in METRICS:
            if metric in COUNTED:
                continue
            values = _pairs(wide, metric, proposal, baseline)
            if values.empty:
                continue
            for (model, size), left, right, counts in _scopes(values):
                d = paired_difference(left, right, settings.confidence)
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
    table["sure"] = table["sure"].where(table["p_holm"] < 1 - settings.confidence, 0)
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


# Reading back -------------------------------------------------------------------------------------

TEXT = ("model", "unlearner", "metric", "proposal", "baseline", "better", "repetitions", "winner")
TEXT += ("runner_up", "tied", "feasible", "nearest", "side", "score", "split", "task")
TEXT += ("variant", "measure", "why", "also", "band", "sequence_id", "n_counts")


def read_rows(path: Path | str) -> pd.DataFrame:
    """Read a parquet file of rows, `model` and `unlearner` as text.

    Raises:
        InputError: the file cannot be read, or it has no rows.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as parquet ({error}); make it again") from None
    if table.empty:
        raise InputError(f"{path}: has no rows; make it again")
    for name in ("model", "unlearner"):
        if name in table:
            table[name] = table[name].astype(str)
    return table


def read_table(path: Path | str) -> pd.DataFrame:
    """Read one of the CSV tables: labels as text, empty where empty, other blanks as NaN.

    In gains.csv forget_size is text too, for its "all"; elsewhere it is a number.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=""
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); make it again") from None
    for name in set(TEXT) & set(table.columns):
        table[name] = table[name].fillna("")
    if "proposal" in table:
        table["forget_size"] = table["forget_size"].astype(str)
    return table
