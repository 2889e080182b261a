"""C4: the paper's proposals leave fewer outliers and less to attack."""

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, gains_of, verdict


def judge_proposals(gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C4: outliers and attack success of the proposals against the baselines."""
    metrics = (settings.outlier_metric, settings.paper_attack)
    rule = (
        f"paired differences in {' and '.join(metrics)}, each proposal of the paper against each"
        " baseline, pooled over cells: supported if all are surely better; refuted if some is"
        f" surely worse; undecided otherwise ({settings.sure}); {settings.counts()}"
    )
    found, missing = gains_of(gains, metrics, settings)
    benefits = [gain.benefit for gain in found]
    return verdict(
        "C4",
        not missing and min(benefits, default=0) > 0,
        min(benefits, default=0) < 0,
        [gain.text() for gain in found] + missing,
        rule,
    )
