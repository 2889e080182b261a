"""NPO: negative preference optimization, ascent that lets go of what has been forgotten.

Zhang, Lin, Bai and Mei 2024 (arXiv 2404.05868). With S(y) the summed token loss of a
sequence, nats, and S_0(y) that of the original,

    loss = mean over sequences of -(2 / beta) log sigmoid(beta (S(y) - S_0(y))),

whose push on a sequence is 2 sigmoid(-beta (S - S_0)) times that of ascent on S: full at the start,
less as the sequence's own loss rises. The published runs add the loss on text to keep.
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
    from unlearning.unlearners.readings import Objective
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """How soon a sequence is let go."""

    beta: float = Field(default=0.1, gt=0)
    """Inverse of the rise of a sequence's summed loss, nats, over which the push fades; published
    0.1."""

    beta_tokens: int | None = Field(default=50, gt=0)
    """Predicted tokens of the sequences that `beta` is meant for: on sequences of n it is
    multiplied by `beta_tokens`/n, so that the push fades at the same rise of the loss *per token*
    on short and long ones. (As it stands, 0.1 leaves 45 % of the push at a rise of 0.25 nats per
    token on 50 tokens, about an answer of the data that it was published on, and 1 % on 200.) null
    takes `beta` as it is."""

    def scaled(self, predicted: int) -> float:
        """The beta for sequences of so many predicted tokens."""
        return self.beta * (self.beta_tokens / predicted if self.beta_tokens else 1)


def objective(original: Tensor, beta: float) -> Objective:
    """The loss, of views with log_p; `original` is log_p of the original model, (F, T-1)."""
    from torch.nn.functional import logsigmoid

    return lambda views: -2 / beta * logsigmoid(-beta * (views.log_p - original).sum(dim=1)).mean()


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the loss of the whole forget set."""
    from unlearning.unlearners.readings import Reading

    forget = Reading(request.forget)
    beta = settings.scaled(request.forget.shape[1] - 1)
    loss = objective(learner.read(forget).log_p, beta)
    yield "before"
    while True:
        learner.step((forget, loss))
        yield "preference"
