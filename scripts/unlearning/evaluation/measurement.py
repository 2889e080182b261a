"""Everything that is measured of one model: its sequences one by one, and the NLP suite."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearning.evaluation import Suite, Task, load_suite
from unlearning.memorization.rows import fitting, of_each, rows_of
from unlearning.memorization.scoring import extraction_likelihood, score_tokens
from unlearning.settings.measurement import MeasurementSettings


def suite_of(
    settings: MeasurementSettings, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Suite:
    """The NLP suite, read from one file `<task>.jsonl` per task in `folder`."""
    tasks = [Task(name, kind, folder / f"{name}.jsonl") for name, kind in settings.tasks.items()]
    return load_suite(tasks, tokenizer, limit=settings.limit, published=settings.published_scorer)


def asks_for_el(
    parts: pd.DataFrame, settings: MeasurementSettings, *, unlearned: bool
) -> np.ndarray:
    """(N,) bool, the sequences whose EL_n is measured on a model; see `MeasurementSettings.el`.

    Args:
        parts: columns split and half: a table of sequences, or of the parts that they play for a
            forget set (`unlearning.data.sequences.roles`).
        settings: how to measure.
        unlearned: whether the model is an unlearned one. On those before, also the sequences that
            set thresholds count, and all planted ones, which may be in some forget set.
    """
    splits = {"forget": ["forget"] if unlearned else ["planted"], "unseen": ["unseen"]}
    asked = parts["split"].isin([split for part in settings.el for split in splits[part]])
    if not unlearned:
        asked |= parts["half"] == "threshold"
    return asked.to_numpy()


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
        with_el: (N,) bool, the sequences whose extraction likelihood is measured too
            (`asks_for_el`); None is all.

    Returns:
        One row per sequence in the given order: sequence_id, ma, el, loss (nats per token),
        suffix_loss (the same over the last `extraction_suffix` tokens), verbatim_run (tokens),
        min_k, min_k_plus_plus, extracted (0 or 1), and the token profile (`TokenScores`) with the
        first `extraction_suffix` tokens as the head. Each is of the sequence's own length; of one
        with fewer than twice the tokens of a suffix or an n-gram, half of it is meant. All but the
        id are NaN where the model's outputs are not finite numbers, and el where it was not asked
        for.
    """
    wanted = np.ones(len(sequences), dtype=bool) if with_el is None else np.array(with_el)
    table = of_each(
        rows_of(sequences, model.device),
        lambda chosen, rows: _measure_rows(model, rows, settings, wanted[chosen]),
    )
    table.insert(0, "sequence_id", sequences["sequence_id"].to_numpy())
    table.loc[table["loss"].isna(), table.columns != "sequence_id"] = float("nan")
    return table


def _measure_rows(
    model: PreTrainedModel, rows: torch.Tensor, settings: MeasurementSettings, wanted: np.ndarray
) -> pd.DataFrame:
    """The columns of `measure` of rows (n, T); `wanted` (n,) says whose EL is measured."""
    suffix, n = (
        fitting(tokens, rows.shape[1]) for tokens in (settings.extraction_suffix, settings.ngram)
    )
    scores = score_tokens(model, rows)
    el = np.full(len(rows), np.nan)
    el[wanted] = extraction_likelihood(
        model, rows[torch.from_numpy(wanted)], n, scores=scores.of(wanted)
    )
    return pd.DataFrame(
        {
            "ma": scores.ma,
            "el": el,
            "loss": scores.loss,
            "suffix_loss": scores.suffix_loss(suffix),
            "verbatim_run": scores.verbatim_run.astype(float),
            "min_k": scores.min_k(settings.min_k),
            "min_k_plus_plus": scores.min_k_plus_plus(settings.min_k),
            "extracted": scores.extracted(suffix).astype(float),
            **scores.token_profile(suffix),
        }
    )
