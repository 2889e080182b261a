"""Names: of the methods and of the metrics, in the order of every table and legend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

METHODS = {
    "original": "original",
    "control": "never trained on it",
    "ga": "GA",
    "ga_tuned": "GA, tuned",
    "sga": "SGA",
    "sga_tuned": "SGA, tuned",
    "ta": "TA",
    "ta_tuned": "TA, tuned",
    "tau": "TAU",
    "tau_tuned": "TAU, tuned",
    "ga_kl": "GA + KL",
    "sga_kl": "SGA + KL",
    "grad_diff": "GradDiff",
    "npo": "NPO",
    "simnpo": "SimNPO",
    "undial": "UNDIAL",
    "ihl": "IHL",
    "wga": "WGA",
    "satimp": "SatImp",
    "max_entropy": "ME",
    "rmu": "RMU",
    "baldro": "GA, weighted as in BalDRO",
    "perturb": "shrink & perturb",
    "sga_each": "SGA-each (ours)",
    "ta_then_sga": "TA→SGA (ours)",
    "twin": "twin (ours)",
    "twin_tuned": "twin, tuned (ours)",
}
"""Display names of the registered rows, in the order of every table and legend."""


@dataclass(frozen=True)
class Metric:
    """What a metric is called, its unit, and which direction is better ("" where none is)."""

    label: str
    unit: str
    better: str = ""


METRICS = {
    "ma": Metric("mean g", "MA, 0..1"),
    "ma_max": Metric("largest g", "MA, 0..1", "lower"),
    "ma_min": Metric("smallest g", "MA, 0..1"),
    "ma_spread": Metric("spread of g", "standard deviation of MA", "lower"),
    "el": Metric("extraction likelihood", "EL, 0..1", "lower"),
    "el_max": Metric("largest extraction likelihood", "EL, 0..1", "lower"),
    "loss": Metric("loss on the forget set", "nats per token"),
    "verbatim_run": Metric("longest verbatim run, mean", "tokens", "lower"),
    "verbatim_run_max": Metric("longest verbatim run, largest", "tokens", "lower"),
    "extracted": Metric("emitted verbatim", "share of sequences", "lower"),
    "outliers_paper": Metric("c(D_f), fixed band", "sequences", "lower"),
    "under_forgotten_paper": Metric("still memorized, fixed band", "sequences", "lower"),
    "over_forgotten_paper": Metric("over-forgotten, fixed band", "sequences", "lower"),
    "outliers_paper_rate": Metric("c(D_f), fixed band", "share of the set", "lower"),
    "under_forgotten_paper_rate": Metric(
        "still memorized, fixed band", "share of the set", "lower"
    ),
    "over_forgotten_paper_rate": Metric("over-forgotten, fixed band", "share of the set", "lower"),
    "outliers_calibrated": Metric("c(D_f), calibrated band", "sequences", "lower"),
    "under_forgotten_calibrated": Metric("still memorized, calibrated band", "sequences", "lower"),
    "over_forgotten_calibrated": Metric("over-forgotten, calibrated band", "sequences", "lower"),
    "outliers_calibrated_rate": Metric("outliers c(D_f)/|D_f|", "share of the set", "lower"),
    "under_forgotten_calibrated_rate": Metric(
        "still memorized, calibrated band", "share of the set", "lower"
    ),
    "over_forgotten_calibrated_rate": Metric(
        "over-forgotten, calibrated band", "share of the set", "lower"
    ),
    "unseen_outliers_paper_rate": Metric("unseen outside the fixed band", "share of unseen"),
    "unseen_outliers_calibrated_rate": Metric(
        "unseen outside the calibrated band", "share of unseen"
    ),
    "unseen_above_paper_rate": Metric("unseen above the fixed band", "share of unseen"),
    "unseen_above_calibrated_rate": Metric("unseen above the calibrated band", "share of unseen"),
    "excess_memorized_rate": Metric(
        "still memorized in excess of unseen sequences", "difference of shares", "lower"
    ),
    "excess_outliers_rate": Metric(
        "outliers in excess of unseen sequences", "difference of shares", "lower"
    ),
    "unseen_ma": Metric("mean g of unseen sequences", "MA, 0..1"),
    "unseen_ma_spread": Metric("spread of g of unseen sequences", "standard deviation of MA"),
    "unseen_loss": Metric("loss on unseen sequences", "nats per token"),
    "unseen_drift": Metric("rise of the loss on unseen sequences", "nats per token", "lower"),
    "unseen_extracted": Metric("unseen emitted verbatim", "share of sequences"),
    "retained_ma": Metric("mean g of planted sequences not to be forgotten", "MA, 0..1"),
    "mean_met": Metric("runs whose mean g is below the threshold", "share of runs"),
    "attack_auc_loss": Metric("attack by loss, one-sided", "AUC", "lower"),
    "attack_auc_worst": Metric("worst attack, two-sided", "AUC", "lower"),
    "attack_auc_strictest": Metric("strictest attack of all", "AUC", "lower"),
    "attack_tpr_at_5_worst": Metric("worst attack, two-sided", "TPR at 5 % FPR", "lower"),
    "attack_auc_change": Metric("attack by change against the original", "AUC", "lower"),
    "attack_auc_worst_one": Metric("worst attack, one-sided, either way", "AUC", "lower"),
    "attack_auc_token_level": Metric("token-level learned attacker", "AUC", "lower"),
    "attack_auc_observer": Metric("observer with a reference", "AUC", "lower"),
    "attack_auc_learned": Metric("learned attacker, black box", "AUC", "lower"),
    "relearned": Metric("returns by relearning", "rise of MA, forget − unseen", "lower"),
    "utility_accuracy": Metric("task accuracy", "mean over tasks", "higher"),
    "utility_last_word": Metric("last-word accuracy", "share correct", "higher"),
    "dialogue_f1": Metric("dialogue F1", "mean over sets, 0..1", "higher"),
    "perplexity": Metric("perplexity", "per token", "lower"),
    "nats_per_token": Metric("log-perplexity", "nats per token", "lower"),
    "epochs": Metric("epochs", "optimizer steps"),
    "n_diverged": Metric("diverged runs", "runs"),
    "n_cap": Metric("runs that hit the epoch limit", "runs"),
}
"""Every metric of per_run.csv, main.csv and gains.csv, in the order of the tables."""

HEADLINE = (
    "outliers_calibrated_rate",
    "ma_max",
    "attack_auc_worst",
    "utility_accuracy",
    "nats_per_token",
)
"""What methods are compared by: together, one family of comparisons."""

DETERMINED = {
    "mean": ("ma", "mean_met"),
    "each": (
        "ma_max",
        *(
            f"{count}_{band}{form}"
            for count in ("outliers", "under_forgotten")
            for band in ("paper", "calibrated")
            for form in ("", "_rate")
        ),
        "excess_memorized_rate",
        "excess_outliers_rate",
    ),
}
"""Stop rule -> the metrics that it brings about by itself. A run that goes on until no sequence is
above the band has none above it, and so a small largest g and a c(D_f) of one side alone (by the
fixed band too, whose end lies above the calibrated one's where unseen text is little known): such a
number says that the rule was met, not that the method forgets well."""

TASK_KINDS = {
    "utility_last_word": ("last_word",),
    "dialogue_f1": ("dialogue",),
    "nats_per_token": ("perplexity",),
}
"""Metrics that are means over tasks, with the kinds of task that enter; of the accuracy the config
says which (`tables.accuracy_kinds`)."""

COUNTED = {"n_diverged", "n_cap"}
"""Metrics whose row in main.csv is a sum over runs, not a mean."""


def method_order(labels: Iterable[str]) -> list[str]:
    """Registered methods in their order, then others alphabetically."""
    labels = set(map(str, labels))
    return [m for m in METHODS if m in labels] + sorted(labels - set(METHODS))


def method_name(label: str) -> str:
    """A method's display name; one that is not registered is shown by its own label."""
    return METHODS.get(label, label)


def model_order(labels: Iterable[str], given: Sequence[str] = ()) -> list[str]:
    """Models in the given order, then others alphabetically."""
    labels = set(map(str, labels))
    return [m for m in given if m in labels] + sorted(labels - set(given))
