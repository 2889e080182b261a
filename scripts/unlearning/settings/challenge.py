"""Settings of the real sequences: the Training Data Extraction Challenge."""

from typing import Annotated, Literal

from pydantic import Field

from unlearning.settings import settings_class

PUBLISHED_LENGTH = 200


@settings_class
class ChallengeSettings:
    """Which published sequences play which part."""

    seed: int = Field(default=0, ge=0)
    """Draws everything that the published files leave open."""

    mirror: str | None = None
    """A folder with extraction/, suite/ and gpt2-tokenizer/ to read instead of the network; null
    downloads each file from where it is published."""

    sequence_length: int = Field(default=PUBLISHED_LENGTH, ge=16, le=PUBLISHED_LENGTH)
    """Tokens of a sequence; published 200. Longer rows are cut."""

    vocabulary: int | None = Field(default=None, ge=300, le=2**16)
    """null keeps the published GPT-2 token rows; a number trains a tokenizer with so many entries
    on the decoded rows and encodes them anew, which suits small models trained from scratch."""

    retained: int = Field(default=200, ge=0, le=1000)
    """Rows of the challenge's validation part: memorized like the others, never to be forgotten."""

    unseen: int = Field(default=256, ge=2, multiple_of=2)
    """Sequences never trained on: the first half sets the forgetting thresholds, the second is
    the privacy attack's non-members."""

    unseen_from: Literal["pile", "challenge"] = "pile"
    """Where they come from: pieces of the Pile's validation part, unseen by any model trained on
    the Pile; or rows of the challenge, for models trained here that never get them to see."""

    background_rows: int = Field(default=0, ge=0)
    """Further rows of the challenge that are ordinary text: trained on once, for models trained
    here."""

    background_share: float = Field(default=0.1, ge=0, lt=1)
    """Part of the Pile and WikiText pieces that is ordinary text: trained on once by models trained
    here, and handed as rows to retain to methods that train on such. The rest is the perplexity
    tasks'."""

    repetitions: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(5,), min_length=1)
    """How often a sequence to be memorized occurs in training: one of these numbers, for models
    trained here. The published rows occur at least five times in the Pile."""

    text_round_trip: bool = False
    """Decode each sequence to text as the published files hold it, encode it anew, pad it with the
    end-of-text token and cut it, as the published code does. One sequence in ten comes back
    changed; for comparisons with published runs only."""

    published_prompts: bool = False
    """Ask the tasks exactly as Jang et al. 2023 do, where ours differ (COPA without its question,
    ARC without its items of 3 or 5 choices, LAMBADA and MathQA cut by their expressions)."""
