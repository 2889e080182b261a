"""Settings that all unlearners share."""

from typing import Literal

from pydantic import Field

from unlearning.settings import settings_class


@settings_class
class LoraSettings:
    """A low-rank adapter that is trained in place of the model's weights."""

    rank: int = Field(default=16, ge=1)
    """Of the change of each matrix."""

    alpha: float = Field(default=32, gt=0)
    """The change is scaled by alpha / rank."""

    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """The matrices that are changed: "all-linear", all but the embedding and the head; or endings
    of their names, as [q_proj, v_proj]."""

    kept: Literal["merged", "adapter"] = "merged"
    """What `jobs.keep_checkpoints` keeps: the whole model, or the adapter alone, to be put on the
    original."""


@settings_class
class UnlearningSettings:
    """What all unlearners share."""

    learning_rate: float = Field(default=5.0e-5, gt=0)
    """Adam's learning rate, constant; published 5e-5 on GPT-Neo."""

    micro_batch: int = Field(default=32, gt=0)
    """Sequences per forward and backward pass. The whole forget set is one optimizer step all the
    same: this bounds memory and changes nothing beyond rounding."""

    max_epochs: int = Field(default=150, gt=0)
    """At most this many epochs a run; published 150. A run that gets there is recorded as such."""

    stop_metrics: tuple[Literal["ma", "el"], ...] = Field(default=("ma",), min_length=1)
    """What the stop rule looks at: "ma" as in the ICML 2024 release; "ma" and "el" as in Jang et
    al. 2023, where the mean extraction likelihood must be below its threshold too."""

    retain: int = Field(default=128, ge=0)
    """Rows of ordinary training text handed to methods that train on something to keep."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the matrix products of a training step. Weights, gradients and Adam's moments are float32
    whatever it is: the small updates of task arithmetic vanish in half precision."""

    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time, the same
    result."""

    offload: Literal["none", "optimizer"] = "none"
    """optimizer: Adam's moments, and the copies of the weights that task arithmetic keeps, wait in
    the CPU's memory: two to four times the weights less on the device, the same result. Relearning
    does likewise."""

    lora: LoraSettings | None = None
    """Train a low-rank adapter and leave the weights as they are: gradients, Adam's moments and
    task vectors are then a few percent of the model's. Rates some ten times higher than for all
    weights are usual. null trains all weights."""
