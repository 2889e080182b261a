"""What is asked of an unlearner."""

from dataclasses import dataclass

import torch

from unlearning.memorization.forgetting import Band
from unlearning.memorization.rows import TokenRows


@dataclass(frozen=True)
class Request:
    """An unlearning request: what to forget, what to keep, and what counts as forgotten.

    Attributes:
        forget: token rows of the forget set, F of them: (F, T) int64, or `Ragged` where their
            lengths differ. Either is indexed by positions or a mask.
        retain: token rows of ordinary training text, (R, T) int64, for methods that train on
            something to keep.
        threshold: the forgetting threshold: mean g of the original model on unseen sequences.
        el_threshold: the same for extraction likelihood.
        band: the acceptable range of one sequence's g, calibrated on unseen sequences.
        unseen: token rows of those same unseen sequences, U of them, for methods that look at
            what was never seen. The privacy attack is judged on others.
        seed: of the run, for draws.
    """

    forget: TokenRows
    retain: torch.Tensor
    threshold: float
    el_threshold: float
    band: Band
    unseen: TokenRows | None = None
    seed: int = 0
