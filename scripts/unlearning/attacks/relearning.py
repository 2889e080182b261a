"""Relearning: after a few steps on part of the forget set, how much of the rest returns?

Knowledge that was hidden rather than removed comes back when the model is trained on something
related (Hu et al. 2024, arXiv 2406.13356). The forget set is cut into folds; each is held out in
turn while the model takes a few steps of descent on the others. What counts is the held-out fold,
so every sequence is measured once. Training moves unseen sequences too, and a model that never saw
the set learns its form as well: the same attack on both is the control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

    from unlearning.attacks.target import Target

PER_FORGET_SET = True
TITLE = "relearning"
HEADLINE = ("ma_rise", "difference")
UNIT = "rise of MA, forget − unseen"
REASONS = {"ma_rise": Reason("relearned", 0.02)}


@settings_class
class Settings:
    """How an attacker trains."""

    steps: int = Field(default=10, ge=1)
    """Optimizer steps, each on all sequences that are not held out."""

    folds: int = Field(default=2, ge=2)
    """Parts of the forget set, each held out in turn. With 2, half of the set is relearned."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Adam's; null takes the rate of the model's unlearning."""

    seed: int = Field(default=0, ge=0)
    """Seeds the folds."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "<steps>_steps". Measures: ma, after relearning; ma_rise and loss_fall (nats per
        token), against the model before. Forget-set sequences while held out, unseen ones as the
        mean over folds. NaN for a set of one sequence, which has no rest.
    """
    from unlearning.memorization.scoring import ma_and_loss
    from unlearning.unlearners.learner import Learner

    rate = settings.learning_rate or target.settings.learning_rate
    members = np.flatnonzero(target.forget)
    members = np.random.default_rng(settings.seed).permutation(members)
    unseen = np.flatnonzero(~target.forget)
    ma_before, loss_before = ma_and_loss(target.model, target.tokens)
    ma, loss = np.full((2, len(target.ids)), np.nan)
    ma[unseen] = loss[unseen] = 0.0
    folds = np.array_split(members, min(settings.folds, len(members)))
    for held_out in folds if len(folds) > 1 else ():
        learner = Learner(
            target.model, rate, target.settings.micro_batch, offload=target.settings.offload
        )
        kept = learner.weights()
        part = np.setdiff1d(members, held_out)
        for _ in range(settings.steps):
            learner.descend(target.tokens[part])
        judged = np.concatenate([held_out, unseen])
        ma_after, loss_after = ma_and_loss(target.model, target.tokens[judged])
        learner.assign(kept)
        count = len(held_out)
        ma[held_out], loss[held_out] = ma_after[:count], loss_after[:count]
        ma[unseen] += ma_after[count:] / len(folds)
        loss[unseen] += loss_after[count:] / len(folds)
    if len(folds) < 2:
        ma[:] = loss[:] = np.nan
    return target.rows(
        f"{settings.steps}_steps", ma_rise=ma - ma_before, ma=ma, loss_fall=loss_before - loss
    )
