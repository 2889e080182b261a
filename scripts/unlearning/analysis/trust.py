"""Is a measure of forgetting itself to be trusted?

The experiment has models that saw the sequences and models that did not, so the measures can be
judged too, as the open-unlearning benchmark judges its own (Dorna et al. 2025, arXiv 2506.12618).

- Faithful: it tells the original model from the control. The AUC over planted sequences of the
  measure on the original against the measure on the control; 1 is perfect, 0.5 says nothing.
- Robust: what it calls forgotten stays so. The rise of the measure on the forget set by relearning
  and by quantization, less the control's on the same set under the same attack, as a share of what
  there was to forget (the mean on the original less the mean on the control); 0 is perfect.

Robustness there is a ratio of changes, cut off at 1; here it is a difference with its sign, as a
ratio has no interval where the control's change is near zero.
"""

from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from unlearning import attacks
from unlearning.analysis.attack_effects import student
from unlearning.analysis.replicates import per_replicate, replicated
from unlearning.analysis.rows import ALL
from unlearning.attacks.membership import KEYS
from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import TableSettings

SIGNS = {
    "ma": 1.0, "el": 1.0, "loss": -1.0, "suffix_loss": -1.0, "verbatim_run": 1.0, "min_k": 1.0,
    "min_k_plus_plus": 1.0, "extracted": 1.0, "entropy": -1.0, "head_loss": -1.0,
}  # fmt: skip
"""Scores of a sequence on a model, with the sign that makes memorized = high."""
RISES = {
    "ma": "ma_rise", "loss": "loss_fall", "suffix_loss": "suffix_loss_fall",
    "verbatim_run": "verbatim_run_rise",
}  # fmt: skip
"""Scores that the attacks which change a model measure again -> their measure of the rise."""
CHANGING = ("relearning", "quantization")
COLUMNS = [
    "model", "forget_size", "score", "attack", "faithfulness", "low", "high", "n",
    *(f"{attack}{end}" for attack in CHANGING for end in ("", "_low", "_high", "_n")),
]  # fmt: skip


def trust_table(
    membership: pd.DataFrame, rows: pd.DataFrame, settings: TableSettings
) -> pd.DataFrame:
    """Faithfulness and robustness of every score.

    Args:
        membership: rows per run and sequence, with the raw scores.
        rows: values of the attack suite, one row per run, attack, variant, measure and sequence.
        settings: confidence of the intervals.

    Returns:
        Columns `COLUMNS`, the most faithful first; model and forget_size are "all". Rows for the
        scores of `SIGNS` (attack is ""), and for the headline measure of each attack that looks at
        one model as it is. faithfulness is a mean over models with Student's interval, n counts
        them; relearning and quantization are means over cells (model x forget size) of the mean
        over methods and draws, for the scores of `RISES` and the attack's first variant, NaN for
        the others. Of several replicates, n counts these throughout. Without a control the table is
        empty: there is no truth to hold a score against.

    Raises:
        InputError: a score is missing.
    """
    if replicated(membership):
        each = per_replicate(partial(trust_table, settings=settings), membership, rows)
        return over_replicates(each, settings)
    missing = [name for name in SIGNS if name not in membership]
    if missing:
        raise InputError(f"membership: no column '{missing[0]}'; score the sequences again")
    if not (membership["unlearner"] == "control").any():
        return pd.DataFrame(columns=COLUMNS)
    forget = membership[membership["split"] == "forget"]
    parts = [
        forget[[*KEYS, "sequence_id"]].assign(score=name, attack="", value=sign * forget[name])
        for name, sign in SIGNS.items()
    ]
    for attack, part in rows[rows["split"] == "forget"].groupby("attack", sort=False):
        if measures_one_model(attack):
            name = attacks.load(attack).HEADLINE[0]
            first = (part["variant"] == part["variant"].iloc[0]) & (part["measure"] == name)
            own = part.loc[first, [*KEYS, "sequence_id", "value"]]
            parts.append(own.assign(score=name, attack=attack))
    values = pd.concat(parts, ignore_index=True)
    values = values[values["unlearner"].isin(["original", "control"])]
    # a sequence of several forget sets counts once
    one = ["score", "attack", "model", "unlearner", "sequence_id"]
    once = values.groupby(one, sort=False)["value"].mean().reset_index()
    areas = [
        (*key, area(part.loc[part["unlearner"] == "original", "value"].to_numpy(float),
                    part.loc[part["unlearner"] == "control", "value"].to_numpy(float)))
        for key, part in once.groupby(["score", "attack", "model"], sort=False)
    ]  # fmt: skip
    areas = pd.DataFrame(areas, columns=["score", "attack", "model", "value"])
    table = student(areas, ["score", "attack"], settings.confidence)
    table = table.rename(columns={"mean": "faithfulness"})
    table[["low", "high"]] = table[["low", "high"]].clip(0, 1)
    means = once[once["attack"] == ""].groupby(["model", "score", "unlearner"])["value"].mean()
    gap = means.unstack()
    gap = gap["original"] - gap["control"]
    for attack in CHANGING:
        moved = student(returned(rows, attack, gap), ["score"], settings.confidence)
        names = {"mean": attack} | {end: f"{attack}_{end}" for end in ("low", "high", "n")}
        moved = moved.rename(columns=names).assign(attack="")
        table = table.merge(moved, on=["score", "attack"], how="left")
    table = table.assign(model=ALL, forget_size=ALL)[COLUMNS]
    return table.sort_values("faithfulness", ascending=False, kind="stable", ignore_index=True)


def over_replicates(each: pd.DataFrame, settings: TableSettings) -> pd.DataFrame:
    """The table over replicates, made of that of each: n counts these."""
    table = each[["score", "attack"]].drop_duplicates()
    for name in ("faithfulness", *CHANGING):
        prefix = "" if name == "faithfulness" else f"{name}_"
        ends = {end: prefix + end for end in ("low", "high", "n")}
        found = student(each.assign(value=each[name]), ["score", "attack"], settings.confidence)
        table = table.merge(found.rename(columns={"mean": name} | ends), on=["score", "attack"])
    table = table.assign(model=ALL, forget_size=ALL)[COLUMNS]
    return table.sort_values("faithfulness", ascending=False, kind="stable", ignore_index=True)


def measures_one_model(attack: str) -> bool:
    """Whether an attack's value says something of a sequence on a model as it is, by itself."""
    alone = attacks.on_model(attack) and not attacks.load(attack).PER_FORGET_SET
    return alone and attack not in CHANGING


def area(saw: np.ndarray, never: np.ndarray) -> float:
    """Chance that a value of the first is above one of the second, ties half; NaN are left out."""
    saw, never = saw[np.isfinite(saw)], never[np.isfinite(never)]
    if not len(saw) or not len(never):
        return float("nan")
    ranks = rankdata(np.concatenate([saw, never]))[: len(saw)]
    return float((ranks.sum() / len(saw) - (len(saw) + 1) / 2) / len(never))


def returned(rows: pd.DataFrame, attack: str, gap: pd.Series) -> pd.DataFrame:
    """What an attack brings back beyond the control's, per cell: model, forget_size, score, value.

    Args:
        rows: values of the attack suite.
        attack: one that changes the model.
        gap: (model, score) -> what there was to forget.
    """
    part = rows[(rows["attack"] == attack) & (rows["split"] == "forget")]
    columns = ["model", "forget_size", "score", "value"]
    if part.empty:
        return pd.DataFrame(columns=columns).astype({"value": float})
    part = part[part["variant"] == part["variant"].iloc[0]]
    scores = {measure: score for score, measure in RISES.items()}
    part = part[part["measure"].isin(scores)].assign(score=part["measure"].map(scores))
    runs = part.groupby([*KEYS, "score"])["value"].mean().reset_index()
    draw = ["model", "forget_size", "seed", "score"]
    control = runs.loc[runs["unlearner"] == "control", [*draw, "value"]]
    runs = runs[~runs["unlearner"].isin(["original", "control"])]
    runs = runs.merge(control, on=draw, suffixes=("", "_control"))
    runs["value"] -= runs["value_control"]
    cells = runs.groupby(["model", "forget_size", "score"])["value"].mean().reset_index()
    whole = gap.reindex(pd.MultiIndex.from_frame(cells[["model", "score"]])).to_numpy()
    return cells.assign(value=cells["value"] / whole)[columns]
