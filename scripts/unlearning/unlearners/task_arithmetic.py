"""TA: subtract the task vector of knowing the forget set (task arithmetic, as released)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.limits import at_least
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request


RETAIN_KINDS = ("kl",)  # trained on, text to keep would become part of what is subtracted


@settings_class
class Settings:
    """The edit, and the ascent before it."""

    k: float = Field(default=-3.0, lt=0)
    """The factor on the task vector; released -3."""

    ascend_until: float | None = 0.90
    """Plain ascent goes first until the mean g is below this; released 0.90, so that on models
    which know nearly everything TA is not pure task arithmetic. None leaves that phase out."""


def edit(learner: Learner, request: Request, k: float) -> Generator[str, np.ndarray, None]:
    """Fine-tune on the forget set and yield the edited model after every epoch.

    theta_u = theta_0 + k (theta_t - theta_0), where theta_0 are the weights at the call and
    theta_t those after t epochs of descent. What is measured is theta_u; the fine-tuning goes on
    from theta_t. In full precision: small updates vanish in bfloat16.
    """
    origin = learner.weights()
    tuned = origin
    learner.restart()
    while True:
        learner.assign(tuned)
        learner.descend(request.forget)
        tuned = learner.weights()
        learner.assign(o + k * (t - o) for o, t in zip(origin, tuned, strict=True))
        yield "arithmetic"


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Ascent until the mean g is below `ascend_until`, then the edit."""
    g = yield "before"
    while settings.ascend_until is not None and at_least(g.mean(), settings.ascend_until):
        learner.ascend(request.forget)
        g = yield "ascent"
    yield from edit(learner, request, settings.k)
