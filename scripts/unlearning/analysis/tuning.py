"""Which point of its grid each method is given: one criterion for all of them (`choose`)."""

import math

import pandas as pd

from unlearning.analysis.per_run import attack_metrics
from unlearning.analysis.rows import require
from unlearning.attacks.membership import KEYS, attack_all
from unlearning.names import method_order
from unlearning.settings.analysis import AttackSettings
from unlearning.settings.tuning import TuningSettings
from unlearning.statistics import mean_interval

MEASURES = ("attack", "rise", "drift")
DIGITS = 9
"""What differs only beyond them is equal: the last digits of a sum hang on the machine."""


def measures(membership: pd.DataFrame, before: float, after: float) -> dict[str, float]:
    """What the criterion asks of one run.

    Args:
        membership: what `evaluation.measure` tells of the forget set and of calibration sequences,
            with their split and half and the keys of `attacks.membership`, on the model that was
            unlearned and on the original (unlearner "original"). The half "attack" are those that
            the run was not given.
        before: loss of ordinary text on the original, nats per token; NaN where there is none.
        after: the same on the unlearned model.

    Returns:
        attack: `attack_auc_worst` of the run; rise and drift: of the loss of ordinary text and of
        the calibration sequences, nats per token. All NaN of a diverged run.
    """
    found = attack_metrics(attack_all(membership, AttackSettings(resamples=1)))
    worst = found[(found["metric"] == "attack_auc_worst") & (found["unlearner"] != "original")]
    unseen = membership[membership["half"] == "attack"]
    loss = unseen.groupby(unseen["unlearner"] == "original")["loss"].mean()
    return {
        "attack": float(worst["value"].iloc[0]),
        "rise": after - before,
        "drift": float(loss[False] - loss[True]),
    }


def choose(runs: pd.DataFrame, settings: TuningSettings, confidence: float = 0.95) -> pd.DataFrame:
    """Rank the points of each method, and choose the first: privacy first, then utility.

    A point is judged by the means over all of its runs, of all models, sizes and seeds: the worst
    two-sided AUC of single scores between the forget set and calibration sequences (attack), the
    rise of the loss of ordinary text (rise) and that of calibration sequences (drift). Its damage
    is the larger of rise / `max_rise` and drift / `max_drift`.

    1. Fewer diverged runs go before more, and then fewer that the epoch limit ended: who forgets
       nothing does no damage.
    2. Points within the limits, of a damage of at most 1, go before others; those go by damage.
    3. The smaller attack.
    4. The smaller rise.
    5. The earlier in the grid.

    Args:
        runs: rows of one run each, as `scripts/tune_unlearner.py` writes them.
        settings: the limits.
        confidence: of the intervals (Student).

    Returns:
        One row per method and point, in the order of the methods and of the grids: unlearner,
        point, settings (JSON), attack, rise and drift with _low and _high, n (runs that came
        through), diverged, capped (runs that the epoch limit ended), damage, rank from 1, chosen.

    Raises:
        InputError: a column is missing.
    """
    require(runs, [*KEYS, "point", "settings", "status", *MEASURES], "tuning")
    rows = []
    for (label, point), some in runs.groupby(["unlearner", "point"], sort=True):
        some = some.sort_values(KEYS)
        row = {"unlearner": label, "point": point, "settings": some["settings"].iloc[0]}
        for measure in MEASURES:
            interval = mean_interval(some[measure], confidence)
            row |= {measure: interval.mean, f"{measure}_low": interval.low}
            row[f"{measure}_high"] = interval.high
        row["n"] = int(some["attack"].notna().sum())
        row["diverged"] = int((some["status"] == "diverged").sum())
        row["capped"] = int((some["status"] == "cap").sum())
        row["damage"] = damage(row["rise"], row["drift"], settings)
        rows.append(row)
    ranked = []
    for label in method_order(runs["unlearner"]):
        own = [row for row in rows if row["unlearner"] == label]
        order = sorted(own, key=_key)
        ranked += [row | {"rank": order.index(row) + 1, "chosen": row is order[0]} for row in own]
    return pd.DataFrame(ranked)


def damage(rise: float, drift: float, settings: TuningSettings) -> float:
    """The larger share of its limit that a rise takes up; an unknown rise takes none."""
    shares = (rise / settings.max_rise, drift / settings.max_drift)
    return max([0.0, *(share for share in shares if not math.isnan(share))])


def _key(row: dict) -> tuple[float, ...]:
    """What points are ordered by; an unknown value goes last."""
    beyond = max(row["damage"], 1.0)
    values = (row["diverged"], row["capped"], beyond, row["attack"], row["rise"], row["point"])
    return tuple(math.inf if math.isnan(value) else round(value, DIGITS) for value in values)
