"""Membership attack: which of these sequences was the model made to forget?

The paper names its attack MIAU; its definition was not available to us, so this attack is ours
and is labelled so wherever its numbers stand. An observer queries the unlearned model (black box:
log-probabilities), has candidate sequences, some unlearned, some never seen in training, and must
tell which were unlearned. Members are the forget set, non-members the unseen "attack" half, all
scored on the same unlearned model.

Scores, oriented so that higher means more member-like:

- ma, el, loss (negated), min_k, min_k_plus_plus: the unlearned model alone (black box). In their
  natural direction, memorized = member. A score that was not measured of both sides is none
  (`on_both_sides`); by default that is el, which is not measured of unseen sequences.
- loss_change (rise of the loss), ma_change (fall of MA): a stronger observer compares with the
  original model; the more a sequence's score moved, the more member-like. No unlearner can answer
  this one: a model that truly never saw the forget set differs from the original on it too. So
  these two are reported, but the headline number (`WORST_CASE`) is over the black box alone.

Sides: "one" uses a score in its natural direction. "two" uses the distance from the median of the
unseen "threshold" half on the same model, so that an over-forgotten sequence gives itself away as
much as a memorized one.

The threshold half is not resampled in the bootstrap: the observer's reference stays fixed.
"""

from collections.abc import Iterable
from zlib import crc32

import numpy as np
import pandas as pd

from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import (
    percentile_interval,
    proportion_interval,
    resample_indices,
    resample_weights,
)

KEYS = ["model", "forget_size", "unlearner", "seed"]
BLACK_BOX = {"ma": 1.0, "el": 1.0, "loss": -1.0, "min_k": 1.0, "min_k_plus_plus": 1.0}
"""Scores of the unlearned model alone, with the sign that makes memorized = high."""
CHANGES = {"loss_change": ("loss", 1.0), "ma_change": ("ma", -1.0)}
"""Changes against the original model: the column that changes and the sign of a member's change."""
SCORES = (*BLACK_BOX, *CHANGES)
SIDES = ("one", "two")
METRICS = ("auc", "tpr_at_1", "tpr_at_5", "balanced_accuracy")
FALSE_POSITIVE_RATES = {"tpr_at_1": 0.01, "tpr_at_5": 0.05}
EXTRACTION = "extraction"
RUN_COLUMNS = [*KEYS, "score", "side", "metric", "value", "low", "high", "members", "non_members"]


def attack_metrics(
    members: np.ndarray,
    non_members: np.ndarray,
    member_weights: np.ndarray,
    non_member_weights: np.ndarray,
) -> dict[str, np.ndarray]:
    """AUC, TPR at 1 % and 5 % FPR, best balanced accuracy, for many resamples at once.

    A sequence is called a member when its score is at least a threshold; the thresholds are the
    scores that occur. The TPR at a false positive rate is that of the last threshold that does not
    exceed the rate, without interpolation: with 128 non-members, 1 % allows one false positive.
    Equal scores count half in the AUC.

    Args:
        members: scores, higher = more member-like, (N,), finite.
        non_members: scores, (M,), finite.
        member_weights: how often each member occurs in each resample, (B, N) integers.
        non_member_weights: the same for non-members, (B, M).

    Returns:
        Keys of `METRICS`, each (B,).
    """
    thresholds = np.unique(np.concatenate([members, non_members]))[::-1]
    positives = _counts_at(thresholds, members, member_weights)
    negatives = _counts_at(thresholds, non_members, non_member_weights)
    n, m = positives[-1], negatives[-1]
    area = np.sum(np.diff(negatives, axis=0) * (positives[1:] + positives[:-1]), axis=0) / 2
    metrics = {"auc": area / (n * m)}
    for name, rate in FALSE_POSITIVE_RATES.items():
        allowed = negatives <= rate * m + 1e-9
        metrics[name] = np.max(positives * allowed, axis=0) / n
    metrics["balanced_accuracy"] = np.max(positives / n - negatives / m, axis=0) / 2 + 0.5
    return metrics


def _counts_at(thresholds: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted number of scores >= each falling threshold, after a first 0, (K + 1, B)."""
    order = np.argsort(-scores, kind="stable")
    cumulative = np.zeros((len(scores) + 1, len(weights)), dtype=np.int64)
    np.cumsum(weights.T[order], axis=0, out=cumulative[1:])
    reached = np.searchsorted(-scores[order], -thresholds, side="right")
    return cumulative[np.concatenate([[0], reached])]


def roc_points(members: np.ndarray, non_members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([members, non_members]))[::-1]
    ones = np.ones((1, len(members)), dtype=int), np.ones((1, len(non_members)), dtype=int)
    true = _counts_at(thresholds, members, ones[0])[:, 0] / len(members)
    false = _counts_at(thresholds, non_members, ones[1])[:, 0] / len(non_members)
    return false, true


def with_scores(membership: pd.DataFrame) -> pd.DataFrame:
    """Add the changes against the original model, and orient every score: higher = member.

    Returns:
        The table with the columns `SCORES` oriented; `raw_ma` and `raw_loss` keep the originals.

    Raises:
        InputError: a column is missing, or a run has no rows of the original model to join.
    """
    needed = [*KEYS, "sequence_id", "split", "half", *BLACK_BOX, "extracted"]
    missing = [column for column in needed if column not in membership]
    if missing:
        raise InputError(f"membership: no column '{missing[0]}'; score the sequences again")
    join = ["model", "forget_size", "seed", "sequence_id"]
    original = membership.loc[membership["unlearner"] == "original", [*join, "ma", "loss"]]
    table = membership.merge(
        original, on=join, how="left", suffixes=("", "_original"), indicator=True, validate="m:1"
    )
    alone = table["_merge"] != "both"
    if alone.any():
        row = table[alone].iloc[0]
        raise InputError(
            f"membership: no row of the original model for model '{row['model']}', forget_size"
            f" {row['forget_size']}, seed {row['seed']}, sequence '{row['sequence_id']}';"
            " score the original on the same sequences"
        )
    for name, (column, sign) in CHANGES.items():
        table[name] = sign * (table[column] - table[f"{column}_original"])
    table["raw_ma"], table["raw_loss"] = table["ma"], table["loss"]
    for name, sign in BLACK_BOX.items():
        table[name] = sign * table[name]
    return table.drop(columns=["_merge", "ma_original", "loss_original"])


def split_run(run: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Members, non-members, and the reference (the unseen "threshold" half) of one run."""
    unseen = run["split"] == "unseen"
    return (
        run[run["split"] == "forget"],
        run[unseen & (run["half"] == "attack")],
        run[unseen & (run["half"] == "threshold")],
    )


def on_both_sides(membership: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of the scores that can tell members from non-members, in the given order.

    That is, with a finite value of some forget-set and of some unseen "attack" sequence, in any
    run. Where all runs diverged nothing has, and all are kept, so that the loss stays visible.

    Args:
        membership: one row per run and sequence.
        names: columns.
    """
    names = list(names)
    sides = (membership["split"] == "forget", membership["half"] == "attack")
    both = [name for name in names if all(finite(membership.loc[s, name]).size for s in sides)]
    return both or names


def finite(values: pd.Series) -> np.ndarray:
    """The finite values of a column, float64."""
    values = values.to_numpy(dtype=float)
    return values[np.isfinite(values)]


def attack_run(
    run: pd.DataFrame, settings: AttackSettings, scores: Iterable[str] = SCORES
) -> list[dict]:
    """All metrics of all scores and sides of one run, with stratified bootstrap intervals.

    Args:
        run: the rows of one run, as `with_scores` returns them.
        settings: resamples, confidence, seed.
        scores: which of `SCORES`.

    Returns:
        One dict per score, side and metric: value, low, high, and how many members and
        non-members had a finite score. Where either is none (a diverged run), NaN.
    """
    key = "/".join(str(run[name].iloc[0]) for name in KEYS)
    generator = np.random.default_rng([settings.seed, crc32(key.encode())])
    members, non_members, reference = split_run(run)
    weights: dict[tuple[str, int], np.ndarray] = {}

    def weights_of(n: int, group: str) -> np.ndarray:
        # one set of resamples for all scores of a run; the first row is the sample itself
        if (group, n) not in weights:
            drawn = resample_weights(resample_indices(n, settings.resamples, generator))
            weights[group, n] = np.concatenate([np.ones((1, n), dtype=drawn.dtype), drawn])
        return weights[group, n]

    rows = []
    for score in scores:
        inside, outside, fixed = (finite(t[score]) for t in (members, non_members, reference))
        for side in SIDES:
            counts = {"members": len(inside), "non_members": len(outside)}
            if not len(inside) or not len(outside) or (side == "two" and not len(fixed)):
                empty = dict.fromkeys(("value", "low", "high"), np.nan)
                rows += [
                    {"score": score, "side": side, "metric": metric} | empty | counts
                    for metric in METRICS
                ]
                continue
            centre = np.median(fixed) if side == "two" else None
            metrics = attack_metrics(
                inside if centre is None else np.abs(inside - centre),
                outside if centre is None else np.abs(outside - centre),
                weights_of(len(inside), "members"),
                weights_of(len(outside), "non-members"),
            )
            for metric, values in metrics.items():
                low, high = percentile_interval(values[1:], settings.confidence)
                found = {"value": float(values[0]), "low": low, "high": high}
                rows.append({"score": score, "side": side, "metric": metric} | found | counts)
    return rows + _extraction(members, non_members, settings.confidence)


def _extraction(members: pd.DataFrame, non_members: pd.DataFrame, confidence: float) -> list[dict]:
    """Rates of verbatim greedy extraction, Wilson intervals: of members and of non-members."""
    counts = {}
    rates = {}
    for metric, group in (("rate", members), ("rate_unseen", non_members)):
        # a diverged run emitted nothing that could be judged: its scores are NaN
        judged = group.loc[np.isfinite(group["loss"].to_numpy(dtype=float)), "extracted"].dropna()
        rates[metric] = proportion_interval(int(judged.sum()), len(judged), confidence)
        counts["members" if metric == "rate" else "non_members"] = len(judged)
    return [
        {"score": EXTRACTION, "side": "one", "metric": metric}
        | {"value": rate.mean, "low": rate.low, "high": rate.high}
        | counts
        for metric, rate in rates.items()
    ]


def attack_all(membership: pd.DataFrame, settings: AttackSettings) -> pd.DataFrame:
    """Attack every run, the original and the control model included.

    Args:
        membership: one row per run and sequence, with the raw scores.
        settings: how.

    Returns:
        Columns `RUN_COLUMNS`, one row per run, score, side and metric. Scores are those of `SCORES`
        that were measured of both sides, and "extraction" with the metrics rate (of the forget set)
        and rate_unseen.

    Raises:
        InputError: as `with_scores`.
    """
    rows = []
    table = with_scores(membership)
    scores = on_both_sides(table, SCORES)
    for key, run in table.groupby(KEYS, sort=True):
        found = attack_run(run, settings, scores)
        rows += [dict(zip(KEYS, key, strict=True)) | row for row in found]
    return pd.DataFrame(rows, columns=RUN_COLUMNS)
