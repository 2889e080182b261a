"""One value per run and metric: what every average and every comparison is made from.

Rows per sequence and item go in, one value per run and metric comes out, so that every number in a
table can be traced to its runs.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from unlearning.analysis.rows import KEYS, TableJob, arrange, require
from unlearning.analysis.strictest import strictest
from unlearning.attacks.membership import BLACK_BOX, CHANGES, EXTRACTION
from unlearning.jobs.errors import InputError
from unlearning.limits import below
from unlearning.memorization.forgetting import count_outliers, describe, thresholds_of
from unlearning.names import TASK_KINDS

STRICT = {
    "attack_auc_learned": "learned_black_box",
    "attack_auc_token_level": "token_level_black_box",
    "attack_auc_observer": "observer_token_by_token",
}
"""Metric -> score in the table of success: the attackers that learn (`attack_effects`)."""
STRICTEST = "attack_auc_strictest"
EXCESS = {
    "excess_outliers_rate": ("outliers_calibrated_rate", "unseen_outliers_calibrated_rate"),
    "excess_memorized_rate": ("under_forgotten_calibrated_rate", "unseen_above_calibrated_rate"),
}
"""Metric -> the share of the forget set, and that of unseen sequences which is taken from it."""


def memorization_metrics(memorization: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """Forget-set memorization, c(D_f) and its sides, per run: columns KEYS, metric, value."""
    require(
        memorization,
        [*KEYS, "sequence_id", "split", "ma", "el", "loss", "verbatim_run"],
        "memorization",
    )
    # the last digit of a sum hangs on the order of what is summed
    memorization = memorization.sort_values("sequence_id", kind="stable")
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
            "mean_met": np.nan if np.isnan(g["mean"]) else float(below(g["mean"], limits.ma_mean)),
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
    require(membership, [*KEYS, "sequence_id", "split", "half", "ma", "loss"], "membership")
    unseen = membership[(membership["split"] == "unseen") & (membership["half"] == "attack")]
    unseen = unseen.sort_values("sequence_id", kind="stable")
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
    one_sided = attack_runs["score"].isin(BLACK_BOX) & (attack_runs["side"] == "one")
    loss = (attack_runs["score"] == "loss") & (attack_runs["side"] == "one")
    extraction = attack_runs["score"] == EXTRACTION
    auc = attack_runs["metric"] == "auc"
    chosen = {
        "attack_auc_loss": loss & auc,
        "attack_auc_worst": black_box & auc,
        "attack_tpr_at_5_worst": black_box & (attack_runs["metric"] == "tpr_at_5"),
        "attack_auc_change": change & auc,
        **{name: (attack_runs["score"] == score) & auc for name, score in STRICT.items()},
        "extracted": extraction & (attack_runs["metric"] == "rate"),
        "unseen_extracted": extraction & (attack_runs["metric"] == "rate_unseen"),
    }
    # an attacker who knows which way a score moves reads it the other way round
    either = attack_runs[one_sided & auc]
    either = either.assign(value=np.maximum(either["value"], 1 - either["value"]))
    worst = either.groupby(KEYS)["value"].max().reset_index()
    parts = [worst.assign(metric="attack_auc_worst_one")]
    for metric, rows in chosen.items():
        worst = attack_runs[rows].groupby(KEYS)["value"].max().reset_index()
        parts.append(worst.assign(metric=metric))
    return pd.concat(parts, ignore_index=True)[[*KEYS, "metric", "value"]]


def relearned(effects: pd.DataFrame) -> pd.DataFrame:
    """How much of the forget set returns after the fewest steps on a part of it, per run."""
    rise = (effects["attack"] == "relearning") & (effects["measure"] == "ma_rise")
    own = effects[rise & (effects["metric"] == "difference")]
    # "<steps>_steps"; on other text the name of that stands before
    steps = pd.to_numeric(own["variant"].str.removesuffix("_steps"), errors="coerce")
    fewest = own[steps == steps.min()]
    return fewest.assign(metric="relearned")[[*KEYS, "metric", "value"]]


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
    utility = utility.sort_values("item", kind="stable")
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
    effects: pd.DataFrame,
    tasks: pd.DataFrame,
    runs: pd.DataFrame,
    thresholds: pd.DataFrame,
    settings: TableJob,
    attackers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every metric of every run: columns KEYS, metric, value, by_construction, attacker.

    value is NaN for a diverged run; by_construction: the method's own stop rule brings it about;
    attacker: whose value the strictest attack is, empty for other metrics.

    Args:
        memorization: rows per run and sequence.
        membership: raw attack scores per run and sequence.
        attack_runs: attack success per run.
        effects: of the attack suite per run.
        tasks: as `task_values` returns it.
        runs: one row per run of an unlearner (the original and the control have none).
        thresholds: one row per model.
        settings: order, kinds and stop rules.
        attackers: attacks that the strictest is taken over; None: all that ran.
    """
    strict = strictest(attack_runs, effects, attackers).assign(metric=STRICTEST)
    table = pd.concat(
        [
            memorization_metrics(memorization, thresholds),
            unseen_metrics(membership, thresholds),
            attack_metrics(attack_runs),
            strict[[*KEYS, "metric", "value"]],
            relearned(effects),
            utility_metrics(tasks, settings.accuracy_kinds),
            run_metrics(runs),
        ],
        ignore_index=True,
    )
    wide = table.pivot(index=KEYS, columns="metric", values="value")
    for metric, (own, control) in EXCESS.items():
        excess = wide[own] - wide[control]
        excess = excess.rename("value").reset_index().assign(metric=metric)
        table = pd.concat([table, excess[table.columns]], ignore_index=True)
    table = pd.concat([table, drift(table)], ignore_index=True)
    table = arrange(table, settings.models, ["metric"])
    table["by_construction"] = settings.marks(table)
    names = table.merge(strict, on=[*KEYS, "metric"], how="left")["attacker"]
    return table.assign(attacker=names.fillna(""))


def drift(table: pd.DataFrame) -> pd.DataFrame:
    """`unseen_drift` of every run: the loss of unseen sequences less what it was on the original.

    Args:
        table: columns KEYS, metric, value.
    """
    loss = table[table["metric"] == "unseen_loss"]
    cell = [key for key in KEYS if key != "unlearner"]
    before = loss.loc[loss["unlearner"] == "original", [*cell, "value"]]
    both = loss.merge(before, on=cell, how="left", suffixes=("", "_before"))
    both = both.assign(metric="unseen_drift", value=both["value"] - both["value_before"])
    return both[table.columns]
