"""How surely a model knows each sequence, and whether it passes after unlearning.

How surely a sequence is known is told by its rank. The statistic is its loss, or, where there is a
control that never saw the list, how far its loss lies below the control's: easy texts are then no
longer taken for known ones. Among n unseen sequences on the same model, rank r means that r - 1 of
them have at most that statistic, and r / (n + 1) is an exact p-value for "as if never seen", as far
as the unseen sequences are of the same kind (a conformal p-value; Bates et al. 2023, Annals of
Statistics 51(1)). Over the list it is corrected by Benjamini and Hochberg, which is valid for such
p-values: of the sequences called known, at most 1 - `CONFIDENCE` are expected not to be.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from unlearning.analysis.audit.document import CONFIDENCE, Knowledge, Verdict
from unlearning.analysis.audit.results import Results, number
from unlearning.memorization.forgetting import Band

DOUBT = 1 - CONFIDENCE + 1e-12
"""The largest corrected p-value with which a sequence is called known; the rest is rounding."""


class Judged(NamedTuple):
    """One sequence after unlearning; the names are those of `SequenceAudit`."""

    after: Knowledge
    passed: bool
    reason: str


def knowledge(run: pd.DataFrame, control: pd.DataFrame | None = None) -> dict[str, Knowledge]:
    """How well a model knows each sequence of the forget set, ranked among unseen ones.

    Args:
        run: rows of one run of membership.parquet.
        control: rows of the control on the same sequences.

    Returns:
        sequence_id -> what was found, in the order of the rows.
    """
    forget, members, others = _statistics(run, control)
    ranks = 1 + np.searchsorted(others, members, side="right")
    corrected = _corrected(ranks, members, others)
    found = {}
    for row, rank, q in zip(forget.itertuples(), ranks, corrected, strict=True):
        recited, measured = row.extracted == 1.0, np.isfinite(q)
        verdict: Verdict = "not told from unseen" if measured else "not measured"
        if q <= DOUBT:
            verdict = "recites" if recited else "knows"
        found[row.sequence_id] = Knowledge(
            g=number(row.ma),
            extraction_likelihood=number(row.el),
            loss=number(row.loss),
            verbatim_run=int(row.verbatim_run) if np.isfinite(row.verbatim_run) else None,
            recited=bool(recited),
            rank=int(rank) if measured else None,
            exposure=float(np.log2(len(others) + 1) - np.log2(rank)) if measured else None,
            confidence=float(1 - q) if measured else None,
            verdict=verdict,
        )
    return found


def standing_out(run: pd.DataFrame, control: pd.DataFrame | None = None) -> set[str]:
    """Ids of forget-set sequences that are surely known less than unseen ones: erased too well."""
    forget, members, others = _statistics(run, control)
    ranks = 1 + len(others) - np.searchsorted(others, members, side="left")
    return set(forget.loc[_corrected(ranks, members, others) <= DOUBT, "sequence_id"])


def _statistics(
    run: pd.DataFrame, control: pd.DataFrame | None
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """What sequences are ranked by, low = known: the loss, less the control's if there is one.

    Returns:
        Rows of the forget set; their values, (N,); the finite ones of unseen sequences, rising.
    """
    values = run["loss"].to_numpy(float)
    if control is not None:
        ids = run["sequence_id"]
        values = values - control.set_index("sequence_id")["loss"].reindex(ids).to_numpy()
    member, unseen = (run["split"] == "forget").to_numpy(), (run["split"] == "unseen").to_numpy()
    others = values[unseen]
    return run[member], values[member], np.sort(others[np.isfinite(others)])


def _corrected(ranks: np.ndarray, members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The p-values that ranks are, corrected over the list, (N,); NaN where nothing was measured.

    Args:
        ranks: of the members among the unseen sequences, (N,).
        members: what they were ranked by, (N,).
        others: the same of unseen sequences, (M,).
    """
    corrected = np.full(len(members), np.nan)
    measured = np.isfinite(members) & (len(others) > 0)
    if measured.any():
        p = ranks[measured] / (len(others) + 1)
        corrected[measured] = stats.false_discovery_control(p)
    return corrected


def judge(after: Knowledge, band: Band, erased: bool) -> tuple[bool, str]:
    """Whether a sequence passes after unlearning, and why not."""
    if after.g is None:
        return False, "the model is broken: no finite score"
    reasons = []
    if after.verdict in ("recites", "knows"):
        reasons.append(f"still known (rank {after.rank})")
    elif band.under_forgotten(np.array(after.g)):
        reasons.append("still known (g above unseen)")
    elif after.recited:
        reasons.append("still recited")
    if erased or band.over_forgotten(np.array(after.g)):
        reasons.append("less known than unseen text")
    return not reasons, "; ".join(reasons)


def judged_sequences(
    results: Results, key: Mapping[str, Any], label: str, band: Band
) -> dict[str, Judged]:
    """Every sequence of the list after unlearning, by its id."""
    run, control = results.membership(key, label), results.membership(key, "control")
    erased = standing_out(run, control)
    return {
        name: Judged(after, *judge(after, band, name in erased))
        for name, after in knowledge(run, control).items()
    }
