"""Everything that is measured of one model: its sequences one by one, and the NLP suite."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearning.evaluation import Suite, Task, load_suite
from unlearning.memorization.rows import tokens_of
from unlearning.memorization.scoring import extraction_likelihood, score_tokens
from unlearning.settings.measurement import MeasurementSettings


def suite_of(
    settings: MeasurementSettings, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Suite:
    """The NLP suite, read from one file `<task>.jsonl` per task in `folder`."""
    tasks = [Task(name, kind, folder / f"{name}.jsonl") for name, kind in settings.tasks.items()]
    return load_suite(tasks, tokenizer, limit=settings.limit, published=settings.published_scorer)


def measure(
    model: PreTrainedModel,
    sequences: pd.DataFrame,
    settings: MeasurementSettings,
    with_el: np.ndarray | None = None,
) -> pd.DataFrame:
    """Memorization and membership scores of each sequence.

    Args:
        model: in evaluation mode.
        sequences: a table of sequences (`unlearning.data.sequences`).
        settings: how to measure.
        with_el: (N,) bool, the sequences whose extraction likelihood is measured too, by far the
            costliest number; None is all.

    Returns:
        One row per sequence in the given order: sequence_id, ma, el, loss (nats per token),
        suffix_loss (the same over the last `extraction_suffix` tokens), verbatim_run (tokens),
        min_k, min_k_plus_plus, extracted (0 or 1), and the token profile (`TokenScores`) with the
        first `extraction_suffix` tokens as the head. All but the id are NaN where the model's
        outputs are not finite numbers, and el where it was not asked for.
    """
    rows = torch.from_numpy(tokens_of(sequences)).to(model.device)
    scores = score_tokens(model, rows)
    wanted = np.ones(len(rows), dtype=bool) if with_el is None else np.array(with_el)
    el = np.full(len(rows), np.nan)
    el[wanted] = extraction_likelihood(
        model, rows[torch.from_numpy(wanted)], settings.ngram, scores=scores.of(wanted)
    )
    table = pd.DataFrame(
        {
            "sequence_id": sequences["sequence_id"].to_numpy(),
            "ma": scores.ma,
            "el": el,
            "loss": scores.loss,
            "suffix_loss": scores.suffix_loss(settings.extraction_suffix),
            "verbatim_run": scores.verbatim_run.astype(float),
            "min_k": scores.min_k(settings.min_k),
            "min_k_plus_plus": scores.min_k_plus_plus(settings.min_k),
            "extracted": scores.extracted(settings.extraction_suffix).astype(float),
            **scores.token_profile(settings.extraction_suffix),
        }
    )
    table.loc[table["loss"].isna(), table.columns != "sequence_id"] = float("nan")
    return table
