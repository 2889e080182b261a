"""Is the unseen text of the list's kind?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unlearning.analysis.attack_effects import METRICS, resampled, sample_and_resamples
from unlearning.analysis.audit.document import CONFIDENCE, Comparability, Measured
from unlearning.statistics import RESAMPLES, percentile_interval, unpaired_difference

MARGIN = 0.5
"""Nats per token of mean loss by which two sets may differ on a control and still be alike."""
TELLING = 0.7
"""AUC from which on two sets are called different in form."""


def comparability_of(
    run: pd.DataFrame, control: pd.DataFrame | None, tokens: Mapping[str, Sequence[int]]
) -> Comparability:
    """Whether the unseen sequences are of the forget set's kind.

    On a control, which saw neither, their mean losses must be alike: alike where the whole interval
    of the difference lies within `MARGIN`, different where it lies beyond. Without a control a low
    loss may come from memory or from the kind, and the losses decide nothing; then the two are told
    apart by the form of their tokens alone, without any model (after Das et al. 2024,
    arXiv 2406.16201): where that succeeds, an attack may have done no more.

    Args:
        run: rows of the original model for one forget set, of membership.parquet.
        control: the same of the control.
        tokens: sequence_id -> its tokens.
    """
    if control is not None:
        one, other = (control.loc[control["split"] == s, "loss"] for s in ("forget", "unseen"))
        gap = unpaired_difference(one, other, CONFIDENCE)
        between = (
            f"on the control, which saw neither, the list's mean loss is {one.mean():.2f} nats per"
            f" token and that of unseen text {other.mean():.2f} (difference {gap.mean:+.2f}"
            f" [{gap.low:+.2f}, {gap.high:+.2f}])"
        )
        if not np.isfinite([gap.low, gap.high]).all():
            return Comparability(verdict="not decided", finding=f"Not decided: {between}.")
        if max(abs(gap.low), abs(gap.high)) <= MARGIN:
            return Comparability(
                verdict="alike", finding=f"The unseen text is of the list's kind: {between}."
            )
        if min(abs(gap.low), abs(gap.high)) > MARGIN and gap.low * gap.high > 0:
            return Comparability(
                verdict="different",
                finding=f"THE UNSEEN TEXT IS NOT OF THE LIST'S KIND: {between}.",
            )
        return Comparability(verdict="not decided", finding=f"Not decided: {between}.")
    losses = [run.loc[run["split"] == split, "loss"].mean() for split in ("forget", "unseen")]
    auc = form_auc(run, tokens)
    if auc.low is not None and auc.low > TELLING:
        return Comparability(
            verdict="different",
            finding="THE UNSEEN TEXT IS NOT OF THE LIST'S KIND: the two can be told apart by their"
            f" form alone, without any model (AUC {auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}];"
            " 0.5 is chance). What is said below of known and unknown may say no more than that.",
        )
    told = (
        "" if auc.value is None else f" By form alone they are told apart with AUC {auc.value:.2f}."
    )
    return Comparability(
        verdict="not decided",
        finding="Without a model that never saw the list it cannot be told whether the unseen text"
        f" is of its kind: the original's loss is {losses[0]:.2f} nats per token on the list and"
        f" {losses[1]:.2f} on unseen text, from memory or because the texts differ." + told,
    )


def form_auc(run: pd.DataFrame, tokens: Mapping[str, Sequence[int]]) -> Measured:
    """How well the list is told from unseen text by form: cross-fitted AUC, bootstrap interval.

    Form is how rare the tokens are (the mean logarithm of the ids, as byte-pair vocabularies are
    ordered by frequency), its spread, and how few different ones there are.
    """
    rows = run[run["split"].isin(["forget", "unseen"])]
    member = (rows["split"] == "forget").to_numpy()
    folds = min(5, member.sum(), (~member).sum())
    if folds < 2:
        return Measured(value=None, n=len(rows))
    features = np.array([form(tokens[name]) for name in rows["sequence_id"]])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    division = StratifiedKFold(folds, shuffle=True, random_state=0)
    guess = cross_val_predict(model, features, member, cv=division, method="decision_function")
    generator = np.random.default_rng(0)
    sides = guess[member], guess[~member]
    weights = [sample_and_resamples(len(side), RESAMPLES, generator) for side in sides]
    values = resampled(*sides, *weights)[METRICS.index("auc")]
    low, high = percentile_interval(values[1:], CONFIDENCE)
    return Measured(value=float(values[0]), low=low, high=high, n=len(rows))


def form(tokens: Sequence[int]) -> tuple[float, float, float]:
    """What a sequence looks like, whatever it says."""
    rarity = np.log1p(np.asarray(tokens, dtype=float))
    return float(rarity.mean()), float(rarity.std()), len(set(tokens)) / len(tokens)
