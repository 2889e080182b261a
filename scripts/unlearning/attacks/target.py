"""Attacks that need the model itself, run on one model: from token rows to values per sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from unlearning.memorization.rows import TokenRows, by_length, fitting, of_each, rows_of
from unlearning.memorization.scoring import TokenScores, score_tokens
from unlearning.models.loading import load_model
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
class Knowledge:
    """What an attacker has besides the model under attack and the candidates.

    Everything is read when an attack first asks for it, and kept for all models of a job.

    Attributes:
        sequences: the whole table of sequences.
        device: where models compute.
        background: file of token rows of other text (.npy, (K, T')); may hold none.
        control: folder of the model that was trained alike, without the pool.
    """

    sequences: pd.DataFrame
    device: torch.device
    background: Path | None = None
    control: Path | None = None
    _scored: dict[Path, dict[str, TokenScores]] = field(default_factory=dict)

    @cached_property
    def unseen(self) -> TokenRows | None:
        """Rows of the unseen "threshold" half: the candidates' kind, itself no candidate."""
        half = self.sequences[self.sequences["half"] == "threshold"]
        return rows_of(half, self.device) if len(half) else None

    @cached_property
    def text(self) -> np.ndarray:
        """(K, T') rows of other text, read row by row as they are asked for."""
        if self.background is None:
            return np.empty((0, 0), dtype=np.int64)
        return np.load(self.background, mmap_mode="r")

    def of_length(self, length: int) -> Knowledge:
        """The same with the sequences of one length alone."""
        return replace(self, sequences=self.sequences[self.sequences["tokens"].map(len) == length])

    def reference(self, folder: Path) -> Mapping[str, TokenScores]:
        """Sequence_id -> scores of the sequence (one row, without moments) on another model.

        Raises:
            InputError: the folder holds no model, or one with a smaller vocabulary.
        """
        if folder not in self._scored:
            model, ids = load_model(folder, self.device), self.sequences["sequence_id"].tolist()
            self._scored[folder] = {
                ids[place]: scores.of(slice(row, row + 1))
                for chosen, tokens in by_length(rows_of(self.sequences, self.device))
                for scores in [score_tokens(model, tokens, moments=False)]
                for row, place in enumerate(chosen)
            }
        return self._scored[folder]


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
        knowledge: what else the attacker has; an attack does without what is not there.
    """

    model: PreTrainedModel
    ids: Sequence[str]
    tokens: TokenRows
    forget: np.ndarray
    settings: TargetSettings
    tokenizer: Path | None = None
    knowledge: Knowledge | None = None

    @cached_property
    def before(self) -> TokenScores:
        """Scores of all sequences on the model as it came, without moments."""
        return score_tokens(self.model, self.tokens, moments=False)

    @cached_property
    def unseen_before(self) -> TokenScores | None:
        """The same of the unseen "threshold" half, the centre of two-sided values."""
        if self.knowledge is None or self.knowledge.unseen is None:
            return None
        return score_tokens(self.model, self.knowledge.unseen, moments=False)

    @cached_property
    def summary_before(self) -> np.ndarray:
        """`summary` of all sequences on the model as it came."""
        if isinstance(self.tokens, Tensor):
            return self._summary_of(self.before)
        return self.summary(self.tokens)

    def summary(self, rows: TokenRows) -> np.ndarray:
        """(4, N) MA, loss, loss of the suffix and longest verbatim run of N rows, as it is now."""

        def measured(_: np.ndarray, tokens: Tensor) -> pd.DataFrame:
            return pd.DataFrame(self._summary_of(score_tokens(self.model, tokens, moments=False)).T)

        return of_each(rows, measured).to_numpy().T

    def _summary_of(self, scores: TokenScores) -> np.ndarray:
        suffix = fitting(self.settings.suffix, scores.log_probs.shape[1] + 1)
        return np.stack([scores.ma, scores.loss, scores.suffix_loss(suffix), scores.verbatim_run])

    def rows(self, variant: str, **measures: np.ndarray) -> pd.DataFrame:
        """One row per measure and sequence, from arrays (N,); no measures, no rows."""
        parts = [
            pd.DataFrame(
                {"variant": variant, "measure": name, "sequence_id": self.ids, "value": values}
            )
            for name, values in measures.items()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS[1:])

    def changes(self, variant: str, after: np.ndarray) -> pd.DataFrame:
        """Rows of an attack that changes the model: what rose, higher = better known.

        Args:
            variant: of the attack.
            after: `summary` of all sequences on the changed model.

        Returns:
            Measures ma_rise; ma, afterwards; loss_fall and suffix_loss_fall, nats per token;
            verbatim_run_rise, tokens; each against the model as it came.
        """
        ma, loss, suffix, run = after - self.summary_before
        return self.rows(
            variant,
            ma_rise=ma,
            ma=after[0],
            loss_fall=-loss,
            suffix_loss_fall=-suffix,
            verbatim_run_rise=run,
        )

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
    if isinstance(target.tokens, Tensor):
        return [target]
    known = target.knowledge
    return [
        replace(
            target,
            ids=[target.ids[i] for i in chosen],
            tokens=tokens,
            forget=target.forget[chosen],
            settings=replace(
                target.settings, suffix=fitting(target.settings.suffix, tokens.shape[1])
            ),
            knowledge=known and known.of_length(tokens.shape[1]),
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
    knowledge: Knowledge | None = None,
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
        knowledge,
    )


def keyed(
    rows: pd.DataFrame, target_ids: Sequence[str], forget: Sequence[str], keys: Mapping[str, object]
) -> pd.DataFrame:
    """Rows of these sequences with the keys of their run and their split in it."""
    table = rows[rows["sequence_id"].isin(target_ids)]
    split = np.where(table["sequence_id"].isin(forget), "forget", "unseen")
    table = table.assign(split=split, **keys)
    return table[[*keys, "attack", "variant", "measure", "sequence_id", "split", "value"]]
