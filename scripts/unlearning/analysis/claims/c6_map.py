"""C6: which method is best depends on model size and forget-set size."""

import numpy as np
import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings, Verdict, gain_of, verdict
from unlearning.analysis.solution_space import describe_cell
from unlearning.analysis.strictest import shown
from unlearning.names import model_order


def judge_map(space: pd.DataFrame, gains: pd.DataFrame, settings: ClaimSettings) -> Verdict:
    """C6: the map, and the statement about small and larger models."""
    rule = (
        settings.rule("replicates" if settings.replicated else "draws")
        + ". Supported if two cells have different winners, each with a sure lead; refuted if all"
        " of several cells have the same winner, each with a sure lead; undecided otherwise. n"
        f" counts {'replicates' if settings.replicated else 'draws'}"
    )
    sure = space[(space["winner"] != "") & space["sure_lead"]]
    winners = set(sure["winner"])
    cells = [
        describe_cell(row)
        + (
            f", {settings.utility_metric} {row['utility']:.3f}, outliers {row['outliers']:.3f}"
            + (" (by construction)" if row["by_construction"] else "")
            + f", attack {row['attack']:.3f}"
            + (f" ({shown(row['strictest'])})" if row["strictest"] else "")
            + ("" if np.isnan(row["floor"]) else f", floor {row['floor']:.3f}")
            + f", n = {int(row['n'])}"
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
    return verdict(
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
            gain_of(gains, p, "ta", settings.outlier_metric, model)
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
