"""How near each method comes to what unlearning is for.

Nobody finds the forgotten sequences better than those of a model that never saw them; they do not
come back; unseen sequences and utility stay where they were. A goal is how far it may be off, one
of the margins under `claims:` and the drift of the map's rule.
"""

from dataclasses import asdict, dataclass

import pandas as pd

from unlearning.analysis.claims.verdicts import ClaimSettings
from unlearning.analysis.gains import pooled_difference
from unlearning.names import METRICS, method_name, method_order
from unlearning.statistics import PairedDifference, sign_of

COLUMNS = [
    "method", "metric", "label", "than", "limit", "mean", "low", "high", "n", "reached",
]  # fmt: skip
REACHED = {-1: "yes", 0: "not sure", 1: "no"}
SHORT = {"yes": "yes", "not sure": "?", "no": "**no**"}


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

    def found(
        self, runs: pd.DataFrame, method: str, settings: ClaimSettings
    ) -> tuple[PairedDifference, int]:
        """How much worse a method is, pooled over cells, and which side of the limit it is on.

        Returns:
            The difference, positive where it is worse, and -1 surely within the limit, +1 surely
            beyond it, 0 not sure.
        """
        left, right = method, self.than
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
    """How near each method comes to each goal.

    Args:
        runs: per_run.csv.
        settings: margins.

    Returns:
        Columns `COLUMNS`, one row per method and goal: mean, low, high and n are of how much worse
        the method is than who it is compared with; reached is "yes" or "no" where that is sure by
        both intervals, "not sure", or "not measured".
    """
    rows = []
    for method in method_order(set(runs["unlearner"]) - {"original", "control"}):
        for goal in goals(settings):
            found, sign = goal.found(runs, method, settings)
            row = {"method": method} | asdict(goal) | {"label": METRICS[goal.metric].label}
            row |= {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
            rows.append(row | {"reached": REACHED[sign] if found.n else "not measured"})
    return pd.DataFrame(rows, columns=COLUMNS)


def reach_markdown(table: pd.DataFrame) -> str:
    """The table as a section of the claims' page, a row per goal; nothing where there is none."""
    if table.empty:
        return ""
    methods = list(dict.fromkeys(table["method"]))
    lines = [
        "",
        "## How near each method comes to what unlearning is for",
        "",
        "How much worse a method is than the model that never saw the sequences, or than the"
        " original, and whether that is within the limit: surely (yes), surely not (**no**), or not"
        " sure (?). Intervals and n are in reach.csv.",
        "",
        f"| | than | at most | {' | '.join(map(method_name, methods))} |",
        "|---" * (3 + len(methods)) + "|",
    ]
    for label, of_goal in table.groupby("label", sort=False):
        cells = [told(row) for row in of_goal.itertuples()]
        than, limit = of_goal[["than", "limit"]].iloc[0]
        lines.append(f"| {label} | {than} | {limit:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def told(row: tuple) -> str:
    """A cell of that table: "+0.02 yes"."""
    return "–" if pd.isna(row.mean) else f"{row.mean:+.2f} {SHORT.get(row.reached, '')}".strip()
