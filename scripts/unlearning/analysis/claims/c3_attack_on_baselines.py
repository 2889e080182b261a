"""C3: an attack shows that methods without the per-sequence view fail for privacy."""

import pandas as pd

from unlearning.analysis.claims.verdicts import (
    ClaimSettings,
    Verdict,
    gain_of,
    pooled_mean,
    show,
    verdict,
)
from unlearning.analysis.gains import pooled_difference
from unlearning.names import method_name
from unlearning.statistics import sign_of


def judge_attack_on_baselines(
    runs: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings
) -> Verdict:
    """C3: attack success on the baselines against chance and against the proposals."""
    metric = settings.paper_attack
    names = [method_name(b) for b in settings.paper_baselines]
    rule = (
        f"{metric}: supported if it is surely above the control model's (the chance level of a"
        f" maximum over scores) for each of {', '.join(names)}, and each of them is surely more"
        " exposed than some proposal of the paper; refuted if some baseline is surely below the"
        " control, or surely less exposed than every proposal it was compared with;"
        f" {settings.counts(settings.surely)}"
    )
    above, beaten, reversed_, evidence = [], [], [], []
    for baseline in settings.paper_baselines:
        chance = pooled_difference(runs, metric, baseline, "control", settings.confidence)
        above.append(sign_of(chance))
        level = pooled_mean(runs, metric, baseline, settings)
        evidence.append(
            f"{method_name(baseline)}: {show(level, False)}; minus control: {show(chance)}"
        )
        found = [gain_of(gains, p, baseline, metric) for p in settings.paper_proposals]
        found = [gain for gain in found if gain is not None]
        evidence += [gain.text() for gain in found] or [
            f"no proposal to compare with {method_name(baseline)}"
        ]
        beaten.append(any(gain.effect < 0 for gain in found))
        reversed_.append(bool(found) and all(gain.effect > 0 for gain in found))
    if not (runs["unlearner"] == "control").any():
        evidence.append("no control model: chance level unknown")
    return verdict(
        "C3",
        all(sign > 0 for sign in above) and all(beaten),
        any(sign < 0 for sign in above) or any(reversed_),
        evidence,
        rule,
    )
