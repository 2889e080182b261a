"""TAU: selective ascent, then task arithmetic (the paper's second proposal, as released)."""

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
PASSES = 2  # the ascent is on part of the set


@settings_class
class Settings:
    """The two phases."""

    gamma: float = 0.70
    """Selection threshold of the first phase; released 0.70."""

    ascend_until: float = 0.50
    """The first phase ends when the mean g is below this; released 0.50. If the final threshold
    is met before, the driver stops and no arithmetic is applied; the run's record says so."""

    k: float = Field(default=-1.0, lt=0)
    """Factor on the task vector; released -1."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """SGA until the mean g is below `ascend_until`; those weights are the edit's theta_0."""
    g = yield "before"
    while at_least(g.mean(), settings.ascend_until):
        learner.ascend(request.forget[select(g, settings.gamma)])
        g = yield "ascent"
    yield from edit(learner, request, settings.k)
