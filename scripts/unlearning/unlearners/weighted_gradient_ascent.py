"""WGA and SatImp: gradient ascent with a weight for every token.

WGA (Wang et al. 2025, arXiv 2502.19301) weighs a token by p(y)^s: tokens that the model no longer
knows stop being pushed, which is what makes plain ascent run away. SatImp (Yang et al. 2025,
arXiv 2505.11953) multiplies by (1 - p(y))^i, which spares tokens that the model is sure of. The
loss is the mean over tokens of p(y)^s (1 - p(y))^i log p(y), weights taken as constants.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from torch import Tensor

    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Objective, Views
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """The exponents; WGA by default."""

    saturation: float = Field(default=1.0, ge=0)
    """Of p(y): published 1 for WGA, 5 for SatImp."""

    importance: float = Field(default=0.0, ge=0)
    """Of 1 - p(y): 0 for WGA, published 1 for SatImp."""


def objective(settings: Settings) -> Objective:
    """The loss, of views with log_p."""

    def loss(views: Views) -> Tensor:
        p = views.log_p.detach().exp()
        weight = p**settings.saturation * (1 - p).clamp(min=0) ** settings.importance
        return (weight * views.log_p).mean()

    return loss


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the weighted loss of the whole forget set."""
    from unlearning.unlearners.readings import Reading

    loss = objective(settings)
    yield "before"
    while True:
        learner.step((Reading(request.forget), loss))
        yield "ascent"
