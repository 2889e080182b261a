"""RMU: representation misdirection, a layer's states of the forget set are led astray.

Li et al. 2024 (arXiv 2403.03218, WMDP): with h the output of one layer and u a random
direction, fixed for the run,

    loss = mean over forget tokens of |h - c u|^2 + alpha * mean over retain tokens of |h - h_0|^2.

Published, three matrices at and below the layer are trained; here, as in later work, all weights
up to the layer. The states are those from which a token is predicted, so not a row's last.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from torch import Tensor

    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Reference
    from unlearning.unlearners.request import Request

NEEDS_RETAIN = True
ONE_LENGTH = True
PASSES = 4
ROWS_BESIDE = ("batch",)


@settings_class
class Settings:
    """Where, how far, and how firmly the rest is held."""

    layer: int | None = Field(default=None, ge=1)
    """The layer whose output is led astray, counted from 1. null is at 7/32 of the depth, as
    published (the 7th of 32), and at least 1."""

    length: float = Field(default=2.0, gt=0)
    """Of the target c u, in mean lengths of the original's states on the forget set. (The published
    c, 6.5 to 20, are lengths in single models and say nothing about others.)"""

    alpha: float = Field(default=1.0, ge=0)
    """Weight of the states to keep; published 100 to 1200, where few matrices are trained."""

    batch: int = Field(default=32, gt=0)
    """Rows to retain in a step."""


def target(states: Tensor, length: float, seed: int) -> Reference:
    """The target for every token of `states`, (F, T-1, width): u has no negative entry."""
    import torch

    from unlearning.unlearners.readings import Reference

    direction = np.random.default_rng(seed).random(states.shape[-1])
    unit = torch.from_numpy(direction / np.linalg.norm(direction)).to(states)
    return Reference((length * states.norm(dim=-1).mean() * unit).expand_as(states))


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one step on the whole forget set and the next batch to retain.

    Raises:
        InputError: the model has no such layer, or there is no text to keep.
    """
    from unlearning.unlearners.readings import Reading, mean_of
    from unlearning.unlearners.retain import draw

    depth = learner.model.config.num_hidden_layers
    layer = settings.layer or max(1, round(depth * 7 / 32))
    if layer > depth:
        raise InputError(f"rmu: layer: {layer} is above the model's {depth} layers; lower it")
    astray = target(learner.remember(request.forget, layer).states, settings.length, request.seed)
    forget = Reading(request.forget, ("distance",), astray, layer=layer)
    batches, original = draw(request, settings.batch), learner.remember(request.retain, layer)
    yield "before"
    while True:
        rows = next(batches)
        keep = Reading(request.retain[rows], ("distance",), original[rows], layer=layer)
        learner.step(mean_of(forget), mean_of(keep, settings.alpha))
        yield "misdirection"
