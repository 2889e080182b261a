"""Gaussian around a reference: is a sequence scored as a model that never saw it would score it?

The likelihood-ratio attack without shadow models. What a sequence would score had it never been
seen is the score that one reference model gives it; how far scores of two such models lie apart is
read off the unseen "threshold" half, on which both are ignorant: the mean and the covariance of the
differences in loss, memorization accuracy and Min-K% there. A candidate's exposure is how far its
own differences lie from that Gaussian. It is LiRA's offline attack (Carlini et al. 2022, arXiv
2112.03570), with the one reference that can be had of a large model (IAM, Wang et al. 2025,
2506.06112, asks of unlearning with one model as well), and in both directions: unlearned by force
is as conspicuous as still memorized.

The reference is the control, trained alike but without the pool; where there is none, there are no
rows. On the control itself the differences are zero, and so at chance by construction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unlearning.attacks import Reason
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Gaussian around"
HEADLINE = ("joint", "auc")
UNIT = "AUC"
REASONS = {"joint": Reason("far from what a reference and unseen text let expect", 0.5)}
SIGNS = {"loss": -1.0, "ma": 1.0, "min_k": 1.0}
"""Scores that are compared, with the sign that makes better known = high."""


@settings_class
class Settings:
    """Nothing to set."""


def score(membership: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The attack on every run.

    Args:
        membership: rows per run and sequence, with the columns of `SIGNS`.
        settings: none.

    Returns:
        Variant "control". Measures: joint, the Mahalanobis distance of all differences together;
        of each alone its deviation in standard deviations, higher = better known than expected
        (loss, ma, min_k), and its absolute value (loss_two_sided, ...). Empty without a control.
        NaN in a run that diverged.
    """
    import pandas as pd

    keys = ["model", "forget_size", "unlearner", "seed"]
    join = ["model", "forget_size", "seed", "sequence_id"]
    known = membership.loc[membership["unlearner"] == "control", [*join, *SIGNS]]
    if known.empty:
        return pd.DataFrame()
    table = membership.merge(known, on=join, suffixes=("", "_reference"))
    parts = []
    for _, run in table.groupby(keys, sort=True):
        other = run[[f"{name}_reference" for name in SIGNS]].to_numpy(float)
        differences = (run[[*SIGNS]].to_numpy(float) - other) * [*SIGNS.values()]
        fixed = (run["split"] == "unseen") & (run["half"] == "threshold")
        measures = deviations(differences, differences[fixed])
        rows = run[[*keys, "sequence_id", "split", "half"]].assign(variant="control")
        parts += [rows.assign(measure=name, value=values) for name, values in measures.items()]
    return pd.concat(parts, ignore_index=True)


def deviations(values: np.ndarray, unseen: np.ndarray) -> dict[str, np.ndarray]:
    """How far values lie from the Gaussian of unseen sequences, (N,) each; see `score`.

    Args:
        values: (N, D) in the order of `SIGNS`.
        unseen: (M, D); rows that are not finite count for nothing.
    """
    unseen = unseen[np.isfinite(unseen).all(axis=1)]
    if len(unseen) <= unseen.shape[1]:  # too few for a covariance of full rank
        none = np.full(len(values), np.nan)
        names = ["joint", *SIGNS, *(f"{name}_two_sided" for name in SIGNS)]
        return dict.fromkeys(names, none)
    centred = values - unseen.mean(axis=0)
    spread = np.cov(unseen, rowvar=False)
    # what never varies says nothing by itself; a floor keeps it from dividing by nothing
    spread = spread + np.diag(1e-6 * np.diag(spread) + 1e-12)
    distance = np.linalg.solve(np.linalg.cholesky(spread), centred.T)
    single = centred / np.sqrt(np.diag(spread))
    found = {"joint": np.sqrt((distance**2).sum(axis=0))}
    found |= dict(zip(SIGNS, single.T, strict=True))
    return found | {f"{name}_two_sided": np.abs(found[name]) for name in SIGNS}
