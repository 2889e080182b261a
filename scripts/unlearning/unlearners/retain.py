"""The term on text to keep that any method's steps may add."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unlearning.jobs.errors import InputError
from unlearning.settings.unlearning import RetainSettings
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.readings import Reading, Term, mean_of
from unlearning.unlearners.request import Request


def retaining(learner: Learner, request: Request, settings: RetainSettings) -> Callable[[], Term]:
    """Makes the term of each step, on the next batch of the request's rows to retain.

    "kl" compares with the model as it is at this call, which is the original.

    Raises:
        InputError: the request has no rows to retain.
    """
    batches = draw(request, settings.batch)
    if settings.kind == "nll":
        return lambda: mean_of(Reading(request.retain[next(batches)]), -settings.weight)
    original = learner.remember(request.retain)

    def term() -> Term:
        rows = next(batches)
        reading = Reading(request.retain[rows], ("divergence",), original[rows])
        return mean_of(reading, settings.weight)

    return term


def draw(request: Request, batch: int) -> Iterator[Tensor]:
    """Endless batches of indices of the rows to retain, each pass in a new order.

    Raises:
        InputError: there are no rows to retain.
    """
    count = len(request.retain)
    if not count:
        raise InputError(
            "retain: a method trains on text to keep, and the run has none; give background text"
            " and a positive unlearning.retain"
        )
    return _passes(count, batch, np.random.default_rng(request.seed))


def _passes(count: int, batch: int, generator: np.random.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.from_numpy(generator.permutation(count)).split(batch)
