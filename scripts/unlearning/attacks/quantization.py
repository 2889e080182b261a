"""Quantization: does memorization come back when the weights are rounded? (Zhang et al. 2024)

Unlearning that moves weights only a little can be undone by rounding them (arXiv 2410.16454). The
matrices inside the blocks are rounded; embeddings, output head, norms and biases are not, as is
usual. Schemes, for a weight w among the weights W that share a scale:

- "int<b>": one scale per output channel, the simplest there is. Levels are symmetric about zero:
  s = max|W| / (2^(b-1) - 1), w -> s round(w / s).
- "int<b>_g<n>": groups of n consecutive inputs of one output, each with a scale and a zero point,
  as GPTQ and AWQ store weights (n = 128; the last group may be shorter). With lo = min(W, 0) and
  hi = max(W, 0): s = (hi - lo) / (2^b - 1), z = round(-lo / s),
  w -> s (clip(round(w / s) + z, 0, 2^b - 1) - z). GPTQ and AWQ besides adapt the weights to data;
  here they are rounded to the nearest level.
- "nf4" or "nf4_g<n>": 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314), n = 64 weights
  consecutive in memory, outputs first: a = max|W|, w -> a times the nearest of `NF4_LEVELS` to
  w / a. The scales themselves stay in full precision (QLoRA may round them once more).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from unlearning.attacks import Reason
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from unlearning.attacks.target import Target

PER_FORGET_SET = False
TITLE = "quantization"
HEADLINE = ("ma_rise", "difference")
UNIT = "rise of MA, forget − unseen"
REASONS = {"ma_rise": Reason("comes back when quantized", 0.02)}
NF4_GROUP = 64
NF4_LEVELS = (
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
"""Published: the middles of 2^4 quantile bins of a normal distribution, zero among them."""

SCHEME = r"^(int([2-9]|1[0-6])(_g[1-9]\d*)?|nf4(_g[1-9]\d*)?)$"


@settings_class
class Settings:
    """To what the weights are rounded."""

    schemes: tuple[Annotated[str, StringConstraints(pattern=SCHEME)], ...] = Field(
        default=("nf4", "int4_g128", "int8_g128", "int4", "int8"), min_length=1
    )
    """One variant each; the first stands for the attack in figures. "int4": 4 bits, a scale per
    output channel (2 to 16 bits); "int4_g128": a scale and a zero point per 128 inputs; "nf4":
    NormalFloat in groups of 64, or of others as "nf4_g128"."""


def attack(target: Target, settings: Settings) -> pd.DataFrame:
    """The attack on one model.

    Returns:
        Variants by scheme. Measures as in `Target.changes`, against the same model unrounded.
    """
    import pandas as pd
    import torch

    matrices = block_matrices(target.model)
    parts = []
    for scheme in settings.schemes:
        kept = [weight.detach().clone() for weight, _ in matrices]
        with torch.no_grad():
            for weight, channel in matrices:
                weight.copy_(quantized(weight, scheme, channel))
            after = target.summary(target.tokens)
            for (weight, _), value in zip(matrices, kept, strict=True):
                weight.copy_(value)
        parts.append(target.changes(scheme, after))
    return pd.concat(parts, ignore_index=True)


def block_modules(model: PreTrainedModel) -> list[Module]:
    """The modules of the blocks that multiply by a weight matrix, in the model's order."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    kinds = {torch.nn.Linear, Conv1D}
    return [module for module in model.modules() if type(module) in kinds and module is not head]


def block_matrices(model: PreTrainedModel) -> list[tuple[Tensor, int]]:
    """The weight matrices to round, each with the dimension that counts output channels."""
    import torch

    # GPT-2's Conv1D keeps its matrices transposed
    return [
        (module.weight, 0 if type(module) is torch.nn.Linear else 1)
        for module in block_modules(model)
    ]


def quantized(weight: Tensor, scheme: str, channel: int) -> Tensor:
    """A matrix rounded by a scheme; `channel` is the dimension that counts output channels."""
    kind, bits, group = re.fullmatch(r"(int|nf)(\d+)(?:_g(\d+))?", scheme).groups()
    by_output = weight if channel == 0 else weight.T
    if kind == "nf":
        found = normal_float(by_output, int(group or NF4_GROUP))
    elif group:
        found = group_rounded(by_output, int(bits), int(group))
    else:
        return rounded(weight, int(bits), channel)
    return found if channel == 0 else found.T


def rounded(weight: Tensor, bits: int, channel: int) -> Tensor:
    """A matrix rounded to the nearest of 2^bits - 1 levels, one scale per slice of `channel`."""
    levels = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(dim=1 - channel, keepdim=True)
    scale = (largest / levels).where(largest > 0, 1.0)
    return (weight / scale).round() * scale


def group_rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """(out, in) weights rounded to 2^bits levels, scale and zero point per group of inputs."""
    import torch

    top = 2**bits - 1
    parts = []
    for part in weight.split(group, dim=1):
        low = part.amin(dim=1, keepdim=True).clamp(max=0)
        high = part.amax(dim=1, keepdim=True).clamp(min=0)
        scale = ((high - low) / top).where(high > low, 1.0)
        zero = (-low / scale).round()
        parts.append((((part / scale).round() + zero).clamp(0, top) - zero) * scale)
    return torch.cat(parts, dim=1)


def normal_float(weight: Tensor, group: int) -> Tensor:
    """(out, in) weights rounded to the nearest NF4 level, one scale per `group` in memory order."""
    import torch

    levels = torch.tensor(NF4_LEVELS, dtype=weight.dtype, device=weight.device)
    flat = weight.reshape(-1)
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % group)).view(-1, group)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    scale = scale.masked_fill(scale == 0, 1.0)
    nearest = torch.bucketize(blocks / scale, (levels[1:] + levels[:-1]) / 2)
    return (levels[nearest] * scale).view(-1)[: len(flat)].view(weight.shape)
