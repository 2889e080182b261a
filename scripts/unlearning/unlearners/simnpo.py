"""SimNPO: NPO by the mean token loss and without a reference model.

Fan et al. 2024 (arXiv 2410.07163). With L(y) the mean token loss of a sequence,

    loss = mean over sequences of -(2 / beta) log sigmoid(beta (L(y) - delta)),

where delta is the published margin gamma divided by beta. As the mean does not grow with length,
beta needs no scaling.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Objective
    from unlearning.unlearners.request import Request

# published on TOFU: 0.1375 before the loss on the forget set, 1 before the one on text to keep
RETAIN = RetainSettings(kind="nll", weight=1 / 0.1375)
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """At which loss a sequence is let go, and how sharply."""

    beta: float = Field(default=2.5, gt=0)
    """Inverse of the width, nats per token, over which the push fades; published 2.5 on TOFU."""

    delta: float | None = 0.0
    """The loss, nats per token, at which half of the push is left; published 0. At 0 the push on a
    sequence with a loss of 2 is under 1 % of the full one, so that text which is hard by nature
    hardly moves. null takes the original's mean loss on unseen sequences."""


def objective(beta: float, delta: float) -> Objective:
    """The loss, of views with log_p."""
    from torch.nn.functional import logsigmoid

    return lambda views: -2 / beta * logsigmoid(beta * (-views.log_p.mean(dim=1) - delta)).mean()


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the loss of the whole forget set.

    Raises:
        InputError: `delta` is to be taken from unseen sequences, and the request has none.
    """
    from unlearning.unlearners.readings import Reading

    delta = settings.delta
    if delta is None:
        if request.unseen is None or not len(request.unseen):
            raise InputError("simnpo: delta: null needs unseen sequences; give a number")
        delta = -float(learner.read(Reading(request.unseen)).log_p.mean())
    loss = objective(settings.beta, delta)
    yield "before"
    while True:
        learner.step((Reading(request.forget), loss))
        yield "preference"
