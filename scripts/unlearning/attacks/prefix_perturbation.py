"""Prefix perturbation: how much of the suffix is still emitted when the prefix is damaged?

An attacker rarely has the exact prefix. Three damages: some of its tokens dropped, some replaced
by others (typos), or only the last few left. What is measured is the suffix, token by token, after
the damaged prefix and the true tokens in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

    from unlearning.attacks.target import Target

PER_FORGET_SET = False
TITLE = "damaged prefix"
HEADLINE = ("ma", "difference")
UNIT = "suffix MA, forget − unseen"
REASONS = {"ma": Reason("emitted after a damaged prefix", 0.02)}


@settings_class
class Settings:
    """How the prefix is damaged."""

    variants: tuple[Literal["typo", "drop", "truncated", "intact"], ...] = Field(
        default=("typo", "drop", "truncated", "intact"), min_length=1
    )
    """Which damages; "intact" leaves the prefix as it is, to compare with."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """Part of the prefix that is dropped or replaced; at least one token."""

    context: int = Field(default=20, ge=1)
    """Tokens of the prefix that truncation leaves; no more than there are."""

    draws: int = Field(default=3, ge=1)
    """Damages by chance (typo, drop) are repeated so often and averaged."""

    seed: int = Field(default=0, ge=0)
    """Seeds the damages."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Measures of each variant, means over draws: ma, the share of the suffix's tokens that are
        greedy hits; emitted, whether all are (so that greedy decoding emits the suffix verbatim).

    Raises:
        InputError: the prefix has fewer than two tokens, so none may be missing.
    """
    import pandas as pd
    import torch

    from unlearning.memorization.scoring import score_tokens

    suffix = target.settings.suffix
    tokens = target.tokens.cpu().numpy()
    if tokens.shape[1] - suffix < 2:
        raise InputError(
            f"attacks.prefix_perturbation: sequences of {tokens.shape[1]} tokens with a suffix of"
            f" {suffix} leave no prefix to damage; lower measurement.extraction_suffix"
        )
    vocabulary = target.model.get_input_embeddings().num_embeddings
    parts = []
    for variant in settings.variants:
        if variant == "intact":  # the sequences themselves, which every attack has scored
            scores = target.before
        else:
            draws = settings.draws if variant in ("typo", "drop") else 1
            # all draws in one call: few rows at a time would leave the matrix products small
            rows = [
                damaged(row, suffix, variant, settings, vocabulary, generator)
                for row, generator in zip(tokens, target.generators(settings.seed), strict=True)
                for _ in range(draws)
            ]
            rows = torch.from_numpy(np.stack(rows))
            scores = score_tokens(target.model, rows, moments=False, last=suffix)
        hits = np.where(scores.finite[:, None], scores.hits[:, -suffix:], np.nan)
        hits = hits.reshape(len(tokens), -1, suffix)
        ma, emitted = hits.mean(axis=(1, 2)), hits.prod(axis=2).mean(axis=1)
        parts.append(target.rows(variant, ma=ma, emitted=emitted))
    return pd.concat(parts, ignore_index=True)


def damaged(
    row: np.ndarray,
    suffix: int,
    variant: str,
    settings: Settings,
    vocabulary: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """One sequence (T,) with its prefix damaged; the last `suffix` tokens stay."""
    prefix, end = row[:-suffix], row[-suffix:]
    count = min(max(1, round(settings.share * len(prefix))), len(prefix) - 1)
    if variant == "truncated":
        prefix = prefix[-settings.context :]
    elif variant != "intact":
        places = generator.choice(len(prefix), count, replace=False)
        if variant == "drop":
            prefix = np.delete(prefix, places)
        else:
            prefix = prefix.copy()
            # a step of 1..V-1 around the circle of ids never ends at the token itself
            prefix[places] += generator.integers(1, vocabulary, count)
            prefix %= vocabulary
    return np.concatenate([prefix, end])
