"""Shrink and perturb: give up most of what the weights hold, and train on text to keep.

Every matrix is mixed with noise of its own spread s,

    w <- (1 - noise) w + noise s e,    e standard normal,

as Ash and Adams 2020 (arXiv 1910.08475) do before a model is trained further, and Lee et al. 2025
(arXiv 2506.06278) before it is taught by an unlearned one; then training goes on with the loss of
text to keep. No sequence is looked at, neither those to be forgotten nor unseen ones: what the text
does not hold is not learned again. That goes for everything else that had been memorized, too.

`noise` and `steps` are the way from the original to a model that is trained anew on that text, and
as long: the more is given up, the less is left to be found, and the more there is to learn.

The model that teaches in Lee et al. is left out: an original's predictions give the set away even
on text that does not hold it (docs/twin.md has what that gave).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.settings import settings_class
from unlearning.unlearners.twin import schedule

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request

ENDS = True
NEEDS_RETAIN = True
ALL_WEIGHTS = True
PASSES = 0
ROWS_BESIDE = ("rows",)


@settings_class
class Settings:
    """How much to give up, and how long to train."""

    noise: float = Field(default=0.7, gt=0, le=1)
    """Share of every matrix that is noise before training goes on."""

    steps: int = Field(default=600, ge=1)
    """Steps of a run, which ends after them, whatever `unlearning.max_epochs` is."""

    rows: int = Field(default=16, ge=1)
    """Rows of text to keep in a step; they are gone through in an order drawn by the run's seed."""

    rate: float = Field(default=8.0, gt=0)
    """Highest learning rate, as a multiple of `unlearning.learning_rate`: linear warm-up, then a
    cosine down to a twentieth."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, str]:
    """Mix, then one step on text to keep each epoch, for a fixed number of steps.

    Raises:
        InputError: there are no rows to retain.
    """
    from unlearning.unlearners.retain import draw

    batches = draw(request, settings.rows)
    peak = settings.rate * learner.learning_rate
    yield "before"
    learner.perturb(settings.noise, request.seed)
    for step in range(settings.steps):
        learner.learning_rate = peak * schedule(step, settings.steps)
        learner.descend(request.retain[next(batches)])
        if step + 1 < settings.steps:
            yield "training"
    return "training"
