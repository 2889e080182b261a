"""One table of a finished run: every method over all its cells.

    python benchmarks/summary.py --config config/study.yaml

Markdown; a mean with its interval, Student's of 95 %. n counts replicates, each the mean over its
cells and draws, or cells where there is one replicate. The tables of a run tell methods by cell and
in pairs; this is for a page that has room for one.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.analysis.gains import clusters_of, pool_cells
from unlearning.analysis.rows import read_table
from unlearning.configuration import check
from unlearning.jobs.console import run
from unlearning.names import METHODS, METRICS
from unlearning.statistics import Interval, witnessed_mean

SHOWN = (
    "attack_auc_worst", "attack_auc_learned", "attack_auc_observer", "attack_auc_strictest",
    "outliers_calibrated_rate", "ma_max", "unseen_drift", "utility_accuracy", "perplexity",
)  # fmt: skip


def over_cells(runs: pd.DataFrame, unlearner: str, metric: str) -> Interval:
    """Mean of a metric over all cells of a method, and its interval.

    Args:
        runs: tables/per_run.csv.
        unlearner: label of the method.
        metric: name of the metric.
    """
    own = runs[(runs["unlearner"] == unlearner) & (runs["metric"] == metric)]
    if own.empty:
        return Interval(math.nan, math.nan, math.nan, 0)
    rows, _ = pool_cells(own, ["value"])
    return witnessed_mean(rows["value"], clusters=clusters_of(rows))


def markdown(runs: pd.DataFrame, metrics: Sequence[str] = SHOWN) -> str:
    """The table: methods in the order of every legend, metrics with their direction."""
    better = {"lower": "↓", "higher": "↑", "": ""}
    heads = [f"{METRICS[name].label} {better[METRICS[name].better]}" for name in metrics]
    heads = [head.strip().replace("|", "\\|") for head in heads]
    lines = [f"| | {' | '.join(heads)} | n |", "|---" * (len(metrics) + 2) + "|"]
    present = set(runs["unlearner"])
    order = [label for label in METHODS if label in present]
    for label in order + sorted(present - set(order)):
        found = [over_cells(runs, label, metric) for metric in metrics]
        n = max(one.n for one in found)
        lines.append(f"| {METHODS.get(label, label)} | {' | '.join(map(told, found))} | {n} |")
    return "\n".join(lines) + "\n"


def told(interval: Interval) -> str:
    """A mean and its interval, as far as they are known."""
    if not interval.n:
        return ""
    mean = f"{interval.mean:.2f}"
    known = not math.isnan(interval.low)
    return f"{mean} [{interval.low:.2f}, {interval.high:.2f}]" if known else mean


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--metrics", nargs="+", default=SHOWN, choices=METRICS, metavar="NAME")
    arguments = parser.parse_args()
    config = check(yaml.safe_load(arguments.config.read_text(encoding="utf-8")))
    runs = read_table(Path("results", config["run"], "tables", "per_run.csv"))
    print(markdown(runs, arguments.metrics), end="")


if __name__ == "__main__":
    run(main)
