"""UNDIAL: the model learns the original's own predictions with the true token demoted.

Dong et al. 2024 (arXiv 2402.10052, self-distillation with adjusted logits). At every token the
target is softmax(z_0 - beta e_y), z_0 the original's logits and y the true token; the loss is the
cross-entropy to it. Ours is KL(target || model), which differs by the target's entropy, a constant.
A fixed target cannot run away as ascent does; nothing is trained on text to keep.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.settings import settings_class

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request

ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """How far the true token falls."""

    beta: float = Field(default=10.0, gt=0)
    """What is taken from its logit; published 10, tried from 3 to 30. (Published with a rate of
    1e-4, higher than that of ascent: give the block a `learning_rate`.)"""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step towards the demoted predictions of the whole forget set."""
    from unlearning.unlearners.readings import Reading, mean_of

    original = learner.remember(request.forget)
    forget = Reading(request.forget, ("divergence",), original, demotion=settings.beta)
    yield "before"
    while True:
        learner.step(mean_of(forget))
        yield "distillation"
