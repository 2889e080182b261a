"""Learned attacker: a classifier over all scores of a sequence, cross-fitted.

The strongest membership test here, as it finds the direction in which unlearned sequences stand
out, whatever it is. As both tails count, every score stands twice among the features: as it is,
and as its distance from the median of the unseen "threshold" half on the same model, which needs no
label. The attacker knows for half of the candidates whether they were unlearned,
fits a logistic regression on them, and judges the other half; that is repeated over stratified
folds, and a sequence's value is its mean log-odds over the fits that had not seen it.

Two controls: the same attacker on the model that never saw the set, and the same attacker with
permuted labels, which says what cross-fitting on so few sequences finds in nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

TITLE = "learned attacker"
HEADLINE = ("log_odds", "auc")
UNIT = "AUC"
REASONS: dict[str, Reason] = {}  # log-odds have no direction that could be put in words
FEATURES = ("ma", "el", "loss", "suffix_loss", "verbatim_run", "min_k", "min_k_plus_plus")
"""What is measured of a sequence on the attacked model alone; used where both sides have it."""


@settings_class
class Settings:
    """How the attacker learns."""

    folds: int = Field(default=2, ge=2)
    """With 2, half of the labels are known."""

    repeats: int = Field(default=5, ge=1)
    """Divisions into folds, averaged over."""

    penalty: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty on standardised features (1/C of scikit-learn)."""

    permuted: bool = True
    """Also attack with permuted labels."""

    seed: int = Field(default=0, ge=0)
    """Seeds folds and permutations."""


def score(membership: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The attack on every run.

    Args:
        membership: rows per run and sequence, with the columns `FEATURES`.
        settings: how.

    Returns:
        Measure log_odds. Variants: black_box, features of the attacked model alone; with_original,
        their changes against the original model as well (which give away even a model that never
        saw the set); and each of them "_permuted". Sequences without a finite feature, and runs
        with fewer members or non-members than folds, have NaN.

    Raises:
        InputError: a feature is missing.
    """
    import pandas as pd

    from unlearning.attacks.membership import on_both_sides

    missing = [name for name in FEATURES if name not in membership]
    if missing:
        raise InputError(f"membership: no column '{missing[0]}'; score the sequences again")
    keys = ["model", "forget_size", "unlearner", "seed"]
    join = ["model", "forget_size", "seed", "sequence_id"]
    features = on_both_sides(membership, FEATURES)
    original = membership.loc[membership["unlearner"] == "original", [*join, *features]]
    fixed = membership[membership["half"] == "threshold"].groupby(keys)[features].median()
    chosen = membership[(membership["split"] == "forget") | (membership["half"] == "attack")]
    table = chosen.merge(original, on=join, how="left", suffixes=("", "_original"))
    table = table.merge(fixed, on=keys, how="left", suffixes=("", "_fixed"))
    parts = []
    for key, run in table.groupby(keys, sort=True):
        own = run[features].to_numpy(float)
        changes = own - run[[f"{name}_original" for name in features]].to_numpy(float)
        centre = run[[f"{name}_fixed" for name in features]].to_numpy(float)
        black_box = np.concatenate([own, np.abs(own - centre)], axis=1)
        member = (run["split"] == "forget").to_numpy()
        generator = np.random.default_rng([settings.seed, crc32("/".join(map(str, key)).encode())])
        for variant, columns in (
            ("black_box", black_box),
            ("with_original", np.concatenate([black_box, changes], axis=1)),
        ):
            labels = {variant: member}
            if settings.permuted:
                labels[f"{variant}_permuted"] = generator.permutation(member)
            values = cross_fitted(columns, np.stack([*labels.values()]), settings, generator)
            for (name, label), value in zip(labels.items(), values, strict=True):
                # those of permuted members stand where the true members are
                ordered = np.empty_like(value)
                ordered[member], ordered[~member] = value[label], value[~label]
                part = run[[*keys, "sequence_id", "split", "half"]]
                parts.append(part.assign(variant=name, measure="log_odds", value=ordered))
    return pd.concat(parts, ignore_index=True)


def cross_fitted(
    features: np.ndarray, labels: np.ndarray, settings: Settings, generator: np.random.Generator
) -> np.ndarray:
    """(L, N) mean log-odds of each sequence over the fits that had not seen it.

    Args:
        features: (N, d); rows that are not finite take no part and have NaN.
        labels: (L, N) bool, each a labelling of its own.
        settings: folds, repeats, penalty.
        generator: draws the folds.
    """
    values = np.full(labels.shape, np.nan)
    used = np.isfinite(features).all(axis=1)
    for value, label in zip(values, labels[:, used], strict=True):
        if min(label.sum(), (~label).sum()) < settings.folds:
            return values
        fold = np.stack(
            [folds_of(label, settings.folds, generator) for _ in range(settings.repeats)]
        )
        judged = np.concatenate([fold == number for number in range(settings.folds)])
        odds = log_odds(features[used], label, ~judged, settings.penalty)
        value[used] = (odds * judged).sum(axis=0) / settings.repeats
    return values


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
        odds = np.einsum("fnd,fd->fn", design, theta)
        losses = np.logaddexp(0.0, np.where(label, -odds, odds))
        return (weight * losses).sum(axis=1) + 0.5 * (theta @ ridge * theta).sum(axis=1)

    theta = np.zeros((len(known), design.shape[2]))
    value = objective(theta)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.einsum("fnd,fd->fn", design, theta)))
        slope = np.einsum("fnd,fn->fd", design, weight * (chance - label)) + theta @ ridge
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
    return np.einsum("fnd,fd->fn", design, theta)
