"""Observer with a reference: token by token, where does a model know more than one that never saw?

`reference_calibrated` compares two numbers, the losses of the two models. An observer who owns the
reference compares all tokens: how much better each is known, how well those are known that are
hard for the reference and thus cannot be guessed, and whether the easy and the hard tokens are the
same ones (a memorized text has no order of its own difficulty; one that was unlearned by force has
a foreign one). Each comparison is a test by itself, and a cross-fitted logistic regression on all
of them is one more.

The reference is the control, trained alike but without the pool, or a model that the settings
name; where there is neither, there are no rows. On the control itself, judged by itself, the
comparisons of loss and order are constant and so at chance by construction; a named reference of
another training has no such blind spot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.attacks.cross_fitting import FitSettings, cross_fitted, with_distances
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from torch import Tensor

    from unlearning.attacks.target import Target
    from unlearning.memorization.rows import TokenRows
    from unlearning.memorization.scoring import TokenScores

PER_FORGET_SET = True  # the learned part is fitted on the members
TITLE = "observer with a reference"
HEADLINE = ("log_odds", "auc")
UNIT = "AUC"
# that it is known better on the whole is a reason of `reference_calibrated`
REASONS = {"hard_hits": Reason("emits tokens that the reference could not guess", 0.05)}


@settings_class
class Settings(FitSettings):
    """Whom to compare with, and how the learned part learns."""

    reference: str | None = None
    """Folder of a model with the same token ids that never saw the set; null: the control."""

    hard: float = Field(default=0.2, gt=0, le=1)
    """Share of a sequence's tokens that count as hard: those least likely for the reference."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "token_by_token". Measures as in `compared`; each with "_two_sided", the distance
        from the median of the unseen "threshold" half; and log_odds, of the logistic regression on
        all of these, by fits that had not seen the sequence. Empty without a reference.

    Raises:
        InputError: the reference cannot be loaded, or does not know the tokens.
    """
    variant, knowledge = "token_by_token", target.knowledge
    folder = settings.reference or (knowledge.control if knowledge else None)
    if knowledge is None or folder is None:
        return target.rows(variant)
    reference = knowledge.reference(Path(folder))
    fixed = knowledge.sequences[knowledge.sequences["half"] == "threshold"]
    single = comparisons(target, target.tokens, target.ids, reference, settings.hard)
    unseen = comparisons(
        target, knowledge.unseen, fixed["sequence_id"].tolist(), reference, settings.hard
    )
    centre = {name: np.median(values) for name, values in unseen.items()}
    two_sided = {f"{name}_two_sided": np.abs(single[name] - centre[name]) for name in single}
    features = with_distances(np.stack([*single.values()], axis=1), np.stack([*centre.values()]))
    generator = np.random.default_rng(settings.seed)
    learned = cross_fitted(features, target.forget, settings, generator)[""].mean(axis=0)
    return target.rows(variant, log_odds=learned, **single, **two_sided)


def comparisons(
    target: Target,
    rows: TokenRows,
    ids: Sequence[str],
    reference: Mapping[str, TokenScores],
    hard: float,
) -> dict[str, np.ndarray]:
    """`compared` of rows of any length, each with its id."""
    import pandas as pd

    from unlearning.memorization.rows import of_each
    from unlearning.memorization.scoring import TokenScores, score_tokens

    def measured(chosen: np.ndarray, tokens: Tensor) -> pd.DataFrame:
        whole = tokens is target.tokens
        own = target.before if whole else score_tokens(target.model, tokens, moments=False)
        other = TokenScores.joined([reference[ids[place]] for place in chosen])
        return pd.DataFrame(compared(own, other, hard))

    return {name: column.to_numpy() for name, column in of_each(rows, measured).items()}


def compared(own: TokenScores, other: TokenScores, hard: float) -> dict[str, np.ndarray]:
    """Comparisons of two models' token scores on N sequences, (N,) each, higher = better known.

    Args:
        own: of the model under attack.
        other: of the reference, on the same sequences.
        hard: share of the tokens that count as hard.

    Returns:
        difference, mean of log p less the reference's, nats per token; hard_log_prob, mean log p
        of the hard tokens; hard_hits, share of them that are greedy hits; disorder, 1 less the
        correlation of the two models' log p over the tokens (Pearson; 1 where one is constant).
    """
    mine, theirs = own.log_probs.astype(float), other.log_probs.astype(float)
    count = max(1, int(hard * mine.shape[1]))
    hardest = np.argsort(theirs, axis=1, kind="stable")[:, :count]
    centred = [values - values.mean(axis=1, keepdims=True) for values in (mine, theirs)]
    norms = [np.sqrt((values**2).sum(axis=1)) for values in centred]
    product = norms[0] * norms[1]
    together = (centred[0] * centred[1]).sum(axis=1)
    correlation = np.divide(together, product, out=np.zeros_like(product), where=product > 0)
    found = {
        "difference": (mine - theirs).mean(axis=1),
        "hard_log_prob": np.take_along_axis(mine, hardest, axis=1).mean(axis=1),
        "hard_hits": np.take_along_axis(own.hits, hardest, axis=1).mean(axis=1),
        "disorder": 1 - correlation,
    }
    whole = own.finite & other.finite
    return {name: np.where(whole, values, np.nan) for name, values in found.items()}
