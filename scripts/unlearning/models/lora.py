"""Low-rank adapters: unlearning where full-parameter training does not fit (Hu et al. 2022).

A frozen matrix W acts as W + (alpha / rank) B A, with A (rank x in) and B (out x rank) to train
(arXiv 2106.09685). B begins at zero, so a model with a fresh adapter computes what it did before.
All that a method trains, reads and sets through its learner is then the adapter: gradients, Adam's
moments and task vectors are those of A and B, a few percent of the model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from unlearning.jobs.errors import InputError, first_line
from unlearning.models import sharding
from unlearning.settings.unlearning import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel

FOLDER = "adapter"


def attach(model: PreTrainedModel, settings: LoraSettings, seed: int) -> PeftModel:
    """Put an adapter into `model`, in place, and freeze all else.

    Args:
        model: a causal language model; it is the same object afterwards, to be used as before.
        settings: rank, scale, which matrices.
        seed: draws A.

    Returns:
        The handle by which the adapter is saved and merged.

    Raises:
        InputError: the model has no such matrices, or is to be spread over several processes.
    """
    from peft import LoraConfig, get_peft_model

    if sharding.processes() > 1:
        raise InputError("unlearning.lora: adapters fit one GPU; set models.<name>.gpus to 1")
    targets = settings.targets
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise InputError(
                f"unlearning.lora.targets: {first_line(error)}; give `all-linear`, or endings of"
                " the names of the model's own linear layers"
            ) from None


def save_merged(adapter: PeftModel, folder: Path) -> None:
    """Write the model with the adapter in its weights, and the adapter by itself in `adapter/`.

    The adapter is gone from the model afterwards: its product stands in the weights.
    """
    adapter.save_pretrained(folder / FOLDER)
    (folder / FOLDER / "README.md").unlink(missing_ok=True)  # a template; the model has its card
    adapter.merge_and_unload().save_pretrained(folder)
