"""Neighbour attack: is a text likelier than texts that differ from it by a few words?

A model that has memorized a text finds it likelier than its neighbours (Mattern et al. 2023, arXiv
2305.18462); one that was made to forget it too hard finds it less likely, hence the absolute value
that the paper's release uses. There, 25 rewrites by T5 per text are cached for one set and used
for the other as well, which makes the comparison meaningless; here every sequence has its own.

Rewrites are made by the attacked model itself: at random places a token is drawn from the model's
own prediction after the true prefix, the true token excluded. Where a masked language model is
given, it makes them instead, seeing both sides; they then pass through text, so that a rewrite may
have fewer or more tokens than the sequence, and log-likelihoods are taken per token.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.jobs.errors import InputError, first_line
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from unlearning.attacks.target import Target

PER_FORGET_SET = False
TITLE = "neighbour attack"
HEADLINE = ("excess", "auc")
UNIT = "AUC"
REASONS = {"excess": Reason("likelier than its rewrites", 0.02)}


@settings_class
class Settings:
    """How neighbours are made."""

    rewrites: int = Field(default=25, ge=1)
    """Neighbours per sequence; the paper's release has 25."""

    share: float = Field(default=0.3, gt=0, lt=1)
    """Part of the tokens that is replaced in each; at least one."""

    masked_model: str | None = None
    """Folder of a masked language model with safetensors weights, which makes the rewrites; null:
    the attacked model makes its own."""

    seed: int = Field(default=0, ge=0)
    """Seeds places and replacements."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "own_rewrites" or "masked_model". Measures: excess, the log-likelihood of the
        sequence less the mean over its rewrites, nats per token; absolute, its absolute value.

    Raises:
        InputError: the masked model cannot be used.
    """
    from unlearning.memorization.scoring import score_tokens

    if settings.masked_model is None:
        variant, rewrites = "own_rewrites", own_rewrites(target, settings)
        losses = score_tokens(target.model, rewrites.flatten(0, 1), moments=False).loss
        losses = losses.reshape(len(target.ids), -1)
    else:
        variant, losses = "masked_model", losses_of(target, masked_rewrites(target, settings))
    excess = losses.mean(axis=1) - target.before.loss
    return target.rows(variant, excess=excess, absolute=np.abs(excess))


def places_of(count: int, settings: Settings, generators: list[np.random.Generator]) -> np.ndarray:
    """(N, rewrites, count) bool, which of `count` tokens are replaced in each rewrite."""
    changed = max(1, round(settings.share * count))
    order = [generator.random((settings.rewrites, count)) for generator in generators]
    return np.argsort(np.argsort(np.stack(order), axis=2), axis=2) < changed


def own_rewrites(target: Target, settings: Settings) -> Tensor:
    """(N, rewrites, T) rewrites by the model under attack; first tokens stay."""
    import torch

    from unlearning.attacks.target import sampled
    from unlearning.memorization.scoring import reader_of, without_gradients

    tokens, device = target.tokens, target.tokens.device
    predicted = tokens.shape[1] - 1
    generators = target.generators(settings.seed)
    places = torch.from_numpy(places_of(predicted, settings, generators)).to(device)
    noise = np.stack([g.random((predicted, settings.rewrites)) for g in generators])
    noise = torch.from_numpy(noise).to(device)
    reader = reader_of(target.model)
    parts = []
    with without_gradients(reader):
        size = max(1, 2**13 // tokens.shape[1])
        for rows, uniform in zip(tokens.split(size), noise.split(size), strict=True):
            hidden = reader.hidden(rows[:, :-1]).flatten(0, 1)
            truth, uniform = rows[:, 1:].flatten(), uniform.flatten(0, 1)
            for logits in reader.logits(hidden):
                weights = logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
                weights.scatter_(1, truth[: len(logits), None], 0.0)
                parts.append(sampled(weights, uniform[: len(logits)]))
                truth, uniform = truth[len(logits) :], uniform[len(logits) :]
    drawn = torch.cat(parts).view(len(tokens), predicted, -1).transpose(1, 2)
    rewrites = tokens[:, None].repeat(1, settings.rewrites, 1)
    rewrites[:, :, 1:] = torch.where(places, drawn, rewrites[:, :, 1:])
    return rewrites


def losses_of(target: Target, texts: list[list[list[int]]]) -> np.ndarray:
    """(N, rewrites) loss of token rows of any length, nats per token; lengths are not mixed."""
    import torch

    from unlearning.memorization.scoring import score_tokens

    flat = [row for rewrites in texts for row in rewrites]
    lengths = np.array([len(row) for row in flat])
    losses = np.empty(len(flat))
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        rows = torch.tensor([flat[i] for i in chosen])
        losses[chosen] = score_tokens(target.model, rows, moments=False).loss
    return losses.reshape(len(texts), -1)


def masked_rewrites(target: Target, settings: Settings) -> list[list[list[int]]]:
    """Token rows of the rewrites of each sequence, by the masked language model."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from unlearning.attacks.target import sampled
    from unlearning.models.loading import load_tokenizer

    where = f"attacks.neighbour.masked_model: {settings.masked_model}"
    if target.tokenizer is None:
        raise InputError(f"{where}: its rewrites pass through text; give the model's tokenizer")
    if not Path(settings.masked_model).is_dir():  # a name on the hub would have no revision
        raise InputError(f"{where}: no such folder; download the model and give the folder")
    try:
        words = AutoTokenizer.from_pretrained(settings.masked_model)
        model = AutoModelForMaskedLM.from_pretrained(settings.masked_model, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where}: cannot be loaded ({first_line(error)}); give a folder with it"
        ) from None
    if words.mask_token_id is None:
        raise InputError(f"{where}: its tokenizer has no mask token; give a masked model")
    model = model.to(target.tokens.device).eval()
    tokenizer = load_tokenizer(target.tokenizer)
    texts = []
    for row, generator in zip(
        target.tokens.tolist(), target.generators(settings.seed), strict=True
    ):
        encoded = words(tokenizer.decode(row), truncation=True, return_special_tokens_mask=True)
        ids = torch.tensor(encoded["input_ids"])
        free = np.flatnonzero(np.array(encoded["special_tokens_mask"]) == 0)
        masked = np.zeros((settings.rewrites, len(ids)), dtype=bool)
        masked[:, free] = places_of(len(free), settings, [generator])[0]
        masked = torch.from_numpy(masked)
        rows = ids.repeat(settings.rewrites, 1)
        with torch.no_grad():
            asked = rows.masked_fill(masked, words.mask_token_id).to(model.device)
            logits = model(input_ids=asked).logits.float().cpu()[masked]
        truth = rows[masked]
        # neither the true token nor one that stands for no text
        never = torch.zeros_like(logits, dtype=torch.bool).scatter(1, truth[:, None], True)
        never[:, words.all_special_ids] = True
        chances = logits.masked_fill(never, -torch.inf).softmax(dim=1)
        noise = torch.from_numpy(generator.random((len(truth), 1)))
        rows[masked] = sampled(chances, noise)[:, 0]
        rewritten = words.batch_decode(rows, skip_special_tokens=True)
        encoded = tokenizer(rewritten, add_special_tokens=False)["input_ids"]
        # what has fewer than two tokens cannot be scored: the text itself stands in
        texts.append([new if len(new) > 1 else row for new in encoded])
    return texts
