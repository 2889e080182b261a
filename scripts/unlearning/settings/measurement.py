"""Settings of what is measured of a model."""

from typing import Literal

from pydantic import Field

from unlearning.settings import settings_class


@settings_class
class MeasurementSettings:
    """How a model is measured."""

    ngram: int = Field(default=10, ge=1)
    """n of the extraction likelihood EL_n, tokens; published 10 at 200 tokens a sequence. At most
    half of a sequence: of rows of your own, which may be short."""

    el: tuple[Literal["forget", "unseen"], ...] = ("forget",)
    """Where EL_n is measured, by far the costliest number. "forget": of the forget set on unlearned
    models, and of all planted sequences on models before unlearning. "unseen": of all unseen
    sequences on every model; only then is EL a score of the privacy attack, which needs both sides.
    Of the unseen sequences that set the thresholds the models before unlearning always have it."""

    extraction_suffix: int = Field(default=50, ge=1)
    """A sequence counts as extracted when greedy decoding from all tokens before the last so many
    emits them verbatim. At most half of a sequence, as `ngram`."""

    min_k: float = Field(default=0.2, gt=0, le=1)
    """The share of least likely tokens that Min-K% and Min-K%++ average over."""

    tasks: dict[str, Literal["choice", "last_word", "dialogue", "perplexity"]] = Field(min_length=1)
    """The NLP suite: name of each task -> its kind."""

    batch_size: int = Field(default=32, gt=0)
    """Items of the suite per forward pass."""

    published_scorer: bool = False
    """Score the suite as the code of Jang et al. 2023 does where ours differs: contexts and answers
    encoded apart, a window of 512 tokens, LAMBADA's answers compared without case, punctuation and
    articles. For comparisons with published numbers, beside `challenge.published_prompts`."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the models while they are measured. In half precision two logits are often equal to the
    last bit, which moves memorization accuracy by a token a sequence."""

    limit: int | None = Field(default=None, gt=0)
    """For trials: take only so many items of each task, so many of the challenge's retained
    sequences and of each half of the unseen ones, and measure an unlearned model on so many of the
    sequences that it was to retain; null takes all, as results should."""
