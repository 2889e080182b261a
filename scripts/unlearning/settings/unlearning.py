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
    """At most this many epochs of a run that a stop rule judges; published 150. One that gets there
    is recorded as such."""

    stop_metrics: tuple[Literal["ma", "el"], ...] = Field(default=("ma",), min_length=1)
    """What the stop rule looks at: "ma" as in the ICML 2024 release; "ma" and "el" as in Jang et
    al. 2023, where the mean extraction likelihood must be below its threshold too."""

    retain: int = Field(default=128, ge=0)
    """Rows of ordinary training text handed to methods that train on something to keep, drawn for
    each run by its seed."""

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


@settings_class
class RetainSettings:
    """What every step adds on text to keep, whatever the method does on what is to be forgotten."""

    kind: Literal["kl", "nll"] = "kl"
    """"kl" holds the model to what the original predicted there, KL(original || model) in nats per
    token; "nll" trains on the text itself, its mean token loss."""

    weight: float = Field(default=1.0, gt=0)
    """Factor before it. (Adam is blind to a factor before the whole loss: a weight of 8 here is a
    weight of 1/8 before the method's own loss.)"""

    batch: int = Field(default=32, gt=0)
    """Rows of a step; the rows to retain are gone through in an order drawn by the run's seed."""


@settings_class
class UnlearnerSettings:
    """What a block under `unlearners` may say beside its method's own settings."""

    method: str
    """A file in scripts/unlearning/unlearners/."""

    stop: str | None = None
    """The stop rule: "mean" on the mean g of the set, "each" on each sequence, "none" for a method
    with an end of its own. null is "none" for such a method and "mean" for others."""

    settings: Literal["published", "tuned"] = "published"
    """published: as the block says. tuned: the point of the block's grid (`tuning.grids`) that the
    tuning chooses, over what the block says."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Adam's, instead of the shared one."""

    relative_rate: float | None = Field(default=None, gt=0)
    """The same as a multiple of the shared one, which may be each model's own."""

    retain: RetainSettings | None = None
    """A term on text to keep. Left out, the method's published one, which may be none; null is
    none."""
