"""Settings of the generated corpus."""

from typing import Annotated

from pydantic import Field

from unlearning.settings import settings_class


@settings_class
class CorpusSettings:
    """How much of the generated world there is."""

    seed: int = Field(default=0, ge=0)
    """Everything generated depends on it and on the other keys here, on nothing else."""

    vocabulary: int = Field(default=2048, ge=300, le=2**16)
    """Entries of the tokenizer: 256 bytes, one special token, the rest merges."""

    sequence_length: int = Field(default=64, ge=16)
    """Tokens of every sequence and of every packed row of text."""

    background_tokens: int = Field(default=400_000, ge=1000)
    """Tokens of ordinary text, read once in training."""

    record_share: float = Field(default=0.08, ge=0, lt=1)
    """Part of the ordinary rows that are records seen once. They come from the generator of the
    planted ones, so that an unseen record is nothing unusual."""

    people: int = Field(default=40, ge=8)
    """Inhabitants of the world; each has a home town, a trade, a food and a firm."""

    towns: int = Field(default=20, ge=8)
    """Towns of the world; each has a region and a river."""

    things: int = Field(default=24, ge=8, le=40)
    """Things of the world; each has a place where it is kept and a trade that owns it."""

    skew: float = Field(default=0.7, ge=0)
    """Exponent of the Zipf law by which text speaks of people, towns and things. It spreads the
    difficulty of the tasks: the frequent are easy, the rare are hard."""

    planted: int = Field(default=128, ge=1)
    """Sequences that training repeats: the pool that forget sets are drawn from."""

    repetitions: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(8, 16, 32, 64), min_length=1
    )
    """How often a planted sequence occurs in training: one of these numbers."""

    repetition_weights: tuple[Annotated[float, Field(gt=0)], ...] = (0.15, 0.25, 0.35, 0.25)
    """The share of the planted sequences that has each of these numbers."""

    unseen: int = Field(default=256, ge=2, multiple_of=2)
    """Sequences never trained on: the first half sets the forgetting thresholds, the second
    half is the privacy attack's non-members."""

    items: int = Field(default=80, ge=1)
    """Items of each task."""

    def __post_init__(self) -> None:
        """Hold keys that belong together to each other."""
        if len(self.repetitions) != len(self.repetition_weights):
            raise ValueError(
                f"repetitions has {len(self.repetitions)} entries and repetition_weights "
                f"{len(self.repetition_weights)}; give one weight for each number"
            )
        if self.background_tokens < 10 * self.sequence_length:
            raise ValueError(
                f"background_tokens ({self.background_tokens}) is less than ten rows of "
                f"sequence_length ({self.sequence_length}); raise it"
            )
