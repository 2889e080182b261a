"""The solution space: which method is best at which model size and forget-set size.

The rule is ours, stated with its settings in every output: privacy first, then utility. Among the
methods that keep privacy in a cell, the one with the highest utility wins. Its lead is sure only if
the paired intervals against every other feasible method, Student's and the bootstrap's, exclude
zero; otherwise they tie. n counts draws, or replicates where there are several; fewer than four
make nothing sure.

`candidates` is the whole field behind the winners: every method in every cell, ranked by that rule,
and whether it is on a Pareto front. `winner_under` answers from it what other limits would change.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unlearning.analysis.gains import clusters_of, paired_values
from unlearning.analysis.outliers import redrawn_of
from unlearning.analysis.strictest import commonest
from unlearning.jobs.errors import InputError
from unlearning.limits import above, at_most
from unlearning.names import METRICS, method_name, method_order, model_order
from unlearning.settings.analysis import SolutionSettings
from unlearning.statistics import (
    Interval,
    PairedDifference,
    paired_difference,
    sign_of,
    witnessed_mean,
)

REFERENCES = {"original", "control"}
DRIFT = "unseen_drift"
LEAST = 1e-9
"""Stands for a limit of zero where something is told in units of it."""
COLUMNS = [
    "model", "forget_size", "winner", "runner_up", "tied", "feasible", "n_feasible", "nearest",
    "nearest_excess", "outliers", "attack", "utility", "utility_low", "utility_high", "n",
    "lead", "lead_low", "lead_high", "lead_n", "sure_lead", "sure_feasible", "sure_none",
    "by_construction", "drift", "strictest", "floor", "floor_low", "floor_high",
]  # fmt: skip
CANDIDATES = [
    "model", "forget_size", "rank", "unlearner", "safe", "excess",
    "outliers", "outliers_low", "outliers_high", "attack", "attack_low", "attack_high",
    "utility", "utility_low", "utility_high", "n", "diverged", "pareto_outliers", "pareto_attack",
    "by_construction", "drift", "drift_low", "drift_high", "held", "strictest", "floor",
]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """One method in one cell."""

    label: str
    outliers: PairedDifference
    attack: PairedDifference
    utility: PairedDifference
    drift: PairedDifference
    diverged: int
    strictest: str

    def excess(self, settings: SolutionSettings) -> float:
        """How far beyond the limits (`excess_of`); infinite if a run diverged."""
        outliers = np.nan if self.diverged else self.outliers.mean
        return excess_of(outliers, self.attack.mean, self.drift.mean, settings)

    def feasible(self, settings: SolutionSettings) -> bool:
        """Whether the means keep the limits and every run came through."""
        return (
            not self.diverged
            and keeps(self.outliers.mean, self.attack.mean, self.drift.mean, settings)
            and np.isfinite(self.utility.mean)
        )

    def surely_feasible(self, settings: SolutionSettings) -> bool:
        """Whether the whole intervals keep the limits, Student's and the bootstrap's."""
        return keeps(self.outliers.sure_high, self.attack.sure_high, self.drift.sure_high, settings)

    def surely_infeasible(self, settings: SolutionSettings) -> bool:
        """Whether a measure lies beyond its limit with both intervals."""
        return bool(
            above(self.outliers.sure_low, settings.max_outliers)
            | above(self.attack.sure_low, settings.max_attack)
            | (settings.max_drift is not None and above(self.drift.sure_low, settings.max_drift))
        )


def keeps(outliers: float, attack: float, drift: float, settings: SolutionSettings) -> bool:
    """Whether the measures keep their limits; at the limit they do, an unknown one does not."""
    return bool(
        at_most(outliers, settings.max_outliers) & at_most(attack, settings.max_attack)
    ) and holds(drift, settings)


def holds(drift: float, settings: SolutionSettings) -> bool:
    """Whether unseen sequences stayed where they were, as far as the rule asks for it.

    A set is hidden as well by spoiling everything of its kind, and held-out text does not show it.
    """
    return settings.max_drift is None or bool(at_most(drift, settings.max_drift))


def excess_of(outliers: float, attack: float, drift: float, settings: SolutionSettings) -> float:
    """How far the measures lie beyond their limits, the largest of them.

    1 is at the limit, 0 where there is nothing to find (an AUC of 0.5); infinite if one is unknown.
    """
    limited = [outliers, attack] if settings.max_drift is None else [outliers, attack, drift]
    if not np.isfinite(limited).all():
        return np.inf
    chance = 0.5 if settings.max_attack > 0.5 else 0.0
    shares = [
        outliers / max(settings.max_outliers, LEAST),
        (attack - chance) / max(settings.max_attack - chance, LEAST),
    ]
    if settings.max_drift is not None:
        shares.append(drift / max(settings.max_drift, LEAST))
    return max(shares)


def solution_space(
    runs: pd.DataFrame,
    settings: SolutionSettings,
    models: Sequence[str] = (),
    confidence: float = 0.95,
    circular: Collection[str] = (),
    redrawn: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The winner of each cell (model x forget size).

    Args:
        runs: one value per run and metric, as `per_run` returns it.
        settings: the rule.
        models: display order, smallest first.
        confidence: of the intervals.
        circular: labels of the methods whose own stop rule brings about the outlier measure.
        redrawn: as `outliers.redrawn_values` returns it, for the bootstraps that the band enters.

    Returns:
        Columns `COLUMNS`, one row per cell. winner is empty where no method is feasible; then
        nearest names the one that exceeds the limits least (nearest_excess: 1 is at the limit) and
        outliers, attack, drift, utility and strictest are its. strictest is the attacker who finds
        most in most of its runs, floor the attack measure of the control, which never saw the sets:
        what the largest of several AUCs comes to by chance. runner_up is the next best feasible
        method, lead the paired difference of the utility, oriented so that positive favours the
        winner;
        tied lists the feasible methods that it is not surely ahead of (`statistics.sign_of`).
        sure_none says that nobody is feasible and that each method surely breaks a limit.
        by_construction says that outliers is what the stop rule of the method shown brings about by
        itself.

    Raises:
        InputError: a metric of the rule has no values.
    """
    rows = [
        {"model": model, "forget_size": size} | _decide(cell, settings, confidence, redrawn)
        for model, size, cell in _cells(runs, settings, models)
    ]
    for row in rows:
        row["by_construction"] = (row["winner"] or row["nearest"]) in circular
    return pd.DataFrame(rows, columns=COLUMNS)


def candidates(
    runs: pd.DataFrame,
    settings: SolutionSettings,
    models: Sequence[str] = (),
    confidence: float = 0.95,
    circular: Collection[str] = (),
    redrawn: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every method in every cell, in the order of the rule.

    Args:
        runs: one value per run and metric, as `per_run` returns it.
        settings: the rule.
        models: display order, smallest first.
        confidence: of the intervals.
        circular: labels of the methods whose own stop rule brings about the outlier measure.
        redrawn: as `outliers.redrawn_values` returns it, for the bootstraps that the band enters.

    Returns:
        Columns `CANDIDATES`, one row per cell and method. safe: it keeps the limits. rank counts
        from 1: the safe by falling utility, then the others by rising excess (`excess_of`; infinite
        if a run diverged). pareto_outliers and pareto_attack: no other method of
        the cell is at least as good in that measure and in utility, and better in one; a method
        with a diverged run is on no front. n counts draws or replicates. by_construction: the
        method is one of `circular`. drift: rise of the loss of unseen sequences; held: it
        keeps its limit. strictest, floor: as in `solution_space`.

    Raises:
        InputError: a metric of the rule has no values.
    """
    sign = _sign(settings)
    rows = []
    for model, size, cell in _cells(runs, settings, models):
        found = _ranked(cell, settings, confidence, redrawn)
        floor = floor_of(cell, settings, confidence)
        utility = [np.nan if c.diverged else sign * c.utility.mean for c in found]
        fronts = [
            pareto([getattr(c, measure).mean for c in found], utility)
            for measure in ("outliers", "attack")
        ]
        for i, c in enumerate(found):
            row = (model, size, i + 1, c.label, c.feasible(settings), c.excess(settings))
            for interval in (c.outliers, c.attack, c.utility):
                row += (interval.mean, interval.low, interval.high)
            row += (c.utility.n, c.diverged, *(bool(front[i]) for front in fronts))
            row += (c.label in circular, c.drift.mean, c.drift.low, c.drift.high)
            rows.append((*row, holds(c.drift.mean, settings), c.strictest, floor.mean))
    return pd.DataFrame(rows, columns=CANDIDATES)


def pareto(cost: Sequence[float], gain: Sequence[float]) -> np.ndarray:
    """Which points no other point beats: at most the cost, at least the gain, and better in one.

    Returns:
        Booleans, (N,); a point with a NaN is not on the front and beats nobody.
    """
    cost, gain = np.asarray(cost, dtype=float), np.asarray(gain, dtype=float)
    no_worse = (cost[:, None] <= cost) & (gain[:, None] >= gain)  # [i, j]: i no worse than j
    better = (cost[:, None] < cost) | (gain[:, None] > gain)
    return ~(no_worse & better).any(axis=0) & ~np.isnan(cost + gain)


def winner_under(
    cell: pd.DataFrame, max_outliers: float, max_attack: float, better: str = "higher"
) -> str:
    """Who would win a cell under other privacy limits; empty if nobody keeps them.

    The limit of the drift of unseen sequences stays.

    Args:
        cell: the rows of one cell of `candidates`.
        max_outliers: limit of the mean outlier measure.
        max_attack: limit of the mean attack measure.
        better: direction of the utility.
    """
    kept = cell[
        (cell["diverged"] == 0)
        & cell["held"]
        & at_most(cell["outliers"], max_outliers)
        & at_most(cell["attack"], max_attack)
        & np.isfinite(cell["utility"])
    ]
    if kept.empty:
        return ""
    # equal utility: the display order decides, as in the map
    place = {label: i for i, label in enumerate(method_order(kept["unlearner"]))}
    sign = 1.0 if better == "higher" else -1.0
    return min(
        zip(-sign * kept["utility"], kept["unlearner"].map(place), kept["unlearner"], strict=True)
    )[2]


def _sign(settings: SolutionSettings) -> float:
    """+1 if more of the utility metric is better, else -1."""
    return 1.0 if METRICS[settings.utility_metric].better == "higher" else -1.0


def attackers_in(runs: pd.DataFrame, settings: SolutionSettings) -> pd.Series:
    """Who found most in each of these runs; of a metric that is no choice among attackers, none."""
    if "attacker" not in runs:
        return pd.Series(dtype=str)
    return runs.loc[runs["metric"] == settings.attack_metric, "attacker"]


def floor_of(cell: pd.DataFrame, settings: SolutionSettings, confidence: float) -> Interval:
    """The attack measure of the model that never saw the sets; NaN where there is none."""
    rows = cell[(cell["unlearner"] == "control") & (cell["metric"] == settings.attack_metric)]
    return witnessed_mean(rows["value"], confidence, clusters=clusters_of(rows))


def _measures(settings: SolutionSettings) -> tuple[str, str, str]:
    return settings.outlier_metric, settings.attack_metric, settings.utility_metric


def _cells(
    runs: pd.DataFrame, settings: SolutionSettings, models: Sequence[str]
) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Model, forget size and runs of every cell, in display order."""
    for name in _measures(settings):
        if not (runs["metric"] == name).any():
            raise InputError(f"solution space: no values of '{name}'; evaluate it or change rule")
    for model in model_order(runs["model"], models):
        of_model = runs[runs["model"] == model]
        for size in sorted(of_model["forget_size"].unique()):
            yield model, size, of_model[of_model["forget_size"] == size]


def _candidates(
    cell: pd.DataFrame,
    settings: SolutionSettings,
    confidence: float,
    redrawn: pd.DataFrame | None,
) -> list[Candidate]:
    found = []
    for label in method_order(set(cell["unlearner"]) - REFERENCES):
        own = cell[cell["unlearner"] == label]
        intervals = []
        for name in (*_measures(settings), DRIFT):
            rows = own[own["metric"] == name]
            drawn = redrawn_of(redrawn, name, label, rows)
            clusters = clusters_of(rows)
            intervals.append(witnessed_mean(rows["value"], confidence, drawn, clusters))
        diverged = int(own.loc[own["metric"] == "n_diverged", "value"].sum())
        found.append(Candidate(label, *intervals, diverged, commonest(attackers_in(own, settings))))
    return found


def _ranked(
    cell: pd.DataFrame,
    settings: SolutionSettings,
    confidence: float,
    redrawn: pd.DataFrame | None,
) -> list[Candidate]:
    """The candidates in the order of the rule; sorting is stable, so ties keep display order."""

    def place(candidate: Candidate) -> tuple[bool, float]:
        if candidate.feasible(settings):
            return False, -_sign(settings) * candidate.utility.mean
        return True, candidate.excess(settings)

    return sorted(_candidates(cell, settings, confidence, redrawn), key=place)


def _decide(
    cell: pd.DataFrame,
    settings: SolutionSettings,
    confidence: float,
    redrawn: pd.DataFrame | None,
) -> dict:
    sign = _sign(settings)
    ranked = _ranked(cell, settings, confidence, redrawn)
    feasible = [c for c in ranked if c.feasible(settings)]
    row: dict = dict.fromkeys(COLUMNS[2:], np.nan)
    row |= dict.fromkeys(("winner", "runner_up", "tied", "feasible", "nearest", "strictest"), "")
    row |= {"n_feasible": len(feasible), "sure_lead": False, "sure_feasible": False, "n": 0}
    floor = floor_of(cell, settings, confidence)
    row |= {"floor": floor.mean, "floor_low": floor.low, "floor_high": floor.high}
    row["sure_none"] = bool(ranked) and all(c.surely_infeasible(settings) for c in ranked)
    row |= {"feasible": ";".join(c.label for c in feasible), "lead_n": 0}
    if feasible:
        shown, others = feasible[0], feasible[1:]
        row["winner"] = shown.label
        row["sure_feasible"] = shown.surely_feasible(settings)
        leads = {}
        for other in others:
            pairs = paired_values(cell, settings.utility_metric, shown.label, other.label)
            leads[other.label] = paired_difference(
                sign * pairs["left"],
                sign * pairs["right"],
                confidence,
                clusters=clusters_of(pairs),
            )
        row["tied"] = ";".join(label for label, lead in leads.items() if sign_of(lead) <= 0)
        if others:
            lead = leads[others[0].label]
            row["runner_up"] = others[0].label
            row |= {"lead": lead.mean, "lead_low": lead.low, "lead_high": lead.high}
            row["lead_n"] = lead.n
            row["sure_lead"] = not row["tied"]
        else:
            # alone: the lead is as sure as the others' failure to keep the limits
            beaten = [c.surely_infeasible(settings) for c in ranked[1:]]
            row["sure_lead"] = bool(beaten) and all(beaten)
    elif ranked:
        shown = ranked[0]
        excess = shown.excess(settings)
        if np.isfinite(excess):
            row |= {"nearest": shown.label, "nearest_excess": excess}
    else:
        return row
    row |= {"outliers": shown.outliers.mean, "attack": shown.attack.mean}
    row |= {"drift": shown.drift.mean, "strictest": shown.strictest}
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


def summary(space: pd.DataFrame, name: Callable[[str], str] = method_name) -> str:
    """What the whole map says, in one or two lines.

    Args:
        space: as `solution_space` returns it.
        name: display name of a method.
    """
    none, won = space[space["winner"] == ""], space[space["winner"] != ""]

    def count(labels: pd.Series) -> str:
        counts = labels[labels != ""].value_counts(sort=False).sort_values(ascending=False)
        return ", ".join(f"{name(label)} in {n}" for label, n in counts.items()) or "nobody"

    lines = []
    if len(none):
        lines.append(
            f"No method is safe in {len(none)} of {len(space)} cells; nearest there:"
            f" {count(none['nearest'])}."
        )
    if len(won):
        sure = int(won["sure_lead"].astype(bool).sum())
        lines.append(
            f"Best of the safe in {len(won)} of {len(space)} cells: {count(won['winner'])};"
            f" {sure or 'none'} with a sure lead."
        )
    return "\n".join(lines)
