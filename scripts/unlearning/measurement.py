"""Everything that is measured of one model: its sequences one by one, and the NLP suite."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearning.evaluation import Suite, Task, load_suite
from unlearning.memorization import extraction_likelihood, score_tokens
from unlearning.sequences import tokens_of


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings:
    """How a model is measured.

    Attributes:
        ngram: n of the extraction likelihood EL_n, tokens.
        extraction_suffix: a sequence counts as extracted when greedy decoding from all tokens
            before the last so many emits them verbatim.
        min_k: the share of least likely tokens that Min-K% and Min-K%++ average over.
        tasks: name of each task of the suite -> its kind.
        batch_size: items of the suite per forward pass.
        limit: take only so many items of each task; None takes all.
    """

    ngram: int
    extraction_suffix: int
    min_k: float
    tasks: dict[str, str]
    batch_size: int
    limit: int | None = None

    def suite(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> Suite:
        """The NLP suite, read from one file `<task>.jsonl` per task in `folder`."""
        tasks = [Task(name, kind, folder / f"{name}.jsonl") for name, kind in self.tasks.items()]
        return load_suite(tasks, tokenizer, limit=self.limit)


def measure(
    model: PreTrainedModel, sequences: pd.DataFrame, settings: MeasurementSettings
) -> pd.DataFrame:
    """Memorization and membership scores of each sequence.

    Args:
        model: in evaluation mode.
        sequences: a table of sequences (`unlearning.sequences`).
        settings: how to measure.

    Returns:
        One row per sequence in the given order: sequence_id, ma, el, loss (nats per token),
        verbatim_run (tokens), min_k, min_k_plus_plus, extracted (0 or 1). All but the id are NaN
        where the model's outputs are not finite numbers.
    """
    rows = torch.from_numpy(tokens_of(sequences)).to(model.device)
    scores = score_tokens(model, rows)
    table = pd.DataFrame(
        {
            "sequence_id": sequences["sequence_id"].to_numpy(),
            "ma": scores.ma,
            "el": extraction_likelihood(model, rows, settings.ngram, scores=scores),
            "loss": scores.loss,
            "verbatim_run": scores.verbatim_run.astype(float),
            "min_k": scores.min_k(settings.min_k),
            "min_k_plus_plus": scores.min_k_plus_plus(settings.min_k),
            "extracted": scores.extracted(settings.extraction_suffix).astype(float),
        }
    )
    table.loc[table["loss"].isna(), table.columns != "sequence_id"] = float("nan")
    return table
