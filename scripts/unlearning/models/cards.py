"""The card of an unlearned model: what was unlearned, how, whether the limits held, what is left.

Its head is metadata as the Hugging Face hub reads it (YAML, of which JSON is a part), with the
results as `model-index`. Sequences are named by id, never by text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from unlearning.limits import at_most
from unlearning.names import METRICS
from unlearning.settings.analysis import SolutionSettings

# metric of per_run.csv -> how the card calls it
SHOWN = {
    "ma": "mean memorization accuracy of the forget set",
    "ma_max": "highest memorization accuracy of one sequence",
    "loss": "loss on the forget set, nats per token",
    "unseen_loss": "loss on unseen sequences, nats per token",
    "retained_loss": "loss on sequences to be retained, nats per token",
    "retained_ma": "mean memorization accuracy of sequences to be retained",
    "outliers_calibrated_rate": "share of the forget set outside the acceptable band",
    "attack_auc_worst": "AUC of the best membership score",
    "attack_auc_strictest": "AUC of the strictest attacker",
    "utility_accuracy": "mean accuracy of the choice tasks",
    "perplexity": "perplexity",
}


@dataclass(frozen=True)
class Facts:
    """What a card says of one unlearned model.

    Attributes:
        cell: the keys of the run.
        run: its row in runs.parquet.
        block: the unlearner's block of the config.
        origin: where the original model comes from, in words.
        before: metric -> value on the original model, of per_run.csv and `SHOWN`.
        after: the same on this one.
        exposed: rows of attack_exposed.csv of this run.
        rule: the limits.
        strictest: the attacker that finds most, in words; empty where none is named.
        floor: metric -> value on the control, which never saw the set; empty without one.
        lengths: tokens of the shortest and of the longest sequence of the forget set.
        unseen: unseen sequences that it was compared with.
        trial: `measurement.limit` of a run that was cut short.
        hub: the original's name on the hub, if it is from there.
        digests: file -> SHA-256: of the original's weights, of these, of the user's files.
        adapter: whether only an adapter is kept.
    """

    cell: Mapping[str, Any]
    run: pd.Series
    block: Mapping[str, Any]
    origin: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    exposed: pd.DataFrame
    rule: SolutionSettings
    lengths: tuple[int, int]
    unseen: int
    strictest: str = ""
    floor: Mapping[str, float] = field(default_factory=dict)
    trial: int | None = None
    hub: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    adapter: bool = False


def card(facts: Facts) -> str:
    """The README.md of one model folder, Markdown."""
    cell, run = facts.cell, facts.run
    head = "\n".join(
        f"{key}: {json.dumps(value, indent=2, ensure_ascii=False)}"
        for key, value in metadata(facts).items()
    )
    rows = [
        f"| {label} | {shown(facts.before.get(name))} | {shown(facts.after.get(name))} |"
        for name, label in SHOWN.items()
        if np.isfinite(facts.after.get(name, np.nan)) or np.isfinite(facts.before.get(name, np.nan))
    ]
    found = [f"- {row.sequence_id}: {reason(row)}" for row in facts.exposed.itertuples()]
    settings = {key: value for key, value in facts.block.items() if key != "method"}
    shortest, longest = facts.lengths
    length = f"{shortest} tokens" if shortest == longest else f"{shortest} to {longest} tokens"
    return "\n".join(
        [
            "---",
            head,
            "---",
            "",
            f"# {cell['model']}, {cell['forget_size']} sequences unlearned by {cell['unlearner']}",
            "",
            f"**{verdict(facts)}**",
            "",
            *(
                [
                    f"**From a trial run (at most {facts.trial} items and sequences of a kind): no"
                    " number here is a result.**",
                    "",
                ]
                if facts.trial is not None
                else []
            ),
            f"- original model: {facts.origin}",
            f"- forget set: {cell['forget_size']} sequences of {length}, draw {cell['seed']}; their"
            " ids are in forget_sets.parquet of the run",
            f"- compared with {facts.unseen} unseen sequences",
            f"- method: `{facts.block['method']}`, `{json.dumps(settings, sort_keys=True)}`",
            f"- outcome: {run['status']} after {run['epochs']} epochs ({run['phase_epochs']}),"
            f" learning rate {run['learning_rate']:g}",
            *(
                ["- this folder holds an adapter: put it on the original with `peft`"]
                if facts.adapter
                else []
            ),
            *(f"- SHA-256 of {name}: `{digest}`" for name, digest in facts.digests.items()),
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


def verdict(facts: Facts) -> str:
    """Whether each limit was kept, in words."""
    said, kept = [], facts.run["status"] != "diverged"
    for metric, limit in facts.rule.limits():
        value = facts.after.get(metric, np.nan)
        holds = bool(at_most(value, limit))
        kept = kept and holds
        beside = ""
        if metric == facts.rule.attack_metric:
            beside = f"; by {facts.strictest}" if facts.strictest else ""
            if metric in facts.floor:
                beside += f"; a model that never saw the set has {shown(facts.floor[metric])}"
        said.append(
            f"{METRICS[metric].label} {shown(value)} ({'kept' if holds else 'BROKEN'}: at most"
            f" {limit:g}{beside})"
        )
    start = "All limits are kept" if kept else "NOT SAFE by the limits of its run"
    return f"{start}: {'; '.join(said)}."


def metadata(facts: Facts) -> dict[str, Any]:
    """The head of the card, as the hub reads it.

    `base_model` is named only where it has a name on the hub; a folder has none.
    """
    cell = facts.cell
    metrics = [
        {"type": name, "name": label, "value": float(facts.after[name])}
        for name, label in SHOWN.items()
        if np.isfinite(facts.after.get(name, np.nan))
    ]
    known: dict[str, Any] = {
        "library_name": "peft" if facts.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["unlearning", "privacy", str(facts.block["method"]).replace("_", "-")],
    }
    if facts.hub is not None:
        known["base_model"] = facts.hub
        known["base_model_relation"] = "adapter" if facts.adapter else "finetune"
    name = f"{cell['model']}-{cell['forget_size']}-{cell['unlearner']}-{cell['seed']}"
    if metrics:
        known["model-index"] = [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "text-generation", "name": "unlearning"},
                        "dataset": {
                            "type": "private",
                            "name": f"a list of {cell['forget_size']} sequences to be forgotten",
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ]
    return known


def shown(value: float | None) -> str:
    """A number with three digits, or a dash."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"


def reason(row: Any) -> str:
    """Why a sequence is exposed, in words."""
    also = f"; also {row.also}" if isinstance(row.also, str) and row.also else ""
    return f"{row.why}{also} (memorization accuracy {row.ma:.2f})"
