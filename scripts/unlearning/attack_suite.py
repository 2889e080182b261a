"""The attack suite's analysis: from values per sequence to effects, tables, and the most exposed.

Whatever the attack, a value belongs to one sequence of one run, and the higher it is, the more of
the sequence is given away. Members are the forget set, non-members the unseen "attack" half, both
on the same model. Every effect stands beside the control's: the model trained without the pool,
under the same attack, on the same forget set.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from scipy import special

from unlearning import attacks
from unlearning.attacks.membership import (
    BLACK_BOX,
    KEYS,
    distances_of,
    finite,
    split_run,
    with_scores,
)
from unlearning.forgetting import thresholds_of
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import resample_indices, resample_weights
from unlearning.tables import ALL, CELLS, DRAWS, TableJob, arrange

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
    """Values of the attacks that work on scores: columns `ROW_COLUMNS`.

    Args:
        membership: rows per run and sequence.
        blocks: settings of each attack of the suite by its name; those that probe are passed over.
    """
    parts = [pd.DataFrame(columns=ROW_COLUMNS)]
    for name, values in blocks.items():
        if not attacks.probing(name):
            rows = attacks.load(name).score(membership, attacks.settings_of(name, values))
            if len(rows):
                judged = (rows["split"] == "forget") | (rows["half"] == "attack")
                parts.append(rows[judged].assign(attack=name)[ROW_COLUMNS])
    return together(parts)


# Effects of single runs --------------------------------------------------------------------------


def effects(rows: pd.DataFrame, settings: AttackSettings) -> pd.DataFrame:
    """What each attack finds in each run, with stratified bootstrap intervals.

    Args:
        rows: columns `ROW_COLUMNS`.
        settings: resamples, confidence, seed.

    Returns:
        Columns `RUN_COLUMNS`. Metrics: auc, the chance that a member's value is above a
        non-member's, ties half; forget and unseen, the mean values; difference, forget less
        unseen. NaN where members or non-members have no finite value (a diverged run).
    """
    values, member = rows["value"].to_numpy(float), (rows["split"] == "forget").to_numpy()
    run_of = rows.groupby(KEYS, sort=True).ngroup().to_numpy()
    way_of = rows.groupby(WAY, sort=False).ngroup().to_numpy()
    order = np.lexsort([way_of, run_of])
    cuts = np.flatnonzero(np.diff(run_of[order]) | np.diff(way_of[order])) + 1
    groups = np.split(order, cuts) if len(rows) else []
    firsts = rows.iloc[[places[0] for places in groups]].reset_index(drop=True)
    samples = np.empty((len(groups), len(METRICS), 3))
    counts = np.empty((len(groups), 2), dtype=int)
    quantiles = (0.5 - settings.confidence / 2, 0.5 + settings.confidence / 2)
    previous, weights = -1, {}
    for number, places in enumerate(groups):
        if run_of[places[0]] != previous:
            previous = run_of[places[0]]
            key = "/".join(map(str, firsts.loc[number, KEYS]))
            generator = np.random.default_rng([settings.seed, crc32(key.encode())])
            weights = {}  # one set of resamples for all attacks of a run
        sides = []
        for side in (True, False):
            group = values[places[member[places] == side]]
            group = group[np.isfinite(group)]
            if (side, len(group)) not in weights:
                weights[side, len(group)] = _weights(len(group), settings.resamples, generator)
            sides += [group, weights[side, len(group)]]
        inside, mine, outside, theirs = sides
        found = resampled(inside, outside, mine, theirs)
        counts[number] = len(inside), len(outside)
        samples[number, :, 0] = found[:, 0]
        samples[number, :, 1:] = np.quantile(found[:, 1:], quantiles, axis=1).T
    table = firsts.loc[firsts.index.repeat(len(METRICS)), [*KEYS, *WAY]].reset_index(drop=True)
    table["metric"] = np.tile(METRICS, len(groups))
    table[["value", "low", "high"]] = samples.reshape(-1, 3)
    table[["members", "non_members"]] = counts.repeat(len(METRICS), axis=0)
    return table[RUN_COLUMNS]


def _weights(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
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


# Averages over runs ------------------------------------------------------------------------------


def student(values: pd.DataFrame, by: list[str], confidence: float) -> pd.DataFrame:
    """Mean and Student-t interval of `value` in each group: columns by, mean, low, high, n.

    As `statistics.mean_interval`, for thousands of groups at once; but where all values of a group
    are one and the same, the bounds are NaN: a few equal values are no evidence of certainty.
    """
    table = values.groupby(by, sort=False, dropna=False)["value"].agg(["mean", "std", "count"])
    table = table.rename(columns={"count": "n"}).reset_index()
    spread = table["std"].where(table["std"] > 1e-12 * table["mean"].abs())
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
        draws from one pool are not independent). above_control is the paired difference to the
        control on the same model and forget set; NaN where there is no control.
    """
    way = [*WAY, "metric"]
    pair = ["model", "forget_size", "seed", *way]
    control = runs.loc[runs["unlearner"] == "control", [*pair, "value"]]
    runs = arrange(runs, settings.models).merge(
        control, on=pair, how="left", suffixes=("", "_control")
    )
    runs["above"] = runs["value"] - runs["value_control"]
    columns = ["value", "value_control", "above"]
    cells = runs.groupby(["model", "forget_size", "unlearner", *way], sort=False)[columns]
    cells = cells.mean().reset_index()
    parts = [(cells.assign(model=ALL, forget_size=ALL), CELLS), (runs, DRAWS)]
    if cells[["model", "forget_size"]].drop_duplicates().shape[0] == 1:
        parts[0] = (runs.assign(model=ALL, forget_size=ALL), DRAWS)
    tables = []
    for values, counts in parts:
        by = ["model", "forget_size", "unlearner", *way]
        table = student(values, by, settings.confidence)
        for column, name in (("value_control", "control"), ("above", "above_control")):
            other = student(values[by].assign(value=values[column]), by, settings.confidence)
            prefix = name.removesuffix("_control")
            table[name] = other["mean"]
            table[f"{prefix}_low"], table[f"{prefix}_high"] = other["low"], other["high"]
        tables.append(table.assign(n_counts=counts))
    return pd.concat(tables, ignore_index=True)[TABLE_COLUMNS]


def learned_success(runs: pd.DataFrame) -> pd.DataFrame:
    """The learned attacker's AUC in the form of attack_runs.parquet, to stand beside the scores."""
    from unlearning.attacks.membership import RUN_COLUMNS as ATTACK_COLUMNS

    learned = runs[(runs["attack"] == "learned_attacker") & (runs["metric"] == "auc")]
    table = learned.assign(score="learned_" + learned["variant"], side="one")
    return table[ATTACK_COLUMNS]


# The most exposed --------------------------------------------------------------------------------


def standing_out(rows: pd.DataFrame) -> pd.DataFrame:
    """How far each forget-set sequence stands out under each attack that can give a reason.

    Args:
        rows: the suite's rows of one run.

    Returns:
        Columns sequence_id, why, score (the attack), value, distance: from the median of the
        unseen sequences, in their standard deviations; positive = more of it is given away.
    """
    parts = [pd.DataFrame(columns=["sequence_id", "why", "score", "value", "distance"])]
    for name, part in rows.groupby("attack", sort=False):
        first = part["variant"] == part["variant"].iloc[0]
        for measure, reason in attacks.load(name).REASONS.items():
            values = part[first & (part["measure"] == measure)]
            fixed = finite(values.loc[values["split"] == "unseen", "value"])
            members = values[values["split"] == "forget"].dropna(subset="value")
            spread = max(fixed.std(ddof=1), reason.least_spread) if len(fixed) > 1 else 0.0
            if spread > 0 and len(members):
                distance = (members["value"] - np.median(fixed)) / spread
                table = members[["sequence_id", "value"]]
                parts.append(table.assign(why=reason.text, score=name, distance=distance))
    return together(parts)


def black_box(run: pd.DataFrame) -> pd.DataFrame:
    """The same for the basic attack's scores of one run, in both directions.

    Args:
        run: rows of one run, as `with_scores` returns them.
    """
    members, _, reference = split_run(run)
    distances = distances_of(members, reference)
    parts = [pd.DataFrame(columns=["sequence_id", "why", "score", "value", "distance"])]
    for score, signed in distances.items():
        table = pd.DataFrame(
            {
                "sequence_id": members["sequence_id"],
                "why": np.where(signed > 0, "still memorized", "over-forgotten"),
                "score": score,
                "value": BLACK_BOX[score] * members[score],
                "distance": signed.abs(),
            }
        )
        parts.append(table[np.isfinite(table["distance"])])
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
        InputError: as `with_scores`, or a model without thresholds.
    """
    parts = [pd.DataFrame(columns=EXPOSED_COLUMNS)]
    suite = {key: part for key, part in rows.groupby(KEYS)}
    for key, run in with_scores(membership).groupby(KEYS, sort=True):
        found = [black_box(run), standing_out(suite[key])] if key in suite else [black_box(run)]
        found = [part for part in found if len(part)]
        if not found:
            continue
        table = pd.concat(found, ignore_index=True)
        table = table.sort_values(
            ["distance", "sequence_id"], ascending=[False, True], kind="stable"
        )
        best = table.drop_duplicates("sequence_id").head(settings.exposed)
        known = run.set_index("sequence_id")
        band = thresholds_of(thresholds, str(key[0])).calibrated
        ma = known.loc[best["sequence_id"], "raw_ma"].to_numpy(float)
        parts.append(
            best.rename(columns={"distance": "exposure"}).assign(
                **dict(zip(KEYS, key, strict=True)),
                rank=range(1, len(best) + 1),
                also=list(_other_reasons(best, table)),
                ma=ma,
                loss=known.loc[best["sequence_id"], "raw_loss"].to_numpy(float),
                band=np.select(
                    [band.under_forgotten(ma), band.over_forgotten(ma)],
                    ["under-forgotten", "over-forgotten"],
                    default="inside",
                ),
            )[EXPOSED_COLUMNS]
        )
    return together(parts)


def _other_reasons(best: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """For each of the best, its further reasons, strongest first."""
    strong = table[table["distance"] >= STANDS_OUT]
    for row in best.itertuples():
        own = strong[strong["sequence_id"] == row.sequence_id]["why"].drop_duplicates()
        yield "; ".join(why for why in own if why != row.why)
