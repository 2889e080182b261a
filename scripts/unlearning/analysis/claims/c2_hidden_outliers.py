"""C2: judging by the average hides single sequences."""

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, show, verdict
from unlearning.analysis.gains import clusters_of, pool_cells
from unlearning.analysis.outliers import redrawn_of
from unlearning.analysis.replicates import pair_of
from unlearning.names import method_name
from unlearning.statistics import PairedDifference, sign_of, witnessed_mean


def judge_hidden_outliers(
    runs: pd.DataFrame, settings: ClaimSettings, redrawn: pd.DataFrame | None = None
) -> Verdict:
    """C2: outliers although the mean meets the threshold."""
    first = settings.paper_baselines[0]
    name = method_name(first)
    rule = (
        f"runs of {name} whose mean g is below the threshold: share of the forget set that is still"
        " memorized (above the calibrated band) minus the same share of unseen sequences on the"
        " same model, mean over cells: supported if surely above 0; refuted if surely below 0 or if"
        " c(D_f) is 0 in every one of several such runs; over-forgotten ones are given beside:"
        f" ascent drags unseen sequences below the band too; {settings.counts(settings.surely)}"
    )
    wide = runs[runs["unlearner"] == first].pivot(
        index=pair_of(runs), columns="metric", values="value"
    )
    met = wide[wide["mean_met"] == 1] if "mean_met" in wide else wide.iloc[:0]
    if met.empty:
        return verdict("C2", False, False, [f"no run of {name} met the mean threshold"], rule)

    def over_cells(metric: str) -> PairedDifference:
        values = met[metric].rename("value").dropna().reset_index()
        drawn = pd.DataFrame(redrawn_of(redrawn, metric, first, values))
        pooled = pool_cells(values.join(drawn), ["value", *drawn])[0]
        redrawn_means = pooled[[*drawn]].to_numpy()
        return witnessed_mean(
            pooled["value"], settings.confidence, redrawn_means, clusters_of(pooled)
        )

    excess = over_cells("excess_memorized_rate")
    counts = met["outliers_calibrated"]
    evidence = [
        f"{len(met)} runs of {name} met the mean threshold (by construction: {name} stops there)",
        f"still memorized in excess of unseen: {show(excess)}",
        f"outliers of both sides in excess of unseen: {show(over_cells('excess_outliers_rate'))}",
        f"calibrated band: c(D_f) > 0 in {int((counts > 0).sum())} of {len(met)} runs, still"
        f" memorized {show(over_cells('under_forgotten_calibrated_rate'), False)}, over-forgotten"
        f" {show(over_cells('over_forgotten_calibrated_rate'), False)}",
        f"fixed band: c(D_f) > 0 in {int((met['outliers_paper'] > 0).sum())} of {len(met)} runs",
        f"largest g: mean {show(over_cells('ma_max'), False)}",
    ]
    return verdict(
        "C2",
        sign_of(excess) > 0,
        sign_of(excess) < 0 or (len(counts) > 1 and bool((counts == 0).all())),
        evidence,
        rule,
    )
