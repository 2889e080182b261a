"""Settings of the models that are trained from scratch."""

from typing import Literal

from pydantic import Field

from unlearning.settings import settings_class


@settings_class
class PretrainingSettings:
    """One GPT-Neo: its size, and how it is trained in one pass over the rows."""

    hidden_size: int = Field(default=128, ge=1)
    """Width of the residual stream."""

    layers: int = Field(default=4, ge=2, multiple_of=2)
    """Blocks; global and local attention alternate."""

    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide hidden_size."""

    window: int = Field(default=32, ge=1)
    """Tokens that a local layer sees."""

    activation: Literal["gelu", "gelu_pytorch_tanh"] = "gelu"
    """GELU by the error function, or by the tanh approximation of the published GPT-Neo: the same
    within 5e-4, but more than ten times as slow on a CPU."""

    batch_size: int = Field(default=16, ge=1)
    """Rows of one optimizer step."""

    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate; warm-up is linear, decay follows a cosine."""

    warmup_share: float = Field(default=0.1, ge=0, le=1)
    """Part of the steps that warm up."""

    final_share: float = Field(default=0.05, ge=0, le=1)
    """Learning rate at the end, as a part of the highest."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay, on matrices only."""

    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""

    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes matrix products in bfloat16 over float32 weights: up to twice as fast where the
    processor has instructions for it, another model than fp32 trains, and slow where it has not."""

    def __post_init__(self) -> None:
        """Hold keys that belong together to each other."""
        if self.hidden_size % self.heads:
            raise ValueError(
                f"heads ({self.heads}) does not divide hidden_size ({self.hidden_size}); change one"
            )
