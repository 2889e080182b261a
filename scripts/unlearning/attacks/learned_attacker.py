"""Learned attacker: a classifier over all scores of a sequence, cross-fitted.

The strongest membership test here, as it finds the direction in which unlearned sequences stand
out, whatever it is. The attacker knows for half of the candidates whether they were unlearned,
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
from unlearning.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

TITLE = "learned attacker"
HEADLINE = ("log_odds", "auc")
UNIT = "AUC"
REASONS: dict[str, Reason] = {}  # log-odds have no direction that could be put in words
FEATURES = ("ma", "el", "loss", "suffix_loss", "verbatim_run", "min_k", "min_k_plus_plus")
"""What is measured of every sequence on the attacked model alone."""


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

    missing = [name for name in FEATURES if name not in membership]
    if missing:
        raise InputError(f"membership: no column '{missing[0]}'; score the sequences again")
    keys = ["model", "forget_size", "unlearner", "seed"]
    join = ["model", "forget_size", "seed", "sequence_id"]
    features = list(FEATURES)
    original = membership.loc[membership["unlearner"] == "original", [*join, *features]]
    chosen = membership[(membership["split"] == "forget") | (membership["half"] == "attack")]
    table = chosen.merge(original, on=join, how="left", suffixes=("", "_original"))
    parts = []
    for key, run in table.groupby(keys, sort=True):
        own = run[features].to_numpy(float)
        changes = own - run[[f"{name}_original" for name in features]].to_numpy(float)
        member = (run["split"] == "forget").to_numpy()
        generator = np.random.default_rng([settings.seed, crc32("/".join(map(str, key)).encode())])
        for variant, columns in (
            ("black_box", own),
            ("with_original", np.concatenate([own, changes], axis=1)),
        ):
            found = {variant: cross_fitted(columns, member, settings, generator)}
            if settings.permuted:
                shuffled = generator.permutation(member)
                values = cross_fitted(columns, shuffled, settings, generator)
                found[f"{variant}_permuted"] = as_labelled(values, shuffled, member)
            parts += [
                run[[*keys, "sequence_id", "split", "half"]].assign(
                    variant=name, measure="log_odds", value=values
                )
                for name, values in found.items()
            ]
    return pd.concat(parts, ignore_index=True)


def as_labelled(values: np.ndarray, shuffled: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Values reordered so that those of permuted members stand where the true members are."""
    ordered = np.empty_like(values)
    ordered[member], ordered[~member] = values[shuffled], values[~shuffled]
    return ordered


def cross_fitted(
    features: np.ndarray, member: np.ndarray, settings: Settings, generator: np.random.Generator
) -> np.ndarray:
    """(N,) mean log-odds of each sequence over the fits that had not seen it.

    Args:
        features: (N, d); rows that are not finite take no part.
        member: (N,) bool.
        settings: folds, repeats, penalty.
        generator: draws the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import RepeatedStratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = np.full(len(features), np.nan)
    used = np.isfinite(features).all(axis=1)
    x, y = features[used], member[used]
    if min(y.sum(), (~y).sum()) < settings.folds:
        return values
    folds = RepeatedStratifiedKFold(
        n_splits=settings.folds,
        n_repeats=settings.repeats,
        random_state=int(generator.integers(2**31)),
    )
    odds = np.zeros(len(x))
    for known, judged in folds.split(x, y):
        # few members among many: balanced weights keep the intercept from swallowing them
        attacker = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=1 / settings.penalty, class_weight="balanced", solver="newton-cholesky"
            ),
        )
        odds[judged] += attacker.fit(x[known], y[known]).decision_function(x[judged])
    values[used] = odds / settings.repeats
    return values
