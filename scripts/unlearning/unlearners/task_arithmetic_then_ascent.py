"""TA→SGA (ours): the task vector brings the mean down, selective ascent the last outliers."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.limits import at_least
from unlearning.settings import settings_class
from unlearning.unlearners.selective_gradient_ascent import select
from unlearning.unlearners.task_arithmetic import edit

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request


RETAIN_KINDS = ("kl",)  # trained on, text to keep would become part of what is subtracted


@settings_class
class Settings:
    """The two phases, in the reverse order of TAU."""

    k: float = Field(default=-3.0, lt=0)
    """Factor on the task vector."""

    gamma: float | None = None
    """Selection threshold of the ascent; None is the upper end of the acceptable band."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Edit until the mean g is below the forgetting threshold, then SGA on what still stands out.

    The order matters: what the arithmetic leaves behind are single memorized sequences, which is
    what selective ascent removes; in the released order the arithmetic has the last word.
    """
    gamma = request.band.high if settings.gamma is None else settings.gamma
    g = yield "before"
    edits = edit(learner, request, settings.k)
    while at_least(g.mean(), request.threshold):
        g = yield next(edits)
    learner.restart()
    while True:
        learner.ascend(request.forget[select(g, gamma)])
        g = yield "ascent"
