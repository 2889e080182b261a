"""The card of an unlearned model: what was unlearned, how, and what an attack still finds."""

import json
from typing import Any

import pandas as pd

# metric of per_run.csv -> how the card calls it
SHOWN = {
    "ma": "mean memorization accuracy of the forget set",
    "ma_max": "highest memorization accuracy of one sequence",
    "outliers_calibrated": "sequences outside the acceptable band",
    "attack_auc_worst": "AUC of the best membership score",
    "utility_accuracy": "mean accuracy of the choice tasks",
    "perplexity": "perplexity",
}


def card(
    cell: dict[str, Any],
    run: pd.Series,
    block: dict[str, Any],
    origin: str,
    per_run: pd.DataFrame,
    exposed: pd.DataFrame,
) -> str:
    """The README.md of one model folder, Markdown. Sequences are named by id, never by text.

    Args:
        cell: the keys of the run.
        run: its row in runs.parquet.
        block: the unlearner's block of the config.
        origin: where the original model comes from.
        per_run: rows of per_run.csv of this run and of the original model on its forget set.
        exposed: rows of attack_exposed.csv of this run.
    """
    before, after = (
        per_run[per_run["unlearner"] == label].set_index("metric")["value"]
        for label in ("original", cell["unlearner"])
    )
    rows = [
        f"| {label} | {before[name]:.3g} | {after[name]:.3g} |"
        for name, label in SHOWN.items()
        if name in before and name in after
    ]
    found = [f"- {row.sequence_id}: {reason(row)}" for row in exposed.itertuples()]
    settings = {key: value for key, value in block.items() if key != "method"}
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [unlearning]",
            "---",
            "",
            f"# {cell['model']}, {cell['forget_size']} sequences unlearned by {cell['unlearner']}",
            "",
            f"- original model: {origin}",
            f"- forget set: {cell['forget_size']} sequences, draw {cell['seed']}; their ids are in"
            " forget_sets.parquet of the run",
            f"- method: `{block['method']}`, `{json.dumps(settings, sort_keys=True)}`",
            f"- outcome: {run['status']} after {run['epochs']} epochs ({run['phase_epochs']}),"
            f" learning rate {run['learning_rate']:g}",
            "",
            "| | before | after |",
            "|---|---|---|",
            *rows,
            "",
            "What an attacker finds first:",
            "",
            *(found or ["- no sequence was listed"]),
            "",
            "Unlearned means harder to extract by the attacks that were tried, not removed for"
            " certain.",
            "",
        ]
    )


def reason(row: Any) -> str:
    """Why a sequence is exposed, in words."""
    also = f"; also {row.also}" if isinstance(row.also, str) and row.also else ""
    return f"{row.why}{also} (memorization accuracy {row.ma:.2f})"
