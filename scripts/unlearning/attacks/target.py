"""Attacks that need the model itself, run on one model: from token rows to values per sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearning import attacks
from unlearning.jobs.progress import progress
from unlearning.memorization.rows import TokenRows, by_length, fitting, rows_of
from unlearning.memorization.scoring import TokenScores, score_tokens
from unlearning.models.readers import slice_rows
from unlearning.settings import settings_class

COLUMNS = ["attack", "variant", "measure", "sequence_id", "value"]


@settings_class
class TargetSettings:
    """What to attack with."""

    attacks: dict[str, dict[str, Any]]
    """Name of each attack -> its settings."""

    suffix: int
    """Tokens at the end of a sequence that attacks try to get from the tokens before them."""

    learning_rate: float
    """Adam's, of the model's unlearning: for attacks that train."""

    micro_batch: int
    """Sequences per forward and backward pass, for attacks that train."""

    offload: Literal["none", "optimizer"] = "none"
    """What waits in the CPU's memory while they train."""


@dataclass(frozen=True)
class Target:
    """A model under attack and the sequences to attack it on.

    Attributes:
        model: in evaluation mode. An attack may change its weights, and puts them back.
        ids: sequence_id of each sequence, N of them.
        tokens: int64 token rows, N of them, on the model's device: (N, T) for attacks that do not
            depend on the forget set, which are given rows of one length at a time.
        forget: (N,) bool, which sequences are the forget set.
        settings: sizes that attacks share.
        tokenizer: folder of the model's tokenizer, for attacks that go through text.
    """

    model: PreTrainedModel
    ids: Sequence[str]
    tokens: TokenRows
    forget: np.ndarray
    settings: TargetSettings
    tokenizer: Path | None = None

    @cached_property
    def before(self) -> TokenScores:
        """Scores of all sequences on the model as it came, without moments."""
        return score_tokens(self.model, self.tokens, moments=False)

    def rows(self, variant: str, **measures: np.ndarray) -> pd.DataFrame:
        """One row per measure and sequence, from arrays (N,)."""
        parts = [
            pd.DataFrame(
                {"variant": variant, "measure": name, "sequence_id": self.ids, "value": values}
            )
            for name, values in measures.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def generators(self, seed: int) -> list[np.random.Generator]:
        """A source of randomness for each sequence, whatever other sequences stand beside it."""
        return [np.random.default_rng([seed, crc32(name.encode())]) for name in self.ids]


def attack_model(target: Target, *, per_forget_set: bool | None = None) -> pd.DataFrame:
    """Run the attacks of `target.settings`.

    Args:
        target: the model and the sequences.
        per_forget_set: only the attacks whose outcome depends (True) or does not depend (False) on
            which sequences make up the forget set; None: all.

    Returns:
        Columns `COLUMNS`. Values are NaN where the model's outputs are not finite numbers.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for name, values in progress(target.settings.attacks.items(), unit="attack"):
        module = attacks.load(name)
        if per_forget_set in (None, module.PER_FORGET_SET):
            whole = [target] if module.PER_FORGET_SET else of_one_length(target)
            found = [module.attack(part, attacks.settings_of(name, values)) for part in whole]
            parts += [rows.assign(attack=name)[COLUMNS] for rows in found]
    # an empty table among them would make the values' type any object
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def of_one_length(target: Target) -> list[Target]:
    """The target length by length; a suffix is half of a sequence that has not twice as much."""
    return [
        replace(
            target,
            ids=[target.ids[i] for i in chosen],
            tokens=tokens,
            forget=target.forget[chosen],
            settings=replace(
                target.settings, suffix=fitting(target.settings.suffix, tokens.shape[1])
            ),
        )
        for chosen, tokens in by_length(target.tokens)
    ]


def sampled(weights: Tensor, noise: Tensor) -> Tensor:
    """Tokens drawn by inversion of the distribution function.

    Args:
        weights: (c, V) chances, not necessarily normalized.
        noise: (c, n) uniform numbers in [0, 1).

    Returns:
        (c, n) token ids. Rows that are not finite give some token, never an error.
    """
    tokens = torch.empty(noise.shape, dtype=torch.int64, device=noise.device)
    size = slice_rows(weights.device, weights.shape[1], 0) // 4  # doubles, twice, beside them
    for part, at, into in zip(*(t.split(size) for t in (weights, noise, tokens)), strict=True):
        reached = part.double().cumsum_(dim=-1)
        torch.searchsorted(reached, at.double() * reached[:, -1:], right=True, out=into)
    return tokens.clamp_(max=weights.shape[-1] - 1)


def targets_of(sequences: pd.DataFrame, forget: Sequence[str]) -> pd.DataFrame:
    """The sequences to attack on: the forget set, and the unseen "attack" half as non-members."""
    wanted = sequences["sequence_id"].isin(forget)
    return sequences[wanted | (sequences["half"] == "attack")]


def target_of(
    model: PreTrainedModel,
    sequences: pd.DataFrame,
    forget: Sequence[str],
    settings: TargetSettings,
    tokenizer: Path | None,
) -> Target:
    """Set a model up for attack; see `Target` and `targets_of`."""
    chosen = targets_of(sequences, forget)
    return Target(
        model,
        chosen["sequence_id"].tolist(),
        rows_of(chosen, model.device),
        chosen["sequence_id"].isin(forget).to_numpy(),
        settings,
        tokenizer,
    )


def keyed(
    rows: pd.DataFrame, target_ids: Sequence[str], forget: Sequence[str], keys: Mapping[str, object]
) -> pd.DataFrame:
    """Rows of these sequences with the keys of their run and their split in it."""
    table = rows[rows["sequence_id"].isin(target_ids)]
    split = np.where(table["sequence_id"].isin(forget), "forget", "unseen")
    table = table.assign(split=split, **keys)
    return table[[*keys, "attack", "variant", "measure", "sequence_id", "split", "value"]]
