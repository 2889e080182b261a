"""The attack suite's analysis: from values per sequence to effects, tables, and the most exposed.

Whatever the attack, a value belongs to one sequence of one run, and the higher it is, the more of
the sequence is given away. Members are the forget set, non-members the unseen "attack" half, both
on the same model. Every effect stands beside the control's: the model trained without the pool,
under the same attack, on the same forget set.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from scipy import special

from unlearning import attacks
from unlearning.analysis.replicates import POOLED, REPLICATES, pair_of, replicated, units
from unlearning.analysis.rows import ALL, CELLS, DRAWS, TableJob, arrange
from unlearning.attacks.membership import BLACK_BOX, KEYS, on_both_sides
from unlearning.memorization.forgetting import thresholds_of
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import known_spread, resample_indices, resample_weights

WAY = ["attack", "variant", "measure"]
ROW_COLUMNS = [*KEYS, *WAY, "sequence_id", "split", "value"]
METRICS = ("auc", "forget", "unseen", "difference")
RUN_COLUMNS = [*KEYS, *WAY, "metric", "value", "low", "high", "members", "non_members"]
TABLE_COLUMNS = [
    "model", "forget_size", "unlearner", *WAY, "metric", "mean", "low", "high", "n",
    "control", "control_low", "control_high", "above_control", "above_low", "above_high",
    "n_counts",
]  # fmt: skip
EXPOSED_COLUMNS = [
    *KEYS, "rank", "sequence_id", "exposure", "why", "also", "score", "value", "ma", "loss", "band",
]  # fmt: skip
STANDS_OUT = 3.0
"""Standard deviations of unseen sequences from which on a further reason is named."""


def together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The parts under each other; the first is an empty one that names the columns."""
    # an empty table among others would make their numbers any object
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def scored(membership: pd.DataFrame, blocks: Mapping[str, Any]) -> pd.DataFrame:
    """Values of the attacks that work on scores: columns `ROW_COLUMNS`, and draws of some.

    Args:
        membership: rows per run and sequence.
        blocks: settings of each attack of the suite by its name; those on models are passed over.
    """
    parts = [pd.DataFrame(columns=ROW_COLUMNS)]
    for name, values in blocks.items():
        if not attacks.on_model(name):
            rows = attacks.load(name).score(membership, attacks.settings_of(name, values))
            if len(rows):
                judged = (rows["split"] == "forget") | (rows["half"] == "attack")
                rows = rows[judged].assign(attack=name)
                parts.append(rows[[*ROW_COLUMNS, *(["draws"] if "draws" in rows else [])]])
    return together(parts)


# Effects of single runs --------------------------------------------------------------------------


def effects(rows: pd.DataFrame, settings: AttackSettings) -> pd.DataFrame:
    """What each attack finds in each run, with stratified bootstrap intervals.

    Where a value is a mean over chance divisions (learned attackers), the interval contains their
    variance: independent of the sequences' own, it is added in quadrature on both sides.

    Args:
        rows: columns `ROW_COLUMNS`; and draws, (R,) values of the divisions, where there are some.
        settings: resamples, confidence, seed.

    Returns:
        Columns `RUN_COLUMNS`. Metrics: auc, the chance that a member's value is above a
        non-member's, ties half; forget and unseen, the mean values; difference, forget less
        unseen. NaN where members or non-members have no finite value (a diverged run).
    """
    values, member = rows["value"].to_numpy(float), (rows["split"] == "forget").to_numpy()
    draws = rows["draws"].to_numpy() if "draws" in rows else None
    run_of = rows.groupby(KEYS, sort=True).ngroup().to_numpy()
    way_of = rows.groupby(WAY, sort=False).ngroup().to_numpy()
    order = np.lexsort([way_of, run_of])
    cuts = np.flatnonzero(np.diff(run_of[order]) | np.diff(way_of[order])) + 1
    groups = np.split(order, cuts) if len(rows) else []
    firsts = rows.iloc[[places[0] for places in groups]].reset_index(drop=True)
    samples = np.empty((len(groups), len(METRICS), 3))
    counts = np.empty((len(groups), 2), dtype=int)
    quantiles = (0.5 - settings.confidence / 2, 0.5 + settings.confidence / 2)
    normal = special.ndtri(0.5 + settings.confidence / 2)
    previous, weights = -1, {}
    for number, places in enumerate(groups):
        if run_of[places[0]] != previous:
            previous = run_of[places[0]]
            key = "/".join(map(str, firsts.loc[number, KEYS]))
            generator = np.random.default_rng([settings.seed, crc32(key.encode())])
            weights = {}  # one set of resamples for all attacks of a run
        sides, divisions = [], []
        for side in (True, False):
            chosen = places[member[places] == side]
            chosen = chosen[np.isfinite(values[chosen])]
            group = values[chosen]
            if draws is not None:
                divisions.append(draws[chosen])
            if (side, len(group)) not in weights:
                weights[side, len(group)] = sample_and_resamples(
                    len(group), settings.resamples, generator
                )
            sides += [group, weights[side, len(group)]]
        inside, mine, outside, theirs = sides
        found = resampled(inside, outside, mine, theirs)
        counts[number] = len(inside), len(outside)
        samples[number, :, 0] = found[:, 0]
        samples[number, :, 1:] = np.quantile(found[:, 1:], quantiles, axis=1).T
        if divisions and all(map(len, divisions)) and isinstance(divisions[0][0], np.ndarray):
            error = division_error(*(np.stack([*of]).astype(float) for of in divisions))
            samples[number] = widened(samples[number], normal * error)
    table = firsts.loc[firsts.index.repeat(len(METRICS)), [*KEYS, *WAY]].reset_index(drop=True)
    table["metric"] = np.tile(METRICS, len(groups))
    table[["value", "low", "high"]] = samples.reshape(-1, 3)
    table[["members", "non_members"]] = counts.repeat(len(METRICS), axis=0)
    return table[RUN_COLUMNS]


def sample_and_resamples(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each of n values occurs in each resample; first the sample itself, (B + 1, n)."""
    drawn = (
        resample_weights(resample_indices(n, resamples, generator))
        if n
        else np.empty((resamples, 0))
    )
    return np.concatenate([np.ones((1, n)), drawn])


def resampled(
    inside: np.ndarray, outside: np.ndarray, weights: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """The metrics of many resamples at once, (len(METRICS), B).

    Args:
        inside: members' values, (N,).
        outside: non-members' values, (M,).
        weights: how often each member occurs in each resample, (B, N).
        others: the same for non-members, (B, M).
    """
    if not len(inside) or not len(outside):
        return np.full((len(METRICS), len(weights)), np.nan)
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    n, m = len(inside), len(outside)
    area = np.einsum("bm,bm->b", weights @ wins, others) / (n * m)
    forget, unseen = weights @ inside / n, others @ outside / m
    return np.stack([area, forget, unseen, forget - unseen])


def division_error(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(len(METRICS),) standard error of the metrics over chance divisions, by the jackknife.

    Args:
        inside: members' values of each division, (N, R), R at least 2.
        outside: non-members', (M, R).
    """
    count = inside.shape[1]
    # (R, N) and (R, M): the means over all divisions but one
    mine, theirs = ((of.sum(axis=1) - of.T) / (count - 1) for of in (inside, outside))
    higher, lower = mine[:, :, None] > theirs[:, None], mine[:, :, None] < theirs[:, None]
    area = 0.5 + 0.5 * (higher.mean(axis=(1, 2)) - lower.mean(axis=(1, 2)))
    forget, unseen = mine.mean(axis=1), theirs.mean(axis=1)
    metrics = np.stack([area, forget, unseen, forget - unseen])
    return np.sqrt((count - 1) * metrics.var(axis=1))


def widened(interval: np.ndarray, further: np.ndarray) -> np.ndarray:
    """(K, 3) value, low, high with a further independent half-width (K,) added in quadrature."""
    value, low, high = interval.T
    low = value - np.hypot(np.maximum(value - low, 0.0), further)
    high = value + np.hypot(np.maximum(high - value, 0.0), further)
    area = METRICS.index("auc")
    low[area], high[area] = max(low[area], 0.0), min(high[area], 1.0)
    return np.stack([value, low, high], axis=1)


# Averages over runs ------------------------------------------------------------------------------


def student(values: pd.DataFrame, by: list[str], confidence: float) -> pd.DataFrame:
    """Mean and Student-t interval of `value` in each group: columns by, mean, low, high, n.

    As `statistics.mean_interval`, for thousands of groups at once.
    """
    table = values.groupby(by, sort=False, dropna=False)["value"].agg(["mean", "std", "count"])
    table = table.rename(columns={"count": "n"}).reset_index()
    spread = known_spread(table["std"], table["mean"])
    quantile = special.stdtrit((table["n"] - 1).clip(lower=1), 0.5 + confidence / 2)
    half = quantile * spread / np.sqrt(table["n"])
    return table.assign(low=table["mean"] - half, high=table["mean"] + half).drop(columns="std")


def suite_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """Every effect averaged over runs, beside the control's.

    Args:
        runs: as `effects` returns it.
        settings: order of models, confidence.

    Returns:
        Columns `TABLE_COLUMNS`. A row for each cell and method (n counts forget-set draws), and
        rows with model and forget_size "all" (n counts cells, each the mean over its draws, as
        draws from one pool are not independent); of several replicates n counts them, in both.
        above_control is the paired difference to the
        control on the same model and forget set; NaN where there is no control.
    """
    way = [*WAY, "metric"]
    pair = [*pair_of(runs), *way]
    control = runs.loc[runs["unlearner"] == "control", [*pair, "value"]]
    runs = arrange(runs, settings.models).merge(
        control, on=pair, how="left", suffixes=("", "_control")
    )
    runs["above"] = runs["value"] - runs["value_control"]
    columns = ["value", "value_control", "above"]
    by = ["model", "forget_size", "unlearner", *way]
    cells = runs.groupby(by, sort=False)[columns].mean().reset_index()
    parts = [(cells.assign(model=ALL, forget_size=ALL), CELLS), (runs, DRAWS)]
    if replicated(runs):
        cells = units(runs, by, columns)
        pooled = units(cells.assign(model=ALL, forget_size=ALL), by, columns)
        parts = [(pooled, POOLED), (cells, REPLICATES)]
    elif cells[["model", "forget_size"]].drop_duplicates().shape[0] == 1:
        parts[0] = (runs.assign(model=ALL, forget_size=ALL), DRAWS)
    tables = []
    for values, counts in parts:
        table = student(values, by, settings.confidence)
        for column, name in (("value_control", "control"), ("above", "above_control")):
            other = student(values[by].assign(value=values[column]), by, settings.confidence)
            prefix = name.removesuffix("_control")
            table[name] = other["mean"]
            table[f"{prefix}_low"], table[f"{prefix}_high"] = other["low"], other["high"]
        tables.append(table.assign(n_counts=counts))
    return pd.concat(tables, ignore_index=True)[TABLE_COLUMNS]


LEARNERS = {
    "learned_attacker": "learned_",
    "token_level_attacker": "token_level_",
    "reference_observer": "observer_",
}
"""Attacks that learn -> how their variants are called among the scores."""


def learned_success(runs: pd.DataFrame) -> pd.DataFrame:
    """The learners' AUC in the form of attack_runs.parquet, to stand beside the single scores."""
    from unlearning.attacks.membership import RUN_COLUMNS as ATTACK_COLUMNS

    learned = runs[
        runs["attack"].isin(LEARNERS) & (runs["measure"] == "log_odds") & (runs["metric"] == "auc")
    ]
    prefix = learned["attack"].map(LEARNERS).astype(object)
    table = learned.assign(score=prefix + learned["variant"], side="one")
    return table[ATTACK_COLUMNS]


# The most exposed --------------------------------------------------------------------------------


FOUND = [*KEYS, "sequence_id", "why", "score", "value", "distance"]


def distances(values: pd.DataFrame, reference: pd.DataFrame, least_spread: float) -> pd.Series:
    """How far values lie from those of unseen sequences of the same run.

    Args:
        values: columns `KEYS` and value.
        reference: the same of the unseen sequences.
        least_spread: counts as their standard deviation where it is smaller.

    Returns:
        Distance from their median in standard deviations, indexed as `values`; NaN where they do
        not differ or are fewer than two.
    """
    fixed = reference.groupby(KEYS)["value"].agg(["median", "std"])
    joined = values[KEYS].merge(fixed, left_on=KEYS, right_index=True, how="left")
    spread = joined["std"].clip(lower=least_spread)
    return (values["value"] - joined["median"]) / spread.where(spread > 0)


def standing_out(rows: pd.DataFrame) -> pd.DataFrame:
    """How far forget-set sequences stand out under each attack that can give a reason.

    Args:
        rows: the suite's rows, `ROW_COLUMNS`.

    Returns:
        Columns `FOUND`: why, score (the attack), value of the attack's first variant, distance
        from unseen sequences (positive = more of the sequence is given away).
    """
    parts = [pd.DataFrame(columns=FOUND)]
    for name, part in rows.groupby("attack", sort=False):
        part = part[part["variant"] == part["variant"].iloc[0]]
        for measure, reason in attacks.load(name).REASONS.items():
            values = part[part["measure"] == measure]
            inside, outside = (values[values["split"] == s] for s in ("forget", "unseen"))
            distance = distances(inside, outside, reason.least_spread)
            table = inside.assign(why=reason.text, score=name, distance=distance)
            parts.append(table[FOUND])
    return together(parts)


def black_box(membership: pd.DataFrame) -> pd.DataFrame:
    """The same for the basic attack's scores, in both directions, from the "threshold" half.

    A score that unseen sequences lack on unlearned models is left out on the control as well.

    Args:
        membership: rows per run and sequence, with the raw scores.
    """
    parts = []
    inside = membership[membership["split"] == "forget"]
    outside = membership[membership["half"] == "threshold"]
    for score in on_both_sides(membership, BLACK_BOX):
        sign = BLACK_BOX[score]
        one, other = (table[KEYS].assign(value=sign * table[score]) for table in (inside, outside))
        signed = distances(one, other, 0.0)
        table = inside[[*KEYS, "sequence_id"]].assign(
            why=np.where(signed > 0, "still memorized", "over-forgotten"),
            score=score,
            value=inside[score],
            distance=signed.abs(),
        )
        parts.append(table[FOUND])
    return together(parts)


def exposed(
    membership: pd.DataFrame,
    rows: pd.DataFrame,
    thresholds: pd.DataFrame,
    settings: AttackSettings,
) -> pd.DataFrame:
    """The sequences of every run that an attacker finds first, and why.

    Args:
        membership: rows per run and sequence, with the raw scores.
        rows: the suite's rows, `ROW_COLUMNS`.
        thresholds: one row per model, for the column band: where the sequence's g lies by the
            calibrated band ("inside", "under-forgotten", "over-forgotten").
        settings: how many per run.

    Returns:
        Columns `EXPOSED_COLUMNS`. exposure is the largest distance from unseen sequences on the
        same model under any black-box score or attack, in standard deviations of theirs; why, its
        reason; score and value, where it was found; also, other reasons from `STANDS_OUT` on. The
        largest of many distances is above 0 for any sequence: the rows of the control say by how
        much. A diverged run has no rows.

    Raises:
        InputError: a model without thresholds.
    """
    found = pd.concat([black_box(membership), standing_out(rows)], ignore_index=True)
    found = found[np.isfinite(found["distance"].astype(float))]
    found = found.sort_values(
        [*KEYS, "distance", "sequence_id"],
        ascending=[True] * len(KEYS) + [False, True],
        kind="stable",
    )
    one = [*KEYS, "sequence_id"]
    best = found.drop_duplicates(one).groupby(KEYS).head(settings.exposed)
    best = best.rename(columns={"distance": "exposure"})
    best["rank"] = best.groupby(KEYS).cumcount() + 1
    further = found[found["distance"] >= STANDS_OUT].merge(best[[*one, "why"]], on=one)
    further = further[further["why_x"] != further["why_y"]].drop_duplicates([*one, "why_x"])
    further = further.groupby(one)["why_x"].agg("; ".join).rename("also").reset_index()
    best = best.merge(further, on=one, how="left").fillna({"also": ""})
    best = best.merge(membership[[*one, "ma", "loss"]], on=one, how="left")
    best["band"] = "inside"
    for model, part in best.groupby("model"):
        band = thresholds_of(thresholds, str(model)).calibrated
        g = part["ma"].to_numpy(float)
        best.loc[part.index[band.under_forgotten(g)], "band"] = "under-forgotten"
        best.loc[part.index[band.over_forgotten(g)], "band"] = "over-forgotten"
    return best[EXPOSED_COLUMNS]
