"""IHL: the inverted hinge loss, which only asks that another token be as likely as the true one.

Cha et al. 2024 (arXiv 2408.06621, LoKU): mean over tokens of 1 + p(y) - max of p over the
other tokens. It is bounded, and its gradient moves the true token and one other instead of all. It
is near zero where the model is sure (p(y) near 1), so much memorized text moves slowly at first.
The paper's second part, an adapter started from Fisher information, is not here: all weights are
trained.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from torch import Tensor

    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Views
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """IHL has nothing to set beyond what all unlearners share."""


def objective(views: Views) -> Tensor:
    """The loss, of views with log_p and margin."""
    return (1 + views.log_p.exp() - (views.log_p - views.margin).exp()).mean()


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the loss of the whole forget set."""
    from unlearning.unlearners.readings import Reading

    forget = Reading(request.forget, ("log_p", "margin"))
    yield "before"
    while True:
        learner.step((forget, objective))
        yield "hinge"
