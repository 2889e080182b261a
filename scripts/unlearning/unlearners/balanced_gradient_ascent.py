"""Gradient ascent that weighs sequences by how much of them is still to be forgotten.

After BalDRO (Shao et al. 2026, arXiv 2601.09172), which puts the worst case over weights of the
sequences in place of the mean. The formula is ours, after its Donsker-Varadhan form. With f the
forget loss of a sequence, its mean log-probability,

    loss = tau log mean over sequences of exp(f / tau),

so that the push on a sequence grows with exp(f / tau): the best known are pushed most. A large tau
is plain ascent, a small one pushes the best known alone.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Objective
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")
ONE_LENGTH = True
PASSES = 4


@settings_class
class Settings:
    """How unequal the weights are."""

    temperature: float = Field(default=0.5, gt=0)
    """tau, nats per token: a sequence whose loss is lower by it is pushed e times as much."""


def objective(temperature: float) -> Objective:
    """The loss, of views with log_p; log of a sum in place of the mean, a constant less."""
    return lambda views: temperature * (views.log_p.mean(dim=1) / temperature).logsumexp(dim=0)


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the loss of the whole forget set."""
    from unlearning.unlearners.readings import Reading

    loss = objective(settings.temperature)
    yield "before"
    while True:
        learner.step((Reading(request.forget), loss))
        yield "ascent"
