"""Gradient norm: does a text still pull at the weights?

What a model has learned by heart has a small loss and a small gradient; what was driven out of it
by ascent lies on a slope. The value is the norm of the gradient of a sequence's loss (mean over its
tokens) by the weight matrices of the blocks; embeddings, output head, norms and biases are left
out. The attacker needs the weights (white box; Nasr et al. 2019, arXiv 1812.00910, whose attack
looks at gradients among others).

No gradient is ever formed. That of a matrix by sequence i is the sum over tokens of x_t g_t', with
x what goes into the matrix and g the gradient at what comes out, so its squared norm is the sum
over pairs of tokens of (x_s . x_t)(g_s . g_t): one backward pass serves a whole micro-batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unlearning.attacks import Reason
from unlearning.attacks.quantization import block_modules
from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedModel

    from unlearning.attacks.target import Target

PER_FORGET_SET = False
TITLE = "gradient norm"
HEADLINE = ("flatness", "auc")
UNIT = "AUC"
REASONS = {"flatness": Reason("no longer pulls at the weights: known by heart", 0.05)}


@settings_class
class Settings:
    """There is nothing to set; sequences pass in the micro-batches of unlearning."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variant "block_weights". Measures: flatness, minus the natural logarithm of the norm;
        flatness_two_sided, the distance from the median of the unseen "threshold" half, where the
        attacker has one.

    Raises:
        InputError: an architecture whose blocks do not work on one row per token.
    """
    flatness = flatness_of(target, target.tokens)
    measures = {"flatness": flatness}
    if target.knowledge is not None and target.knowledge.unseen is not None:
        centre = np.median(flatness_of(target, target.knowledge.unseen))
        measures["flatness_two_sided"] = np.abs(flatness - centre)
    return target.rows("block_weights", **measures)


def flatness_of(target: Target, tokens: Tensor) -> np.ndarray:
    """(N,) minus the logarithm of the gradient's norm on token rows (N, T)."""
    norms = gradient_norms(target.model, tokens, target.settings.micro_batch)
    return -np.log(np.maximum(norms, np.finfo(np.float32).tiny))


def gradient_norms(model: PreTrainedModel, tokens: Tensor, micro_batch: int) -> np.ndarray:
    """(N,) norm of the gradient of each sequence's loss by the matrices of the blocks.

    NaN where the loss is not a finite number, and 0 only where nothing depends on the weights.

    Args:
        model: in evaluation mode; its weights and their gradients stay as they are.
        tokens: (N, T) token ids.
        micro_batch: sequences per forward and backward pass.

    Raises:
        InputError: what goes into a matrix is not (sequences, tokens, width).
    """
    import torch
    from torch.nn.functional import cross_entropy

    norms = []
    for rows in tokens.split(micro_batch):
        logits, seen = watched(model, rows)
        if any(into.ndim != 3 or len(into) != len(rows) for into, _ in seen):
            raise InputError(
                "attacks.gradient_norm: the blocks of this architecture mix sequences; leave the"
                " attack out"
            )
        logits = logits[:, :-1].flatten(0, 1).float()
        losses = cross_entropy(logits, rows[:, 1:].flatten(), reduction="none")
        losses = losses.view(len(rows), -1).mean(dim=1)
        slopes = torch.autograd.grad(losses.sum(), [out for _, out in seen])
        square = torch.zeros_like(losses)
        for (into, _), slope in zip(seen, slopes, strict=True):
            square += (into @ into.mT).mul_(slope @ slope.mT).sum(dim=(1, 2))
        # rounding may leave a square that is zero just below it
        norms.append(square.clamp(min=0).sqrt().masked_fill(~losses.isfinite(), torch.nan))
    return torch.cat(norms).detach().double().cpu().numpy()


def watched(model: PreTrainedModel, rows: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Logits of token rows, and what went into each matrix of the blocks and came out of it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(module: object, into: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append((into[0].detach(), out))

    hooks = [module.register_forward_hook(watch) for module in block_modules(model)]
    try:
        logits = model(input_ids=rows, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    return logits, seen
