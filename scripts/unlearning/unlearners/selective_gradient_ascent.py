"""SGA: gradient ascent on the sequences that are still memorized (the paper's first proposal)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from unlearning.limits import at_least
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request

PASSES = 1.5  # on about half of the set


@settings_class
class Settings:
    """What to select."""

    gamma: float | None = 0.70
    """Sequences with g >= gamma are pushed; published 0.70. None stands for the upper end of the
    acceptable band, which is our per-sequence variant."""


def select(g: np.ndarray, gamma: float) -> np.ndarray:
    """Indices of the sequences with g >= gamma, and always of the most memorized one.

    The selection is over the whole forget set. (The released code selects inside each GPU's share
    of the batch, so that it pushes one more sequence per GPU.) Of equally memorized ones the first
    counts as the most memorized.

    Args:
        g: memorization of each sequence, (F,).
        gamma: the selection threshold.

    Returns:
        Ascending indices, at least one.
    """
    chosen = at_least(g, gamma)
    chosen[np.argmax(g)] = True
    return np.flatnonzero(chosen)


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one ascent step on the selected sequences, selected anew by the latest g."""
    gamma = request.band.high if settings.gamma is None else settings.gamma
    g = yield "before"
    while True:
        learner.ascend(request.forget[select(g, gamma)])
        g = yield "ascent"
