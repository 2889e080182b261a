"""The abstract's claims, and one of ours, each a rule: supported, refuted or undecided.

A comparison decides only if its interval excludes zero (for "not hurt": excludes a loss of the
stated margin), of a paired one and of a mean over cells Student's and the bootstrap's, which needs
four values; anything else leaves the claim undecided. Comparisons between methods must also pass
Holm's correction over their family. The rule is printed with the verdict, so that a reader who
would have asked something else can see what was asked.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd

from unlearning.analysis.claims.c1_memorization import judge_memorization
from unlearning.analysis.claims.c2_hidden_outliers import judge_hidden_outliers
from unlearning.analysis.claims.c3_attack_on_baselines import judge_attack_on_baselines
from unlearning.analysis.claims.c4_proposals import judge_proposals
from unlearning.analysis.claims.c5_utility import judge_utility
from unlearning.analysis.claims.c6_map import judge_map
from unlearning.analysis.claims.c7_gains import judge_gains
from unlearning.analysis.claims.c8_own_target import judge_own_target
from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, show
from unlearning.analysis.replicates import replicated

__all__ = ["ClaimSettings", "Verdict", "as_json", "as_markdown", "judge", "show"]


def judge(
    runs: pd.DataFrame,
    original: pd.DataFrame,
    gains: pd.DataFrame,
    space: pd.DataFrame,
    settings: ClaimSettings,
    redrawn: pd.DataFrame | None = None,
) -> list[Verdict]:
    """Judge every claim.

    Args:
        runs: per_run.csv.
        original: original.csv.
        gains: gains.csv, model and forget_size as text.
        space: solution_space.csv, empty text for nothing.
        settings: rules.
        redrawn: redrawn.parquet, as `outliers.redrawn_values` returns it.
    """
    if not settings.models:
        settings = replace(settings, models=tuple(space["model"].drop_duplicates()))
    settings = replace(settings, replicated=replicated(runs))
    return [
        judge_memorization(original, settings),
        judge_hidden_outliers(runs, settings, redrawn),
        judge_attack_on_baselines(runs, gains, settings),
        judge_proposals(gains, settings),
        judge_utility(runs, gains, settings),
        judge_map(space, gains, settings),
        judge_gains(gains, settings),
        judge_own_target(runs, settings),
    ]


def as_json(verdicts: Sequence[Verdict]) -> list[dict]:
    """The verdicts as plain values."""
    return [asdict(verdict) for verdict in verdicts]


ONE = (
    "Student intervals of 95 % are in brackets. n counts cells (model x forget size), each",
    "the mean over its forget-set draws, unless a rule says otherwise. All draws come from one",
    "pool and each model from one training seed: cells and draws are not independent, and the",
    "intervals are narrower than those of a fresh experiment would be.",
)
SEVERAL = (
    "Student intervals of 95 % are in brackets. n counts replicates: whole experiments, each with",
    "its own text, sequences, training, controls and forget sets. A replicate is one value, the",
    "mean over its cells (model x forget size) and forget-set draws.",
)


def as_markdown(verdicts: Sequence[Verdict], several: bool = False) -> str:
    """The verdicts as a page: an overview, then each with its evidence and rule.

    Args:
        verdicts: of all claims.
        several: whether there are several replicates.
    """
    lines = ["# The claims, judged", "", "| | claim | verdict |", "|---|---|---|"]
    lines += [f"| {v.id} | {v.claim} | **{v.verdict}** |" for v in verdicts]
    lines += ["", *(SEVERAL if several else ONE)]
    for v in verdicts:
        lines += ["", f"## {v.id}: {v.verdict}", "", f"{v.claim}.", "", f"*Rule:* {v.rule}.", ""]
        lines += [f"- {part}" for part in v.evidence.split("; ")]
    return "\n".join(lines) + "\n"
