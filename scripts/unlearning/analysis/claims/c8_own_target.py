"""C8, ours: a method that gives each sequence its own target is not found by the attack."""

import pandas as pd

from unlearning.analysis.claims.verdicts import (
    ClaimSettings,
    Verdict,
    pooled_mean,
    show,
    verdict,
)
from unlearning.analysis.gains import pooled_difference
from unlearning.names import METRICS, method_name
from unlearning.statistics import sign_of


def judge_own_target(runs: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C8: every attack on the method against the same attack on the control, within a margin."""
    margins = {
        "attack_auc_worst": settings.single_margin,
        "attack_auc_worst_one": settings.single_margin,
        "attack_auc_learned": settings.learned_margin,
        "attack_auc_token_level": settings.strict_margin,
        "attack_auc_observer": settings.strict_margin,
        "attack_auc_strictest": settings.strict_margin,
    }
    label = settings.own_target
    name = method_name(label)
    rule = (
        f"{name} minus the control model, AUC of every attack, pooled over cells: supported if each"
        " is surely less than its margin above the control"
        f" ({', '.join(f'{metric}: {margin:g}' for metric, margin in margins.items())}), and unseen"
        " sequences did not pay for it: their loss rose surely by less than"
        f" {settings.max_drift or 0:g} nats per token; refuted if some difference is surely beyond"
        f" its margin; {settings.counts(settings.surely)}"
    )
    if not (runs["unlearner"] == label).any():
        return verdict("C8", False, False, [f"{name} was not run"], rule)
    beyond, evidence = [], []
    for metric, margin in margins.items():
        if not (runs["metric"] == metric).any():
            evidence.append(f"{metric}: not measured")
            beyond.append(0)
            continue
        found = pooled_difference(runs, metric, label, "control", settings.confidence)
        above = pooled_difference(
            runs, metric, label, "control", settings.confidence, shift=-margin
        )
        beyond.append(sign_of(above))
        level = pooled_mean(runs, metric, label, settings)
        word = {-1: "within the margin", 1: "beyond the margin", 0: "not sure"}[beyond[-1]]
        evidence.append(
            f"{METRICS[metric].label}: {show(level, False)}, minus control {show(found)} ({word})"
        )
    limit = settings.max_drift or 0.0
    drift = pooled_difference(
        runs, "unseen_drift", label, "original", settings.confidence, shift=-limit
    )
    held = pooled_difference(runs, "unseen_drift", label, "original", settings.confidence)
    beyond.append(sign_of(drift))
    evidence.append(f"{METRICS['unseen_drift'].label}: {show(held)}")
    if not (runs["unlearner"] == "control").any():
        evidence.append("no control model: chance level unknown")
    return verdict(
        "C8", all(sign < 0 for sign in beyond), any(sign > 0 for sign in beyond), evidence, rule
    )
