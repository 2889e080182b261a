"""Token-level learned attacker: the learned attacker with the shape of the token scores as well.

Unlearning that brings every average back to where unseen text has it may leave a shape that no
natural text has: a few impossible tokens among easy ones, a beginning that is still known. So the
features are those of the learned attacker and, beside them, the predictive entropy, quantiles and
spread of the token log-probabilities, the smallest and largest of them, and the loss of the first
tokens; fitted and judged in the same way (`cross_fitting`), beside the same two controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearning.attacks import Reason, learned_attacker
from unlearning.attacks.cross_fitting import FitSettings, judged_runs
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

TITLE = "token-level attacker"
HEADLINE = ("log_odds", "auc")
UNIT = "AUC"
REASONS: dict[str, Reason] = {}  # log-odds have no direction that could be put in words
TOKEN_PROFILE = (
    "entropy",
    "entropy_spread",
    "log_prob_min",
    "log_prob_q10",
    "log_prob_q25",
    "log_prob_median",
    "log_prob_q75",
    "log_prob_q90",
    "log_prob_max",
    "log_prob_spread",
    "head_loss",
)
"""What is measured of a sequence's tokens (`TokenScores.token_profile`), in nats."""
FEATURES = (*learned_attacker.FEATURES, *TOKEN_PROFILE)


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
        Measure log_odds, variants black_box and black_box_permuted; NaN and draws as in
        `judged_runs`.

    Raises:
        InputError: a feature is missing.
    """
    return judged_runs(
        membership, FEATURES, settings, with_original=False, permuted=settings.permuted
    )
