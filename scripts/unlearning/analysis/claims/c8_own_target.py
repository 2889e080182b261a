"""C8, ours: a method that gives each sequence its own target is not found by the attack."""

import pandas as pd

from unlearning.analysis.claims.reach import privacy_goals
from unlearning.analysis.claims.verdicts import (
    ClaimSettings,
    Verdict,
    pooled_mean,
    show,
    verdict,
)
from unlearning.names import METRICS, method_name


def judge_own_target(runs: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C8: every attack on the method against the same attack on the control, within a margin."""
    label = settings.own_target
    name = method_name(label)
    *attacks, drift = privacy_goals(settings)
    rule = (
        f"{name} minus the control model, AUC of every attack, pooled over cells: supported if each"
        " is surely less than its margin above the control"
        f" ({', '.join(f'{goal.metric}: {goal.limit:g}' for goal in attacks)}), and unseen"
        " sequences did not pay for it: their loss rose surely by less than"
        f" {drift.limit:g} nats per token; refuted if some difference is surely beyond"
        f" its margin; {settings.counts(settings.surely)}"
    )
    if not (runs["unlearner"] == label).any():
        return verdict("C8", False, False, [f"{name} was not run"], rule)
    beyond, evidence = [], []
    for goal in attacks:
        if not (runs["metric"] == goal.metric).any():
            evidence.append(f"{goal.metric}: not measured")
            beyond.append(0)
            continue
        found, sign = goal.found(runs, label, settings)
        beyond.append(sign)
        level = pooled_mean(runs, goal.metric, label, settings)
        word = {-1: "within the margin", 1: "beyond the margin", 0: "not sure"}[sign]
        evidence.append(
            f"{METRICS[goal.metric].label}: {show(level, False)}, minus control {show(found)}"
            f" ({word})"
        )
    held, sign = drift.found(runs, label, settings)
    beyond.append(sign)
    evidence.append(f"{METRICS[drift.metric].label}: {show(held)}")
    if not (runs["unlearner"] == "control").any():
        evidence.append("no control model: chance level unknown")
    return verdict(
        "C8", all(sign < 0 for sign in beyond), any(sign > 0 for sign in beyond), evidence, rule
    )
