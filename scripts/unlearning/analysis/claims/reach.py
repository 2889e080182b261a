"""How near a method that gives each sequence a target of its own comes to what it is for.

Nobody finds its forgotten sequences better than those of a model that never saw them; they do not
come back; unseen sequences and utility stay where they were. A goal is how far it may be off, one
of the margins under `claims:` and the drift of the map's rule.
"""

from dataclasses import asdict, dataclass

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings
from unlearning.analysis.gains import pooled_difference
from unlearning.names import METRICS
from unlearning.statistics import PairedDifference, sign_of

COLUMNS = [
    "method", "metric", "label", "than", "limit", "mean", "low", "high", "n", "reached",
]  # fmt: skip
REACHED = {-1: "yes", 0: "not sure", 1: "no"}


@dataclass(frozen=True)
class Goal:
    """What may be lost.

    Attributes:
        metric: of per_run.csv.
        than: who it is compared with.
        limit: how much worse than there it may be; worse is more, or less where more is better.
    """

    metric: str
    than: str
    limit: float

    def found(self, runs: pd.DataFrame, settings: ClaimSettings) -> tuple[PairedDifference, int]:
        """How much worse the method is, pooled over cells, and which side of the limit it is on.

        Returns:
            The difference, positive where it is worse, and -1 surely within the limit, +1 surely
            beyond it, 0 not sure.
        """
        left, right = settings.own_target, self.than
        if METRICS[self.metric].better == "higher":
            left, right = right, left
        pair = (runs, self.metric, left, right, settings.confidence)
        return pooled_difference(*pair), sign_of(pooled_difference(*pair, shift=-self.limit))


def privacy_goals(settings: ClaimSettings) -> list[Goal]:
    """What C8 asks for: every attack beside the control's, and that unseen text did not pay."""
    margins = {
        "attack_auc_worst": settings.single_margin,
        "attack_auc_worst_one": settings.single_margin,
        "attack_auc_learned": settings.learned_margin,
        "attack_auc_token_level": settings.strict_margin,
        "attack_auc_observer": settings.strict_margin,
        "attack_auc_strictest": settings.strict_margin,
    }
    attacks = [Goal(metric, "control", margin) for metric, margin in margins.items()]
    return [*attacks, Goal("unseen_drift", "original", settings.max_drift or 0.0)]


def goals(settings: ClaimSettings) -> list[Goal]:
    """All of them."""
    return [
        *privacy_goals(settings),
        Goal("relearned", "control", settings.relearned_margin),
        Goal("nats_per_token", "original", settings.nats_margin),
        Goal("utility_accuracy", "original", settings.accuracy_margin),
    ]


def reach(runs: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """How near the method of C8 comes to each goal.

    Args:
        runs: per_run.csv.
        settings: margins, the method's label.

    Returns:
        Columns `COLUMNS`, one row per goal: mean, low, high and n are of how much worse the method
        is than who it is compared with; reached is "yes" or "no" where that is sure by both
        intervals, "not sure", or "not measured". Empty if the method was not run.
    """
    rows = []
    for goal in goals(settings) if (runs["unlearner"] == settings.own_target).any() else ():
        row = asdict(goal) | {"method": settings.own_target, "label": METRICS[goal.metric].label}
        found, sign = goal.found(runs, settings)
        row |= {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
        rows.append(row | {"reached": REACHED[sign] if found.n else "not measured"})
    return pd.DataFrame(rows, columns=COLUMNS)


def reach_markdown(table: pd.DataFrame) -> str:
    """The table as a section of the claims' page; nothing where there is none."""
    if table.empty:
        return ""
    lines = [
        "",
        f"## How near {table['method'].iloc[0]} comes to its goals",
        "",
        "| how much worse it may be | than | at most | it is | n | reached |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        bounds = "" if pd.isna(row.low) else f" [{row.low:+.3f}, {row.high:+.3f}]"
        found = "–" if pd.isna(row.mean) else f"{row.mean:+.3f}{bounds}"
        lines.append(
            f"| {row.label} | {row.than} | {row.limit:g} | {found} | {row.n} | {row.reached} |"
        )
    return "\n".join(lines) + "\n"
