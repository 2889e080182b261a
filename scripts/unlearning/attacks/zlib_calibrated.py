"""zlib-calibrated likelihood: is a text likelier than its compressibility lets expect?

Repetitive texts are easy for any model, and short for any compressor. The likelihood per byte of
the zlib-compressed text takes that away without a reference model (Carlini et al. 2021,
arXiv 2012.07805, section 5: the ratio of log-perplexity and zlib entropy).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from unlearning.attacks import Reason
from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from torch import Tensor

    from unlearning.attacks.target import Target
    from unlearning.memorization.scoring import TokenScores

PER_FORGET_SET = False
TITLE = "zlib-calibrated"
HEADLINE = ("log_likelihood", "auc")
UNIT = "AUC"
REASONS = {"log_likelihood": Reason("likelier than its compressibility lets expect", 0.02)}


@settings_class
class Settings:
    """There is nothing to set."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "per_byte". Measures: log_likelihood, of the sequence's predicted tokens, nats per
        byte of its compressed text; log_likelihood_two_sided, the distance from the median of the
        unseen "threshold" half, where the attacker has one.

    Raises:
        InputError: there is no tokenizer.
    """
    if target.tokenizer is None:
        raise InputError("attacks.zlib_calibrated: it compresses text; give the model's tokenizer")
    values = per_byte(target.before, target.tokens, target.tokenizer)
    measures = {"log_likelihood": values}
    if target.unseen_before is not None:
        unseen = per_byte(target.unseen_before, target.knowledge.unseen, target.tokenizer)
        measures["log_likelihood_two_sided"] = np.abs(values - np.median(unseen))
    return target.rows("per_byte", **measures)


def per_byte(scores: TokenScores, tokens: Tensor, tokenizer: Path) -> np.ndarray:
    """(N,) log-likelihood of the predicted tokens per byte of the compressed text, nats."""
    from unlearning.models.loading import load_tokenizer

    texts = load_tokenizer(tokenizer).batch_decode(tokens.tolist())
    compressed = np.array([len(zlib.compress(text.encode())) for text in texts])
    return -scores.loss * (tokens.shape[1] - 1) / compressed
