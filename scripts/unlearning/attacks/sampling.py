"""Extraction by repeated sampling: does some of n tries emit the end of a sequence?

Each try continues the true prefix by top-k sampling and must emit the whole suffix verbatim;
extraction succeeds if at least `needed` of `tries` do ((n, p)-discoverable extraction: Hayes et
al. 2024, arXiv 2410.19482; settings of Carlini et al. 2021).

No try has to be drawn. One that can still succeed has emitted the true tokens so far, so the
chance of its next right token is read off the teacher-forced pass; the product q_1 ... q_j is the
chance of the first j tokens, and the number of tries that get there is binomial. The values are
the exact expectations of what drawing would estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

    from unlearning.attacks.target import Target

PER_FORGET_SET = False
TITLE = "extraction by sampling"
HEADLINE = ("stretch", "forget")
UNIT = "share of suffix emitted"
REASONS = {"emitted": Reason("extracted by sampling", 0.05)}


@settings_class
class Settings:
    """How an attacker samples."""

    tries: int = Field(default=100, ge=1)
    """Continuations per sequence."""

    needed: int = Field(default=1, ge=1)
    """So many of the tries must emit the suffix verbatim."""

    top_k: int = Field(default=40, ge=1)
    """Only so many most likely tokens are sampled from."""

    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits."""

    def __post_init__(self) -> None:
        """Refuse what cannot succeed."""
        if self.needed > self.tries:
            raise InputError(
                f"attacks.sampling: needed {self.needed} is more than tries {self.tries}; lower it"
            )


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "<needed>_of_<tries>". Measures: emitted, the probability of success; stretch, the
        expected share of the suffix that `needed` of the tries emit before their first wrong token
        (with needed = 1: the best try's).
    """
    from scipy.special import bdtrc

    reached = np.cumprod(chances(target, settings.top_k, settings.temperature), axis=1)
    enough = bdtrc(settings.needed - 1, settings.tries, reached)
    return target.rows(
        f"{settings.needed}_of_{settings.tries}", emitted=enough[:, -1], stretch=enough.mean(axis=1)
    )


def chances(target: Target, top_k: int, temperature: float) -> np.ndarray:
    """(N, suffix) probability of each true token of the suffix, after all true tokens before it.

    Tokens as likely as the k-th are all kept, as transformers does it. NaN where a sequence has
    logits that are not finite.
    """
    import torch

    from unlearning.memorization.scoring import reader_of, without_gradients

    suffix = target.settings.suffix
    reader = reader_of(target.model)
    parts = []
    with without_gradients(reader):
        for rows in target.tokens.split(max(1, 2**13 // target.tokens.shape[1])):
            hidden = reader.hidden(rows[:, :-1])[:, -suffix:].flatten(0, 1)
            truth = rows[:, -suffix:].flatten()
            for logits in reader.logits(hidden):
                logits = logits / temperature
                right = logits.gather(1, truth[: len(logits), None])
                truth = truth[len(logits) :]
                least = logits.topk(min(top_k, logits.shape[1])).values[:, -1:]
                kept = logits.masked_fill(logits < least, -torch.inf)
                log_chance = right - kept.logsumexp(dim=1, keepdim=True)
                chance = log_chance.exp().masked_fill(right < least, 0.0)
                bad = ~logits.isfinite().all(dim=1, keepdim=True)
                parts.append(chance.masked_fill(bad, torch.nan)[:, 0])
    return torch.cat(parts).view(len(target.tokens), suffix).double().cpu().numpy()
