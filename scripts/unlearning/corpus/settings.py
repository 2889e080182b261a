"""Settings of the generated corpus."""

from dataclasses import dataclass

from unlearning.corpus.world import THINGS
from unlearning.errors import InputError


@dataclass(frozen=True)
class CorpusSettings:
    """How much of the generated world there is. Counts are of sequences, items or entities.

    Attributes:
        seed: everything generated depends on it and on nothing else.
        vocabulary: entries of the tokenizer, special token included.
        sequence_length: tokens T of every sequence and of every packed row.
        background_tokens: tokens of ordinary text, read once in training.
        record_share: part of the background rows that are records seen once. They come from the
            generator of the planted ones, so that an unseen record is in-distribution.
        people: inhabitants of the world; each has a home town, a trade, a food and a firm.
        towns: towns of the world; each has a region and a river.
        things: things of the world; each has a place where it is kept and a trade that owns it.
        skew: exponent of the Zipf law by which text speaks of people, towns and things. It
            spreads the difficulty of the tasks: the frequent are easy, the rare are hard.
        planted: sequences that training repeats, the pool that forget sets are drawn from.
        repetitions: how often a planted sequence occurs in training, one of these numbers.
        repetition_weights: share of the planted sequences that has each of these numbers.
        unseen: sequences never trained on; the first half sets thresholds, the second is the
            non-members of the privacy attack.
        items: items of each task.
    """

    seed: int = 0
    vocabulary: int = 2048
    sequence_length: int = 64
    background_tokens: int = 400_000
    record_share: float = 0.08
    people: int = 40
    towns: int = 20
    things: int = 32
    skew: float = 0.7
    planted: int = 128
    repetitions: tuple[int, ...] = (8, 16, 32, 64)
    repetition_weights: tuple[float, ...] = (0.15, 0.25, 0.35, 0.25)
    unseen: int = 256
    items: int = 80

    def __post_init__(self) -> None:
        """Refuse values that cannot give a corpus."""
        least = {
            "seed": 0,
            "vocabulary": 300,  # 256 bytes, the special token and some merges
            "sequence_length": 16,
            "background_tokens": 10 * self.sequence_length,
            "people": 8,
            "towns": 8,
            "things": 8,
            "planted": 1,
            "unseen": 2,
            "items": 1,
        }
        for key, value in least.items():
            if getattr(self, key) < value:
                raise InputError(f"corpus: {key} is {getattr(self, key)}; give at least {value}")
        if self.things > len(THINGS):
            raise InputError(f"corpus: things is {self.things}; give at most {len(THINGS)}")
        if self.vocabulary > 2**16:
            raise InputError("corpus: vocabulary is above 65536; tokens are stored as uint16")
        if not 0 <= self.record_share < 1:
            raise InputError(f"corpus: record_share is {self.record_share}; give it in [0, 1)")
        if self.skew < 0:
            raise InputError(f"corpus: skew is {self.skew}; give 0 or more")
        if self.unseen % 2:
            raise InputError(f"corpus: unseen is {self.unseen}; give an even number (two halves)")
        if len(self.repetitions) != len(self.repetition_weights) or not self.repetitions:
            raise InputError(
                "corpus: repetitions and repetition_weights differ in length or are []"
            )
        if min(self.repetitions) < 1 or min(self.repetition_weights) < 0:
            raise InputError("corpus: repetitions are at least 1, their weights at least 0")
        if sum(self.repetition_weights) <= 0:
            raise InputError("corpus: repetition_weights sum to 0; make one of them positive")
