"""C1: models memorize sequences to different degrees and emit them verbatim."""

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, show, verdict
from unlearning.names import METRICS, model_order
from unlearning.statistics import Interval, sign_of

REPLICATES_HERE = "replicates, each the mean over its sequences"


def judge_memorization(original: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C1: spread of g against unseen sequences, and verbatim extraction."""
    rule = (
        "planted minus unseen sequences on each original model: supported if mean g and the spread"
        " of g are surely higher on every model and the verbatim extraction rate on at least one;"
        " refuted if mean g or spread is surely not higher (interval below 0) on some model;"
        f" n counts {REPLICATES_HERE if settings.replicated else 'planted sequences'}"
    )
    gap = original[
        (original["unlearner"] == "original") & (original["split"] == "planted - unseen")
    ]
    signs: dict[str, list[int]] = {"ma": [], "ma_spread": [], "extracted": []}
    evidence = []
    for model in model_order(gap["model"], settings.models):
        parts = []
        for metric, seen in signs.items():
            row = gap[(gap["model"] == model) & (gap["metric"] == metric)].iloc[0]
            interval = Interval(row["mean"], row["low"], row["high"], int(row["n"]))
            seen.append(sign_of(interval))
            parts.append(f"{METRICS[metric].label} {show(interval)}")
        evidence.append(f"{model}: " + ", ".join(parts))
    every = bool(evidence) and min(signs["ma"] + signs["ma_spread"]) > 0
    return verdict(
        "C1",
        every and max(signs["extracted"]) > 0,
        bool(evidence) and min(signs["ma"] + signs["ma_spread"]) < 0,
        evidence or ["no original model was scored"],
        rule,
    )
