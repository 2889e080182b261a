"""The audit's sentences: what came out, what this run cannot say, what to do now."""

from collections.abc import Mapping, Sequence

import pandas as pd

from unlearning import attacks
from unlearning.analysis.audit.document import CONFIDENCE, Knowledge, MethodAudit, ModelAudit
from unlearning.analysis.audit.job import AuditJob
from unlearning.analysis.audit.sequences import Judged
from unlearning.names import METRICS, method_name

PLAIN = {
    "outliers_calibrated_rate": "share of the list that is known more or less than unseen text",
    "attack_auc_worst": "success of the best attack by one score (AUC: 0.5 guesses, 1 finds all)",
    "attack_auc_strictest": "success of the strictest attacker (AUC: 0.5 guesses, 1 finds all)",
    "nats_per_token": "loss on ordinary text, nats per token, lower is better",
    "utility_accuracy": "accuracy on the tasks, higher is better",
}
"""Metrics in words for who does not know them; others are called as in the tables."""


def plainly(metric: str) -> str:
    """What a metric is, in words."""
    known = METRICS[metric]
    better = f", {known.better} is better" if known.better else ""
    return PLAIN.get(metric, f"{known.label}, {known.unit}{better}")


def answer(
    before: Mapping[str, Knowledge],
    methods: Sequence[MethodAudit],
    chosen: str | None,
    nearest: str | None,
    after: Mapping[str, Judged],
) -> str:
    """What came out, for whoever reads one line."""
    counts = pd.Series([known.verdict for known in before.values()]).value_counts()
    n, known = len(before), counts.get("recites", 0) + counts.get("knows", 0)
    text = (
        f"Before: of {n} sequences the model recites {counts.get('recites', 0)}, knows"
        f" {counts.get('knows', 0)} without reciting them, and {n - known} cannot be told from text"
        " that it never saw."
    )
    if not methods:
        return text + " Nothing was unlearned in this run."
    failed = sum(not sequence.passed for sequence in after.values())
    if chosen is None:
        return (
            f"NONE OF THE METHODS IS SAFE: each of the {len(methods)} breaks a limit. Nearest comes"
            f" {method_name(nearest)}, where {failed} of {n} sequences fail. {text}"
        )
    rest = (
        "every sequence passes"
        if not failed
        else f"BUT {failed} of {n} sequences fail, see the table"
    )
    return f"{method_name(chosen)} keeps the limits; {rest}. {text}"


def untested(models: Sequence[ModelAudit], job: AuditJob) -> tuple[str, ...]:
    """What this run cannot say."""
    gaps = []
    if job.limit is not None:
        gaps.append(
            f"This was a trial: at most {job.limit} items and sequences of a kind were measured. No"
            " number here is a result."
        )
    if any(model.control is None for model in models):
        gaps.append(
            "There is no model that never saw the list (`control:`): how much of what attacks find"
            " they would also find there is unknown."
        )
    least = 1 / (1 - CONFIDENCE) - 1
    for model in models:
        if model.unseen < least:
            gaps.append(
                f"{model.model}: {model.unseen} unseen sequences are too few to call any sequence"
                f" known with {CONFIDENCE:.0%} confidence; {least:.0f} is the least, hundreds are"
                " better."
            )
        elif (1 / (model.unseen + 1)) * model.list_size > (1 - CONFIDENCE):
            gaps.append(
                f"{model.model}: with {model.unseen} unseen sequences a single known one among"
                f" {model.list_size} cannot be told for sure, only several together; that takes"
                f" {model.list_size / (1 - CONFIDENCE):.0f} unseen ones."
            )
    if len({(model.model, model.list_size) for model in models}) == len(models):
        gaps.append("One draw and one training run: numbers without an interval are single values.")
    left = sorted(set(attacks.names()) - set(job.attacks))
    if left:
        gaps.append(f"Attacks that were not run: {', '.join(left).replace('_', ' ')}.")
    gaps += [
        "The same facts in other words, other languages or other formats; only the sequences as"
        " they stand were tried.",
        "Whoever holds the weights can train them further for longer than was tried here.",
        "Whether the sequences were in the training data at all: known text may be quoted"
        " elsewhere.",
    ]
    return tuple(gaps)


def steps(models: Sequence[ModelAudit], job: AuditJob) -> tuple[str, ...]:
    """What to do now, by what came out."""
    made = []
    if any(model.comparability.verdict == "different" for model in models):
        made.append(
            "Give unseen text of the list's own kind (same source, same format, written after the"
            " model was trained), and run again before anything here is relied on."
        )
    if any(model.control is None for model in models):
        made.append(
            "If there is an earlier checkpoint, or a model trained without the list, name it under"
            " `control:`."
        )
    if any(not limit.reachable for m in models for way in m.methods for limit in way.limits):
        made.append(
            "A limit is out of reach for text that was never seen: no method can keep it. Raise it"
            " under `solution_space`, or give more unseen text, and say so when you hand this on."
        )
    if any(model.methods and model.chosen is None for model in models):
        made.append(
            "Do not release a model of this run. Try a lower learning rate, stop rule `each`, more"
            " epochs, or retraining without the list."
        )
    if any(model.chosen for model in models):
        where = f"results/{job.run}/kept/" if job.kept else "keep it with `jobs.keep_checkpoints`"
        made.append(
            f"The model of the chosen method ({where}) may be handed on with its card. Audit it"
            " again after further training, merging or quantization."
        )
    if any(not model.methods for model in models):
        made.append(
            "To unlearn what is known, name methods under `unlearners:`; what was measured here is"
            " kept and not measured again."
        )
    made.append("Keep the list and results/ as safe as the list itself: results hold its tokens.")
    return tuple(made)
