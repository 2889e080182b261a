"""C7: the gains are quantified."""

import numpy as np
import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, gains_of, verdict


def judge_gains(gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C7: paired differences with intervals."""
    metrics = (
        settings.outlier_metric,
        "ma_max",
        settings.paper_attack,
        settings.utility_metric,
        "nats_per_token",
    )
    rule = (
        f"pooled paired differences in {', '.join(dict.fromkeys(metrics))} of the paper's proposals"
        " against each baseline: supported if all have an interval and some is a sure gain; refuted"
        " if all have an interval, some is a sure loss and none a sure gain; undecided otherwise"
        f" ({settings.sure}); {settings.counts()}"
    )
    found, missing = gains_of(gains, list(dict.fromkeys(metrics)), settings)
    known = not missing and all(
        np.isfinite([gain.interval.low, gain.interval.high]).all() for gain in found
    )
    benefits = [gain.benefit for gain in found]
    better, worse = benefits.count(1), benefits.count(-1)
    return verdict(
        "C7",
        bool(found) and known and better > 0,
        bool(found) and known and better == 0 and worse > 0,
        [
            f"{better} sure gains, {worse} sure losses, {benefits.count(0)} not sure",
            *(gain.text() for gain in found),
            *missing,
        ],
        rule,
    )
