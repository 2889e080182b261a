"""Cross-fitting: what a logistic regression finds in scores of sequences that it has not seen.

The shared part of the learned attackers. An attacker knows for some of the candidates whether they
were unlearned, fits a logistic regression on them, and judges the others; every candidate is judged
by fits that had not seen it. How the candidates are divided is chance, so it is done many times. A
sequence's value is its mean log-odds over the divisions, and the log-odds of the single divisions
stay beside it, so that the analysis can say how far the divisions alone move a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

KEYS = ["model", "forget_size", "unlearner", "seed"]


@settings_class
class FitSettings:
    """How a learned attacker learns."""

    folds: int = Field(default=2, ge=2)
    """With 2, half of the labels are known."""

    repeats: int = Field(default=20, ge=2)
    """Divisions into folds, averaged over; their spread is told from two on. With 20 the standard
    deviation that they cause is below a fifth of the interval of an AUC."""

    penalty: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty on standardised features (1/C of scikit-learn)."""

    seed: int = Field(default=0, ge=0)
    """Seeds folds and permutations."""


def judged_runs(
    membership: pd.DataFrame,
    features: Sequence[str],
    settings: FitSettings,
    *,
    with_original: bool,
    permuted: bool,
) -> pd.DataFrame:
    """Cross-fitted log-odds of every candidate of every run, from columns of the scores.

    Every feature stands twice: as it is, and as its distance from the median of the unseen
    "threshold" half on the same model, which needs no label.

    Args:
        membership: rows per run and sequence, with the columns `features`.
        features: what the attacker looks at; one that was not measured of both sides is left out.
        settings: how it learns.
        with_original: also a variant whose features are the changes against the original model too.
        permuted: also every variant with permuted labels, named "<variant>_permuted".

    Returns:
        Keys, sequence_id, split, half, variant (black_box, with_original, ...), measure log_odds,
        value, and draws: the log-odds of each division, (repeats,) float32. Sequences without a
        finite feature, and runs with fewer members or non-members than folds, have NaN.

    Raises:
        InputError: a feature is missing.
    """
    import pandas as pd

    from unlearning.attacks.membership import on_both_sides

    missing = [name for name in features if name not in membership]
    if missing:
        raise InputError(f"membership: no column '{missing[0]}'; score the sequences again")
    features = on_both_sides(membership, features)
    join = ["model", "forget_size", "seed", "sequence_id"]
    original = membership.loc[membership["unlearner"] == "original", [*join, *features]]
    fixed = membership[membership["half"] == "threshold"].groupby(KEYS)[features].median()
    chosen = membership[(membership["split"] == "forget") | (membership["half"] == "attack")]
    table = chosen.merge(original, on=join, how="left", suffixes=("", "_original"))
    table = table.merge(fixed, on=KEYS, how="left", suffixes=("", "_fixed"))
    parts = []
    for key, run in table.groupby(KEYS, sort=True):
        own = run[features].to_numpy(float)
        centre = run[[f"{name}_fixed" for name in features]].to_numpy(float)
        variants = {"black_box": with_distances(own, centre)}
        if with_original:
            changes = own - run[[f"{name}_original" for name in features]].to_numpy(float)
            both = np.concatenate([variants["black_box"], changes], axis=1)
            variants["with_original"] = both
        member = (run["split"] == "forget").to_numpy()
        generator = np.random.default_rng([settings.seed, crc32("/".join(map(str, key)).encode())])
        known = run[[*KEYS, "sequence_id", "split", "half"]].assign(measure="log_odds")
        for variant, columns in variants.items():
            found = cross_fitted(columns, member, settings, generator, permuted=permuted)
            for suffix, odds in found.items():
                parts.append(
                    known.assign(
                        variant=variant + suffix,
                        value=odds.mean(axis=0),
                        draws=[*odds.T.astype(np.float32)],
                    )
                )
    return pd.concat(parts, ignore_index=True)


def with_distances(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(N, 2d) each of d features, and its distance from a centre: both tails may give away."""
    return np.concatenate([features, np.abs(features - centre)], axis=1)


def cross_fitted(
    features: np.ndarray,
    member: np.ndarray,
    settings: FitSettings,
    generator: np.random.Generator,
    *,
    permuted: bool = False,
) -> Mapping[str, np.ndarray]:
    """Log-odds of each sequence, division by division, by the fits that had not seen it.

    Args:
        features: (N, d); rows that are not finite take no part and have NaN.
        member: (N,) bool.
        settings: folds, repeats, penalty.
        generator: draws folds and permutation.
        permuted: also with permuted labels; what was found of the permuted members stands where
            the true members are.

    Returns:
        "" -> (repeats, N), and with `permuted` "_permuted" -> the same.
    """
    labels = {"": member}
    if permuted:
        labels["_permuted"] = generator.permutation(member)
    used = np.isfinite(features).all(axis=1)
    found = {}
    for name, label in labels.items():
        odds = np.full((settings.repeats, len(member)), np.nan)
        if min(label[used].sum(), (~label[used]).sum()) >= settings.folds:
            odds[:, used] = divided(features[used], label[used], settings, generator)
        found[name] = np.empty_like(odds)
        found[name][:, member], found[name][:, ~member] = odds[:, label], odds[:, ~label]
    return found


def divided(
    features: np.ndarray, label: np.ndarray, settings: FitSettings, generator: np.random.Generator
) -> np.ndarray:
    """(repeats, N) log-odds of finite features; both classes have at least `folds` sequences."""
    fold = np.stack([folds_of(label, settings.folds, generator) for _ in range(settings.repeats)])
    judged = np.stack([fold == number for number in range(settings.folds)])
    flat = judged.reshape(-1, len(label))
    odds = log_odds(features, label, ~flat, settings.penalty).reshape(judged.shape)
    return (odds * judged).sum(axis=0)


def folds_of(label: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """(N,) fold of each sequence, members and non-members spread evenly."""
    fold = np.empty(len(label), dtype=int)
    for group in (np.flatnonzero(label), np.flatnonzero(~label)):
        fold[generator.permutation(group)] = np.arange(len(group)) % folds
    return fold


def log_odds(
    features: np.ndarray, label: np.ndarray, known: np.ndarray, penalty: float
) -> np.ndarray:
    """Log-odds by many logistic regressions at once, each fitted on some of the sequences.

    Features are standardised on what is known, classes weigh the same, the intercept is free: what
    scikit-learn's pipeline of StandardScaler and LogisticRegression(C=1/penalty,
    class_weight="balanced") does. That takes milliseconds a fit, of which an analysis has
    thousands; Newton's method on all fits together takes less for all. The tests hold them equal.

    Args:
        features: (N, d), finite.
        label: (N,) bool, both classes known in each fit.
        known: (F, N) bool, the sequences that each fit sees.
        penalty: of half the squared coefficients.

    Returns:
        (F, N) for all sequences, seen or not.
    """
    from scipy.special import expit

    size = known.sum(axis=1)[:, None, None]
    mean = (known[:, :, None] * features).sum(axis=1, keepdims=True) / size
    centred = features - mean
    spread = np.sqrt((known[:, :, None] * centred**2).sum(axis=1, keepdims=True) / size)
    rounding = 1e-12 * np.abs(mean)  # a feature that does not vary says nothing
    scaled = centred / np.where(spread > rounding, spread, 1.0)
    design = np.concatenate([np.ones((*scaled.shape[:2], 1)), scaled], axis=2)
    members = (known & label).sum(axis=1, keepdims=True)
    others = known.sum(axis=1, keepdims=True) - members
    weight = known * np.where(label, 0.5 / members, 0.5 / others) * known.sum(axis=1, keepdims=True)
    ridge = np.diag([0.0, *[penalty] * features.shape[1]])

    def objective(theta: np.ndarray) -> np.ndarray:
        odds = (design @ theta[:, :, None])[:, :, 0]
        losses = np.logaddexp(0.0, np.where(label, -odds, odds))
        return (weight * losses).sum(axis=1) + 0.5 * (theta @ ridge * theta).sum(axis=1)

    theta = np.zeros((len(known), design.shape[2]))
    value = objective(theta)
    for _ in range(100):
        chance = expit((design @ theta[:, :, None])[:, :, 0])
        slope = ((weight * (chance - label))[:, None] @ design)[:, 0] + theta @ ridge
        if np.abs(slope).max() < 1e-9:
            break
        bend = (design * (weight * chance * (1 - chance))[:, :, None]).transpose(0, 2, 1) @ design
        step = np.linalg.solve(bend + ridge, slope[:, :, None])[:, :, 0]
        length = np.ones(len(known))
        for _ in range(30):  # halve the steps that overshoot
            tried = objective(theta - length[:, None] * step)
            over = tried > value + 1e-12 * np.abs(value)
            if not over.any():
                break
            length[over] /= 2
        theta, value = theta - length[:, None] * step, tried
    return (design @ theta[:, :, None])[:, :, 0]
