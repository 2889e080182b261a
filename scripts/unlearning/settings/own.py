"""Settings of your own sequences: what a model that knows them already is to forget."""

from typing import Literal

from pydantic import Field

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

    sequence_length: int = Field(ge=8)
    """Tokens of a sequence. Longer ones are cut."""

    too_short: Literal["refuse", "drop"] = "refuse"
    """What to do with a row that has fewer tokens."""

    seed: int = Field(default=0, ge=0)
    """Draws the halves of the unseen sequences."""

    def files(self) -> dict[str, str]:
        """All files that are given: their key -> path."""
        named = {
            key: getattr(self, key)
            for key in ("forget", "unseen", "retained", "background")
            if getattr(self, key) is not None
        }
        return named | {f"tasks.{name}": path for name, path in self.tasks.items()}
