"""ME: on the forget set the model is trained to predict every token alike.

Yuan et al. 2024 (arXiv 2410.08109, "ME+GD"): the loss is the mean over tokens of
KL(uniform || p) = -log V - (mean log p over the vocabulary of V), with the loss on text to keep.
Ours leaves the constant out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """ME has nothing to set beyond what all unlearners share."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the loss of the whole forget set."""
    from unlearning.unlearners.readings import Reading, mean_of

    forget = Reading(request.forget, ("log_uniform",))
    yield "before"
    while True:
        learner.step(mean_of(forget, -1.0))
        yield "flattening"
