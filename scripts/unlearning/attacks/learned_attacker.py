"""Learned attacker: a classifier over all scores of a sequence, cross-fitted.

It finds the direction in which unlearned sequences stand out, whatever it is. As both tails count,
every score stands twice among the features (`cross_fitting`). With the default of two folds the
attacker knows for half of the candidates whether they were unlearned, and judges the other half.

Two controls: the same attacker on the model that never saw the set, and the same attacker with
permuted labels, which says what cross-fitting on so few sequences finds in nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearning.attacks import Reason
from unlearning.attacks.cross_fitting import FitSettings, judged_runs
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
class Settings(FitSettings):
    """How the attacker learns."""

    permuted: bool = True
    """Also attack with permuted labels."""


def score(membership: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The attack on every run.

    Args:
        membership: rows per run and sequence, with the columns `FEATURES`.
        settings: how.

    Returns:
        Measure log_odds. Variants: black_box, features of the attacked model alone; with_original,
        their changes against the original model as well (which give away even a model that never
        saw the set); and each of them "_permuted". NaN and draws as in `judged_runs`.

    Raises:
        InputError: a feature is missing.
    """
    return judged_runs(
        membership, FEATURES, settings, with_original=True, permuted=settings.permuted
    )
