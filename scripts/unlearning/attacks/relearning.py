"""Relearning: after a few steps of training, how much of the forget set returns?

Knowledge that was hidden rather than removed comes back when the model is trained on something
related (Hu et al. 2024, arXiv 2406.13356), and sometimes on anything at all. The attacker trains on

- own: part of the forget set. It is cut into folds; each is held out in turn while the model takes
  steps of descent on the others, and what counts is the held-out fold.
- unseen: records of the same kind that the model never saw (the "threshold" half, which is no
  candidate of any attack).
- background: other text.

All numbers of steps are measured along one training. Training moves unseen sequences too, and a
model that never saw the set learns its form as well: the same attack on both is the control.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import torch

    from unlearning.attacks.target import Target
    from unlearning.memorization.rows import TokenRows

PER_FORGET_SET = True
TITLE = "relearning"
HEADLINE = ("ma_rise", "difference")
UNIT = "rise of MA, forget − unseen"
REASONS = {"ma_rise": Reason("relearned", 0.02)}


@settings_class
class Settings:
    """How an attacker trains."""

    steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(3, 10, 30), min_length=1)
    """Numbers of optimizer steps after which is measured; the first stands for the attack in
    figures."""

    texts: tuple[Literal["own", "unseen", "background"], ...] = Field(
        default=("own", "unseen", "background"), min_length=1
    )
    """What to train on; a text that is not there is left out."""

    folds: int = Field(default=2, ge=2)
    """Parts of the forget set, each held out in turn. With 2, half of the set is relearned."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Adam's; null takes the rate of the model's unlearning."""

    seed: int = Field(default=0, ge=0)
    """Seeds the folds, and the rows of other text."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    A step on the own text takes all sequences that are not held out; one on other text as many
    rows, drawn anew for each step.

    Returns:
        Variants "<steps>_steps" for the own text, "<text>_<steps>_steps" for others. Measures as in
        `Target.changes`, against the model before. With the own text forget-set sequences while
        held out, unseen ones as the mean over folds; NaN for a set of one sequence, which has no
        rest.
    """
    import pandas as pd

    members = np.random.default_rng(settings.seed).permutation(np.flatnonzero(target.forget))
    size = max(1, len(members) - len(members) // settings.folds)
    known, pools = target.knowledge, {}
    if known is not None:
        pools = {
            "unseen": known.unseen if known.unseen is not None else (),
            "background": known.text,
        }
    parts = []
    for text in settings.texts:
        if text == "own":
            prefix, after = "", relearned(target, members, settings)
        elif len(pools.get(text, ())):
            rows = drawn(
                pools[text],
                size,
                np.random.default_rng([settings.seed, *text.encode()]),
                target.tokens.device,
            )
            everyone = np.arange(len(target.ids))
            prefix, after = f"{text}_", trained(target, rows, everyone, settings)
        else:
            continue
        parts += [target.changes(f"{prefix}{steps}_steps", found) for steps, found in after.items()]
    return pd.concat(parts, ignore_index=True) if parts else target.rows("")


def drawn(
    pool: TokenRows | np.ndarray, size: int, generator: np.random.Generator, device: torch.device
) -> Iterator[TokenRows]:
    """Batches of at most `size` different rows of the pool, without end."""
    import torch

    while True:
        chosen = np.sort(generator.choice(len(pool), min(size, len(pool)), replace=False))
        rows = pool[chosen]
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows.astype(np.int64)).to(device)
        yield rows


def relearned(target: Target, members: np.ndarray, settings: Settings) -> dict[int, np.ndarray]:
    """Steps -> `Target.summary` of all sequences after training on the own text."""
    unseen = np.flatnonzero(~target.forget)
    folds = np.array_split(members, min(settings.folds, len(members)))
    after = {steps: np.full((4, len(target.ids)), np.nan) for steps in settings.steps}
    if len(folds) < 2:
        return after
    for values in after.values():
        values[:, unseen] = 0.0
    for held_out in folds:
        rest = target.tokens[np.setdiff1d(members, held_out)]
        judged = np.concatenate([held_out, unseen])
        for steps, found in trained(target, repeat(rest), judged, settings).items():
            after[steps][:, held_out] = found[:, : len(held_out)]
            after[steps][:, unseen] += found[:, len(held_out) :] / len(folds)
    return after


def trained(
    target: Target, batches: Iterator[TokenRows], judged: np.ndarray, settings: Settings
) -> dict[int, np.ndarray]:
    """Steps -> `Target.summary` of the judged along one training; the weights are put back."""
    from unlearning.unlearners.learner import Learner

    shared = target.settings
    rate = settings.learning_rate or shared.learning_rate
    learner = Learner(target.model, rate, shared.micro_batch, offload=shared.offload)
    kept = learner.weights()
    after = {}
    for step in range(1, max(settings.steps) + 1):
        learner.descend(next(batches))
        if step in settings.steps:
            after[step] = target.summary(target.tokens[judged])
    learner.assign(kept)
    return {steps: after[steps] for steps in settings.steps}
