"""What a verdict is, what it is judged by, and the words for the numbers that decide it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from unlearning.analysis.gains import pool_cells
from unlearning.analysis.replicates import POOLED, units
from unlearning.analysis.rows import ALL
from unlearning.names import HEADLINE, METRICS, method_name
from unlearning.settings import settings_class
from unlearning.settings.analysis import ClaimRules, SolutionSettings
from unlearning.statistics import WITNESSES, Interval, mean_interval

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
BOOTSTRAP = f"(of at least {WITNESSES} values; it draws the unseen sequences of the band anew)"


@settings_class
class ClaimSettings(ClaimRules, SolutionSettings):
    """Both sets of rules, and what else judging needs."""

    models: tuple[str, ...] = ()
    """Display order, smallest first; C6 speaks of the first as the small one. Empty: the order of
    solution_space.csv."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of all intervals."""

    replicated: bool = False
    """Whether there are several replicates: then they are what n counts."""

    def counts(self, further: str = "") -> str:
        """What n counts where cells are pooled, in words, with what else is said of it."""
        if self.replicated:
            return f"n counts {POOLED}" + (f" ({further})" if further else "")
        return f"n counts cells (draws if there is one cell{further and '; ' + further})"

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1 - self.confidence

    @property
    def surely(self) -> str:
        """What "surely" means, in words, where no family of comparisons is corrected for."""
        return f"surely: by Student's and the bootstrap interval {BOOTSTRAP}"

    @property
    def sure(self) -> str:
        """What a sure difference is, in words."""
        return (
            f"sure: Student's and the bootstrap interval {BOOTSTRAP} exclude 0,"
            f" and p is below {self.alpha:.2g} after Holm's correction over all comparisons of"
            f" methods by {', '.join(HEADLINE)} in the same scope; what a method's own stop rule"
            " brings about is never sure"
        )


@dataclass(frozen=True)
class Verdict:
    """One claim, judged."""

    id: str
    claim: str
    verdict: str
    evidence: str
    rule: str


CLAIMS = {
    "C1": "Language models memorize training sequences to different degrees and emit them verbatim",
    "C2": "Unlearning judged by the average hides sequences that are still memorized or"
    " over-forgotten",
    "C3": "An adversarial attack shows that methods without the per-sequence view fail for privacy",
    "C4": "SGA and TAU improve on this: fewer outliers and a less successful attack",
    "C5": "Utility is not hurt",
    "C6": "There is a map: which method is best depends on model size and forget-set size",
    "C7": "The gains are quantified",
    "C8": "(Ours) A method that gives each sequence its own target is not found by the attack",
}


def show(interval: Interval, signed: bool = True) -> str:
    """A number with its interval and n: "+0.12 [+0.05, +0.19], n = 9"."""
    if np.isnan(interval.mean):
        return f"no value, n = {interval.n}"
    form = "{:+.3f}" if signed else "{:.3f}"
    bounds = "no interval"
    if not np.isnan([interval.low, interval.high]).any():
        bounds = f"[{form.format(interval.low)}, {form.format(interval.high)}]"
    return f"{form.format(interval.mean)} {bounds}, n = {interval.n}"


def verdict(
    claim: str, supported: bool, refuted: bool, evidence: Sequence[str], rule: str
) -> Verdict:
    """The verdict on a claim, by its id; undecided where it is neither supported nor refuted."""
    outcome = SUPPORTED if supported else REFUTED if refuted else UNDECIDED
    return Verdict(claim, CLAIMS[claim], outcome, "; ".join(evidence), rule)


def pooled_mean(runs: pd.DataFrame, metric: str, label: str, settings: ClaimSettings) -> Interval:
    """Mean of a metric of one method over what `pool_cells` takes a mean over."""
    own = runs[(runs["metric"] == metric) & (runs["unlearner"] == label)].dropna(subset="value")
    pooled = units(pool_cells(own, ["value"])[0], [])
    return mean_interval(pooled["value"], settings.confidence)


@dataclass(frozen=True)
class Gain:
    """A row of gains.csv and what it decides: effect -1 lower, +1 higher, 0 not sure.

    by_construction: a stop rule brings the difference about, so that it decides nothing.
    """

    proposal: str
    baseline: str
    metric: str
    interval: Interval
    effect: int
    by_construction: bool

    @property
    def benefit(self) -> int:
        """+1 surely better, -1 surely worse, 0 not sure or without a better direction."""
        return {"lower": -1, "higher": 1}.get(METRICS[self.metric].better, 0) * self.effect

    def text(self) -> str:
        """In words."""
        label = {1: "better", -1: "worse", 0: "not sure"}[self.benefit]
        if self.by_construction:
            label = "by construction: a stop rule looks at it"
        return (
            f"{method_name(self.proposal)} - {method_name(self.baseline)}, {self.metric}:"
            f" {show(self.interval)} ({label})"
        )


def gain_of(
    gains: pd.DataFrame,
    proposal: str,
    baseline: str,
    metric: str,
    model: str = ALL,
) -> Gain | None:
    """A row of gains.csv over all forget sizes; None if it is not there."""
    row = gains[
        (gains["model"] == model)
        & (gains["forget_size"] == ALL)
        & (gains["proposal"] == proposal)
        & (gains["baseline"] == baseline)
        & (gains["metric"] == metric)
    ]
    if row.empty:
        return None
    row = row.iloc[0]
    interval = Interval(row["mean"], row["low"], row["high"], int(row["n"]))
    circular = bool(row["by_construction"])
    return Gain(proposal, baseline, metric, interval, int(row["sure"]), circular)


def gains_of(
    gains: pd.DataFrame, metrics: Sequence[str], settings: ClaimSettings
) -> tuple[list[Gain], list[str]]:
    """The pooled rows of the paper's proposals against the baselines, and what is missing."""
    found, missing = [], []
    for proposal in settings.paper_proposals:
        for baseline in settings.paper_baselines:
            for metric in metrics:
                gain = gain_of(gains, proposal, baseline, metric)
                if gain is None:
                    missing.append(f"{proposal} - {baseline}, {metric}: not run")
                else:
                    found.append(gain)
    return found, missing
