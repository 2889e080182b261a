"""The solution space: which method is best at which model size and forget-set size.

The rule is ours, stated with its settings in every output: privacy first, then utility. Among the
methods that keep privacy in a cell, the one with the highest utility wins. Its lead is sure only if
the paired interval against every other feasible method excludes zero; otherwise they tie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unlearning.errors import InputError
from unlearning.metrics import METRICS, method_name, method_order, model_order
from unlearning.settings.analysis import SolutionSettings
from unlearning.statistics import Interval, mean_interval, paired_difference
from unlearning.tables import paired_values

REFERENCES = {"original", "control"}
TOLERANCE = 1e-9
COLUMNS = [
    "model", "forget_size", "winner", "runner_up", "tied", "feasible", "n_feasible", "nearest",
    "nearest_excess", "outliers", "attack", "utility", "utility_low", "utility_high", "n",
    "lead", "lead_low", "lead_high", "lead_n", "sure_lead", "sure_feasible",
]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """One method in one cell."""

    label: str
    outliers: Interval
    attack: Interval
    utility: Interval
    diverged: int

    def excess(self, settings: SolutionSettings) -> float:
        """How far beyond the limits: 1 is at a limit, the larger of both; inf if unknown."""
        if self.diverged or not np.isfinite([self.outliers.mean, self.attack.mean]).all():
            return np.inf
        parts = (
            (self.outliers.mean, settings.max_outliers, 0.0),
            (self.attack.mean, settings.max_attack, 0.5 if settings.max_attack > 0.5 else 0.0),
        )
        return max(
            (value - nothing) / max(limit - nothing, TOLERANCE) for value, limit, nothing in parts
        )

    def feasible(self, settings: SolutionSettings) -> bool:
        """Whether the means keep the limits and every run came through."""
        return (
            not self.diverged
            and self.outliers.mean <= settings.max_outliers + TOLERANCE
            and self.attack.mean <= settings.max_attack + TOLERANCE
            and np.isfinite(self.utility.mean)
        )

    def surely_feasible(self, settings: SolutionSettings) -> bool:
        """Whether the whole intervals keep the limits."""
        return (
            self.outliers.high <= settings.max_outliers + TOLERANCE
            and self.attack.high <= settings.max_attack + TOLERANCE
        )


def solution_space(
    runs: pd.DataFrame,
    settings: SolutionSettings,
    models: Sequence[str] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The winner of each cell (model x forget size).

    Args:
        runs: one value per run and metric, as `tables.per_run` returns it.
        settings: the rule.
        models: display order, smallest first.
        confidence: of the intervals.

    Returns:
        Columns `COLUMNS`, one row per cell. winner is empty where no method is feasible; then
        nearest names the one that exceeds the limits least (nearest_excess: 1 is at the limit) and
        outliers, attack and utility are its. runner_up is the next best feasible method, lead the
        paired difference of the utility, oriented so that positive favours the winner; tied lists
        the feasible methods whose paired interval against the winner includes 0 (or is unknown).

    Raises:
        InputError: a metric of the rule has no values.
    """
    for name in (settings.outlier_metric, settings.attack_metric, settings.utility_metric):
        if not (runs["metric"] == name).any():
            raise InputError(f"solution space: no values of '{name}'; evaluate it or change rule")
    rows = []
    for model in model_order(runs["model"], models):
        of_model = runs[runs["model"] == model]
        for size in sorted(of_model["forget_size"].unique()):
            cell = of_model[of_model["forget_size"] == size]
            found = _decide(cell, settings, confidence)
            rows.append({"model": model, "forget_size": size} | found)
    return pd.DataFrame(rows, columns=COLUMNS)


def _candidates(
    cell: pd.DataFrame, settings: SolutionSettings, confidence: float
) -> list[Candidate]:
    found = []
    for label in method_order(set(cell["unlearner"]) - REFERENCES):
        own = cell[cell["unlearner"] == label].set_index("metric")["value"]
        names = (settings.outlier_metric, settings.attack_metric, settings.utility_metric)
        intervals = [mean_interval(own[own.index == name], confidence) for name in names]
        diverged = int(own[own.index == "n_diverged"].sum())
        found.append(Candidate(label, *intervals, diverged))
    return found


def _decide(cell: pd.DataFrame, settings: SolutionSettings, confidence: float) -> dict:
    sign = 1.0 if METRICS[settings.utility_metric].better == "higher" else -1.0
    candidates = _candidates(cell, settings, confidence)
    feasible = [c for c in candidates if c.feasible(settings)]
    # sorted is stable: equal utility keeps the display order
    feasible.sort(key=lambda c: -sign * c.utility.mean)
    row: dict = dict.fromkeys(COLUMNS[2:], np.nan)
    row |= dict.fromkeys(("winner", "runner_up", "tied", "feasible", "nearest"), "")
    row |= {"n_feasible": len(feasible), "sure_lead": False, "sure_feasible": False, "n": 0}
    row |= {"feasible": ";".join(c.label for c in feasible), "lead_n": 0}
    if feasible:
        shown, others = feasible[0], feasible[1:]
        row["winner"] = shown.label
        row["sure_feasible"] = shown.surely_feasible(settings)
        leads = {}
        for other in others:
            pairs = paired_values(cell, settings.utility_metric, shown.label, other.label)
            leads[other.label] = paired_difference(
                sign * pairs["left"], sign * pairs["right"], confidence
            )
        row["tied"] = ";".join(label for label, lead in leads.items() if not lead.low > 0)
        if others:
            lead = leads[others[0].label]
            row["runner_up"] = others[0].label
            row |= {"lead": lead.mean, "lead_low": lead.low, "lead_high": lead.high}
            row["lead_n"] = lead.n
            row["sure_lead"] = not row["tied"]
        else:
            # alone: the lead is as sure as the others' failure to keep the limits
            row["sure_lead"] = all(
                c.outliers.low > settings.max_outliers or c.attack.low > settings.max_attack
                for c in candidates
                if c is not shown
            )
    elif candidates:
        shown = min(candidates, key=lambda c: c.excess(settings))
        excess = shown.excess(settings)
        if np.isfinite(excess):
            row |= {"nearest": shown.label, "nearest_excess": excess}
    else:
        return row
    row |= {"outliers": shown.outliers.mean, "attack": shown.attack.mean}
    row |= {"utility": shown.utility.mean, "n": shown.utility.n}
    row |= {"utility_low": shown.utility.low, "utility_high": shown.utility.high}
    return row


def describe_cell(row: pd.Series) -> str:
    """One cell of the map in a few words."""
    where = f"{row['model']}, {row['forget_size']} sequences: "
    if not row["winner"]:
        nearest = method_name(row["nearest"]) if row["nearest"] else "no run that came through"
        return where + f"none feasible, nearest {nearest}"
    text = where + method_name(row["winner"])
    if row["tied"]:
        return text + " (tied with " + ", ".join(map(method_name, row["tied"].split(";"))) + ")"
    if not row["runner_up"]:
        return text + " (the only feasible one)"
    return text + " (sure lead)"
