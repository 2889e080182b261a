"""The abstract's claims, each a rule over the tidy tables: supported, refuted or undecided.

A comparison decides only if its interval excludes zero (for "not hurt": excludes a loss of the
stated margin), of a paired one Student's and the bootstrap's; anything else leaves the claim
undecided. Comparisons between methods must also pass Holm's correction over their family. The rule
is printed with the verdict, so that a reader who would have asked something else can see what was
asked.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from pydantic import Field

from unlearning.analysis.solution_space import describe_cell
from unlearning.analysis.tables import ALL, pool_cells, pooled_difference
from unlearning.names import HEADLINE, METRICS, method_name, model_order
from unlearning.settings import settings_class
from unlearning.settings.analysis import ClaimRules, SolutionSettings
from unlearning.statistics import (
    Interval,
    holm,
    mean_interval,
    sign_of,
)

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


@settings_class
class ClaimSettings(ClaimRules, SolutionSettings):
    """Both sets of rules, and what else judging needs."""

    models: tuple[str, ...] = ()
    """Display order, smallest first; C6 speaks of the first as the small one. Empty: the order of
    solution_space.csv."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of all intervals."""

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1 - self.confidence

    @property
    def sure(self) -> str:
        """What a sure difference is, in words."""
        return (
            "sure: Student's and the bootstrap interval exclude 0, and p is below"
            f" {self.alpha:.2g} after Holm's correction over all comparisons of methods by"
            f" {', '.join(HEADLINE)} in the same scope"
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
}


def judge(
    runs: pd.DataFrame,
    original: pd.DataFrame,
    gains: pd.DataFrame,
    space: pd.DataFrame,
    settings: ClaimSettings,
) -> list[Verdict]:
    """Judge every claim.

    Args:
        runs: per_run.csv.
        original: original.csv.
        gains: gains.csv, model and forget_size as text.
        space: solution_space.csv, empty text for nothing.
        settings: rules.
    """
    if not settings.models:
        settings = replace(settings, models=tuple(space["model"].drop_duplicates()))
    return [
        judge_memorization(original, settings),
        judge_hidden_outliers(runs, settings),
        judge_attack_on_baselines(runs, gains, settings),
        judge_proposals(gains, settings),
        judge_utility(runs, gains, settings),
        judge_map(space, gains, settings),
        judge_gains(gains, settings),
    ]


# Words and small decisions ----------------------------------------------------------------------


def show(interval: Interval, signed: bool = True) -> str:
    """A number with its interval and n: "+0.12 [+0.05, +0.19], n = 9"."""
    if np.isnan(interval.mean):
        return f"no value, n = {interval.n}"
    form = "{:+.3f}" if signed else "{:.3f}"
    bounds = "no interval"
    if not np.isnan([interval.low, interval.high]).any():
        bounds = f"[{form.format(interval.low)}, {form.format(interval.high)}]"
    return f"{form.format(interval.mean)} {bounds}, n = {interval.n}"


def _verdict(id_: str, supported: bool, refuted: bool, evidence: Sequence[str], rule: str):
    verdict = SUPPORTED if supported else REFUTED if refuted else UNDECIDED
    return Verdict(id_, CLAIMS[id_], verdict, "; ".join(evidence), rule)


def _pooled(runs: pd.DataFrame, metric: str, label: str, settings: ClaimSettings) -> Interval:
    """Mean of a metric of one method over cells (over draws if there is one cell)."""
    own = runs[(runs["metric"] == metric) & (runs["unlearner"] == label)].dropna(subset="value")
    return mean_interval(pool_cells(own, ["value"])[0]["value"], settings.confidence)


@dataclass(frozen=True)
class Gain:
    """A row of gains.csv and what it decides: effect -1 lower, +1 higher, 0 not sure."""

    proposal: str
    baseline: str
    metric: str
    interval: Interval
    effect: int

    @property
    def benefit(self) -> int:
        """+1 surely better, -1 surely worse, 0 not sure or without a better direction."""
        return {"lower": -1, "higher": 1}.get(METRICS[self.metric].better, 0) * self.effect

    def text(self) -> str:
        """In words."""
        label = {1: "better", -1: "worse", 0: "not sure"}[self.benefit]
        return (
            f"{method_name(self.proposal)} - {method_name(self.baseline)}, {self.metric}:"
            f" {show(self.interval)} ({label})"
        )


def _gain(
    gains: pd.DataFrame,
    proposal: str,
    baseline: str,
    metric: str,
    settings: ClaimSettings,
    model: str = ALL,
) -> Gain | None:
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
    return Gain(proposal, baseline, metric, interval, int(row["sure"]))


def _gains_of(
    gains: pd.DataFrame, metrics: Sequence[str], settings: ClaimSettings
) -> tuple[list[Gain], list[str]]:
    """The pooled rows of the paper's proposals against the baselines, and what is missing."""
    found, missing = [], []
    for proposal in settings.paper_proposals:
        for baseline in settings.paper_baselines:
            for metric in metrics:
                gain = _gain(gains, proposal, baseline, metric, settings)
                if gain is None:
                    missing.append(f"{proposal} - {baseline}, {metric}: not run")
                else:
                    found.append(gain)
    return found, missing


# The claims --------------------------------------------------------------------------------------


def judge_memorization(original: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C1: spread of g against unseen sequences, and verbatim extraction."""
    rule = (
        "planted minus unseen sequences on each original model: supported if mean g and the spread"
        " of g are surely higher on every model and the verbatim extraction rate on at least one;"
        " refuted if mean g or spread is surely not higher (interval below 0) on some model;"
        " n counts planted sequences"
    )
    gap = original[
        (original["unlearner"] == "original") & (original["split"] == "planted - unseen")
    ]
    signs: dict[str, list[int]] = {"ma": [], "ma_spread": [], "extracted": []}
    evidence = []
    for model in model_order(gap["model"], settings.models):
        parts = []
        for metric, seen in signs.items():
            row = gap[(gap["model"] == model) & (gap["metric"] == metric)].iloc[0]
            interval = Interval(row["mean"], row["low"], row["high"], int(row["n"]))
            seen.append(sign_of(interval))
            parts.append(f"{METRICS[metric].label} {show(interval)}")
        evidence.append(f"{model}: " + ", ".join(parts))
    every = bool(evidence) and min(signs["ma"] + signs["ma_spread"]) > 0
    return _verdict(
        "C1",
        every and max(signs["extracted"]) > 0,
        bool(evidence) and min(signs["ma"] + signs["ma_spread"]) < 0,
        evidence or ["no original model was scored"],
        rule,
    )


def judge_hidden_outliers(runs: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C2: outliers although the mean meets the threshold."""
    first = settings.paper_baselines[0]
    name = method_name(first)
    rule = (
        f"runs of {name} whose mean g is below the threshold: share of the forget set that is still"
        " memorized (above the calibrated band) minus the same share of unseen sequences on the"
        " same model, mean over cells: supported if surely above 0; refuted if surely below 0 or if"
        " c(D_f) is 0 in every one of several such runs; over-forgotten ones are given beside:"
        " ascent drags unseen sequences below the band too; n counts cells (draws if there is one"
        " cell)"
    )
    wide = runs[runs["unlearner"] == first].pivot(
        index=["model", "forget_size", "seed"], columns="metric", values="value"
    )
    met = wide[wide["mean_met"] == 1] if "mean_met" in wide else wide.iloc[:0]
    if met.empty:
        return _verdict("C2", False, False, [f"no run of {name} met the mean threshold"], rule)

    def over_cells(metric: str) -> Interval:
        values = met[metric].rename("value").dropna().reset_index()
        return mean_interval(pool_cells(values, ["value"])[0]["value"], settings.confidence)

    excess = over_cells("excess_memorized_rate")
    counts = met["outliers_calibrated"]
    evidence = [
        f"{len(met)} runs of {name} met the mean threshold",
        f"still memorized in excess of unseen: {show(excess)}",
        f"outliers of both sides in excess of unseen: {show(over_cells('excess_outliers_rate'))}",
        f"calibrated band: c(D_f) > 0 in {int((counts > 0).sum())} of {len(met)} runs, still"
        f" memorized {show(over_cells('under_forgotten_calibrated_rate'), False)}, over-forgotten"
        f" {show(over_cells('over_forgotten_calibrated_rate'), False)}",
        f"fixed band: c(D_f) > 0 in {int((met['outliers_paper'] > 0).sum())} of {len(met)} runs",
        f"largest g: mean {show(over_cells('ma_max'), False)}",
    ]
    return _verdict(
        "C2",
        sign_of(excess) > 0,
        sign_of(excess) < 0 or (len(counts) > 1 and bool((counts == 0).all())),
        evidence,
        rule,
    )


def judge_attack_on_baselines(
    runs: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings
) -> Verdict:
    """C3: attack success on the baselines against chance and against the proposals."""
    metric = settings.attack_metric
    names = [method_name(b) for b in settings.paper_baselines]
    rule = (
        f"{metric}: supported if it is surely above the control model's (the chance level of a"
        f" maximum over scores) for each of {', '.join(names)}, and each of them is surely more"
        " exposed than some proposal of the paper; refuted if some baseline is surely below the"
        " control, or surely less exposed than every proposal it was compared with;"
        " n counts cells (draws if there is one cell)"
    )
    above, beaten, reversed_, evidence = [], [], [], []
    for baseline in settings.paper_baselines:
        chance = pooled_difference(runs, metric, baseline, "control", settings.confidence)
        above.append(sign_of(chance))
        level = _pooled(runs, metric, baseline, settings)
        evidence.append(
            f"{method_name(baseline)}: {show(level, False)}; minus control: {show(chance)}"
        )
        found = [_gain(gains, p, baseline, metric, settings) for p in settings.paper_proposals]
        found = [gain for gain in found if gain is not None]
        evidence += [gain.text() for gain in found] or [
            f"no proposal to compare with {method_name(baseline)}"
        ]
        beaten.append(any(gain.effect < 0 for gain in found))
        reversed_.append(bool(found) and all(gain.effect > 0 for gain in found))
    if not (runs["unlearner"] == "control").any():
        evidence.append("no control model: chance level unknown")
    return _verdict(
        "C3",
        all(sign > 0 for sign in above) and all(beaten),
        any(sign < 0 for sign in above) or any(reversed_),
        evidence,
        rule,
    )


def judge_proposals(gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C4: outliers and attack success of the proposals against the baselines."""
    metrics = (settings.outlier_metric, settings.attack_metric)
    rule = (
        f"paired differences in {' and '.join(metrics)}, each proposal of the paper against each"
        " baseline, pooled over cells: supported if all are surely better; refuted if some is"
        f" surely worse; undecided otherwise ({settings.sure}); n counts cells (draws if there is"
        " one cell)"
    )
    found, missing = _gains_of(gains, metrics, settings)
    benefits = [gain.benefit for gain in found]
    return _verdict(
        "C4",
        not missing and min(benefits, default=0) > 0,
        min(benefits, default=0) < 0,
        [gain.text() for gain in found] + missing,
        rule,
    )


def judge_utility(runs: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C5: suite and perplexity against the original model and the baselines."""
    margins = {
        "utility_accuracy": settings.accuracy_margin,
        "dialogue_f1": settings.accuracy_margin,
        "nats_per_token": -settings.nats_margin,
    }
    rule = (
        "paper's proposals minus original model, pooled over cells: supported if for each the"
        f" loss of task accuracy and of dialogue F1 is surely smaller than"
        f" {settings.accuracy_margin:g} and the rise of log-perplexity surely smaller than"
        f" {settings.nats_margin:g} nats; refuted if some loss is surely larger than its margin"
        " (Holm-corrected); differences to the baselines are given beside and do not decide;"
        " n counts cells (draws if there is one cell)"
    )
    evidence, benefits, p_values, missing = [], [], [], False
    for proposal in settings.paper_proposals:
        for metric, margin in margins.items():
            change = pooled_difference(runs, metric, proposal, "original", settings.confidence)
            beyond = pooled_difference(
                runs, metric, proposal, "original", settings.confidence, shift=margin
            )
            better = 1 if METRICS[metric].better == "higher" else -1
            missing |= change.n == 0
            benefits.append(better * sign_of(beyond))
            p_values.append(beyond.p)
            word = {1: "within the margin", -1: "beyond the margin", 0: "not sure"}[benefits[-1]]
            evidence.append(
                f"{method_name(proposal)} - original, {metric}: {show(change)} ({word})"
            )
    corrected = holm(p_values)
    hurt = any(
        benefit < 0 and p < settings.alpha for benefit, p in zip(benefits, corrected, strict=True)
    )
    found, _ = _gains_of(gains, list(margins), settings)
    return _verdict(
        "C5",
        not missing and min(benefits, default=0) > 0,
        hurt,
        evidence + [gain.text() for gain in found],
        rule,
    )


def judge_map(space: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C6: the map, and the statement about small and larger models."""
    rule = (
        settings.rule()
        + ". Supported if two cells have different winners, each with a sure lead; refuted if all"
        " of several cells have the same winner, each with a sure lead; undecided otherwise. n"
        " counts draws"
    )
    sure = space[(space["winner"] != "") & space["sure_lead"]]
    winners = set(sure["winner"])
    cells = [
        describe_cell(row)
        + (
            f", {settings.utility_metric} {row['utility']:.3f}, outliers {row['outliers']:.3f},"
            f" attack {row['attack']:.3f}, n = {int(row['n'])}"
            + (
                f", lead {row['lead']:+.3f} [{row['lead_low']:+.3f}, {row['lead_high']:+.3f}]"
                if row["runner_up"]
                else ""
            )
            if row["winner"] or row["nearest"]
            else ""
        )
        for _, row in space.iterrows()
    ]
    return _verdict(
        "C6",
        len(winners) > 1,
        len(winners) == 1 and len(sure) == len(space) > 1,
        ["the map: " + " | ".join(cells), *second_hand_statement(space, gains, settings)],
        rule,
    )


def second_hand_statement(
    space: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings
) -> list[str]:
    """Whether TA is good on the small model and SGA/TAU are more robust on larger ones.

    Part one holds if TA wins or ties every cell of the smallest model, and does not hold if it is
    infeasible or surely behind in every one of them. Part two holds if on every larger model some
    proposal of the paper has surely fewer outliers than TA, and does not hold if on every larger
    model each of them has surely more. Anything else is open.
    """
    models = model_order(space["model"], settings.models)
    small, larger = models[0], models[1:]
    cells = space[space["model"] == small]
    leads = [
        bool(row["winner"]) and "ta" in (row["winner"], *row["tied"].split(";"))
        for _, row in cells.iterrows()
    ]
    first = "open"
    if "ta" not in set(gains["baseline"]):
        first = "open (TA not run)"
    elif all(leads):
        first = "holds"
    elif not any(leads):
        first = "does not hold"
    second, texts = "open", []
    fewer, more = [], []
    for model in larger:
        found = [
            _gain(gains, p, "ta", settings.outlier_metric, settings, model)
            for p in settings.paper_proposals
        ]
        found = [gain for gain in found if gain is not None]
        texts += [f"{model}: {gain.text()}" for gain in found]
        fewer.append(any(gain.effect < 0 for gain in found))
        more.append(bool(found) and all(gain.effect > 0 for gain in found))
    if larger and all(fewer):
        second = "holds"
    elif larger and all(more):
        second = "does not hold"
    return [
        f"said second-hand, 'TA is good on the small model' ({small}): {first}, TA wins or ties"
        f" {sum(leads)} of {len(leads)} cells there",
        f"said second-hand, 'SGA and TAU are more robust on larger models': {second}"
        + "".join(f", {text}" for text in texts),
    ]


def judge_gains(gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C7: paired differences with intervals."""
    metrics = (
        settings.outlier_metric,
        "ma_max",
        settings.attack_metric,
        settings.utility_metric,
        "nats_per_token",
    )
    rule = (
        f"pooled paired differences in {', '.join(dict.fromkeys(metrics))} of the paper's proposals"
        " against each baseline: supported if all have an interval and some is a sure gain; refuted"
        " if all have an interval, some is a sure loss and none a sure gain; undecided otherwise"
        f" ({settings.sure}); n counts cells (draws if there is one cell)"
    )
    found, missing = _gains_of(gains, list(dict.fromkeys(metrics)), settings)
    known = not missing and all(
        np.isfinite([gain.interval.low, gain.interval.high]).all() for gain in found
    )
    benefits = [gain.benefit for gain in found]
    better, worse = benefits.count(1), benefits.count(-1)
    return _verdict(
        "C7",
        bool(found) and known and better > 0,
        bool(found) and known and better == 0 and worse > 0,
        [
            f"{better} sure gains, {worse} sure losses, {benefits.count(0)} not sure",
            *(gain.text() for gain in found),
            *missing,
        ],
        rule,
    )


def as_json(verdicts: Sequence[Verdict]) -> list[dict]:
    """The verdicts as plain values."""
    return [asdict(verdict) for verdict in verdicts]


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a page: an overview, then each with its evidence and rule."""
    lines = ["# The abstract's claims, judged", "", "| | claim | verdict |", "|---|---|---|"]
    lines += [f"| {v.id} | {v.claim} | **{v.verdict}** |" for v in verdicts]
    lines += [
        "",
        "Student intervals of 95 % are in brackets. n counts cells (model x forget size), each",
        "the mean over its forget-set draws, unless a rule says otherwise. All draws come from one",
        "pool and each model from one training seed: cells and draws are not independent, and the",
        "intervals are narrower than those of a fresh experiment would be.",
    ]
    for v in verdicts:
        lines += ["", f"## {v.id}: {v.verdict}", "", f"{v.claim}.", "", f"*Rule:* {v.rule}.", ""]
        lines += [f"- {part}" for part in v.evidence.split("; ")]
    return "\n".join(lines) + "\n"
