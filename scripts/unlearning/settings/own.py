"""Settings of your own sequences: what a model that knows them already is to forget."""

from typing import Any, Literal

from pydantic import Field, model_validator

from unlearning.jobs.errors import InputError
from unlearning.settings import Name, settings_class


@settings_class
class OwnSettings:
    """Which files hold the sequences.

    A file is JSON lines (.jsonl), CSV (.csv, with a head line) or Parquet (.parquet); paths are
    from the folder that the run is started in. A row has `text`, which is encoded with the models'
    tokenizer, or `tokens`, a list of ids; and `id`, if you like, by which results speak of it.
    """

    forget: str
    """What is to be forgotten: the pool that forget sets are drawn from. How often each stood in
    training text is not known: tables and figures say once."""

    unseen: str
    """Sequences of the same kind that the models were never trained on: one half, drawn by the
    seed, sets the forgetting thresholds, the other is the privacy attack's non-members."""

    retained: str | None = None
    """Sequences of the same kind that the models know and may keep; measured, never forgotten."""

    background: str | None = None
    """Ordinary training text, rows with `text`: for methods that train on something to keep, and
    for a term `retain` under any method."""

    tasks: dict[Name, str] = Field(default_factory=dict)
    """Tasks of your own: name of a task under `measurement.tasks` -> its file. A row is an item of
    the task's kind; of a perplexity task it is a `text` that nothing was trained on."""

    mirror: str | None = None
    """A folder with suite/ to read published tasks from; null downloads them."""

    minimum: int = Field(default=8, ge=8, le=2**20)
    """A row has so many tokens at least. There is no common length: each row is forgotten and
    measured whole, whatever its length, up to what the models can read."""

    too_short: Literal["refuse", "drop"] = "refuse"
    """What to do with a row that has fewer tokens."""

    window: int | None = Field(default=None, ge=8, le=2**20)
    """Cut longer rows into windows of so many tokens, which are sequences of their own: `x#1`,
    `x#2`, ... What is left at the end is a window too, or, with fewer tokens than `minimum`, part
    of the one before it. null cuts nothing: a row that a model cannot read whole is refused."""

    bos: Literal["auto"] | bool = "auto"
    """Begin each sequence with the tokenizer's beginning-of-text token, which is never scored: as
    the tokenizer itself does with a text ("auto"), always, or never."""

    seed: int = Field(default=0, ge=0)
    """Draws the halves of the unseen sequences."""

    @model_validator(mode="before")
    @classmethod
    def _name_successors(cls, values: Any) -> Any:
        """Say what took the place of a key that is no more."""
        given = getattr(values, "kwargs", values)
        if isinstance(given, dict) and "sequence_length" in given:
            raise ValueError(
                "sequence_length: rows are no longer cut to one length; take it out, and give"
                " `minimum` (the fewest tokens of a row) or `window` (cuts longer rows into"
                " windows)"
            )
        return values

    def __post_init__(self) -> None:
        """Refuse windows that would be too short themselves."""
        if self.window is not None and self.window < self.minimum:
            raise InputError(
                f"window: {self.window} is below minimum: {self.minimum}; raise it or lower that"
            )

    def files(self) -> dict[str, str]:
        """All files that are given: their key -> path."""
        named = {
            key: getattr(self, key)
            for key in ("forget", "unseen", "retained", "background")
            if getattr(self, key) is not None
        }
        return named | {f"tasks.{name}": path for name, path in self.tasks.items()}
