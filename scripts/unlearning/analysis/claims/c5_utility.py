"""C5: utility is not hurt."""

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, gains_of, show, verdict
from unlearning.analysis.gains import pooled_difference
from unlearning.names import METRICS, method_name
from unlearning.statistics import holm, sign_of


def judge_utility(runs: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C5: suite and perplexity against the original model and the baselines."""
    margins = {
        "utility_accuracy": settings.accuracy_margin,
        "dialogue_f1": settings.accuracy_margin,
        "nats_per_token": -settings.nats_margin,
    }
    rule = (
        "paper's proposals minus original model, pooled over cells: supported if for each the"
        f" loss of task accuracy and of dialogue F1 is surely smaller than"
        f" {settings.accuracy_margin:g} and the rise of log-perplexity surely smaller than"
        f" {settings.nats_margin:g} nats; refuted if some loss is surely larger than its margin"
        " (Holm-corrected); differences to the baselines are given beside and do not decide;"
        f" {settings.counts(settings.surely)}"
    )
    evidence, benefits, p_values, missing = [], [], [], False
    for proposal in settings.paper_proposals:
        for metric, margin in margins.items():
            change = pooled_difference(runs, metric, proposal, "original", settings.confidence)
            beyond = pooled_difference(
                runs, metric, proposal, "original", settings.confidence, shift=margin
            )
            better = 1 if METRICS[metric].better == "higher" else -1
            missing |= change.n == 0
            benefits.append(better * sign_of(beyond))
            p_values.append(beyond.p)
            word = {1: "within the margin", -1: "beyond the margin", 0: "not sure"}[benefits[-1]]
            evidence.append(
                f"{method_name(proposal)} - original, {metric}: {show(change)} ({word})"
            )
    corrected = holm(p_values)
    hurt = any(
        benefit < 0 and p < settings.alpha for benefit, p in zip(benefits, corrected, strict=True)
    )
    found, _ = gains_of(gains, list(margins), settings)
    return verdict(
        "C5",
        not missing and min(benefits, default=0) > 0,
        hurt,
        evidence + [gain.text() for gain in found],
        rule,
    )
