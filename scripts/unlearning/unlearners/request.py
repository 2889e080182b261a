"""What is asked of an unlearner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from unlearning.memorization.forgetting import Band
from unlearning.memorization.rows import TokenRows, rows_of


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


def request_of(
    sequences: pd.DataFrame,
    forget: Sequence[str],
    background: np.ndarray,
    retain: int,
    limits: Mapping[str, float],
    seed: int,
    device: torch.device,
) -> Request:
    """The request to forget some of a table of sequences.

    Args:
        sequences: the table.
        forget: ids of the forget set, in their order.
        background: (N, T) rows of ordinary training text.
        retain: how many of them are drawn to retain.
        limits: the model's thresholds, as `forgetting.thresholds` calls them.
        seed: of the run.
        device: where it runs.
    """
    unseen = sequences[(sequences["split"] == "unseen") & (sequences["half"] == "threshold")]
    kept = np.random.default_rng([seed, len(forget)]).permutation(len(background))[:retain]
    return Request(
        forget=rows_of(sequences.set_index("sequence_id").loc[forget], device),
        retain=torch.from_numpy(background[np.sort(kept)].astype(np.int64)).to(device),
        threshold=limits["ma_mean"],
        el_threshold=limits["el_mean"],
        band=Band(limits["calibrated_low"], limits["calibrated_high"]),
        unseen=rows_of(unseen, device),
        seed=seed,
    )
