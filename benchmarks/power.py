"""How many replicates decide a difference between two methods, from a finished run's variances.

    python benchmarks/power.py --config config/config.yaml                # of the size observed
    python benchmarks/power.py --config config/config.yaml --effect 0.05  # of a size of interest

A replicate is one value of a paired difference, the mean over its cells and draws; what counts is
how much that value differs between replicates. Of a run with several it is measured. Of a run with
one it is not known: the spread of its models' means, over the root of their number, stands in for
it. That is too little wherever models share the luck of a replicate, so that the numbers are then
the least that could do. Runs are decided by the t-test at the level that Holm's correction asks of
the smallest p-value of the headline family, the strictest; and by no fewer than four replicates, as
fewer have no bootstrap.
"""

import argparse
import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.analysis.gains import paired_values
from unlearning.analysis.replicates import REPLICATE, replicated
from unlearning.analysis.rows import read_table
from unlearning.configuration import check
from unlearning.jobs.console import run
from unlearning.names import HEADLINE
from unlearning.statistics import WITNESSES

MOST = 1000
"""More replicates than anyone will run."""
STEPS = 1000
"""Equal parts of a distribution that is averaged over."""


def replicates_needed(effect: float, spread: float, alpha: float, power: float) -> float:
    """Replicates with which a two-sided paired t-test finds an effect so often.

    Args:
        effect: true mean of the difference.
        spread: standard deviation between replicates.
        alpha: level of the test.
        power: share of studies that are to find it.

    Returns:
        A whole number, at least `WITNESSES`; infinite if it is more than `MOST`, NaN if the
        spread is not known or nothing.
    """
    if not spread > 0:
        return math.nan
    numbers = range(WITNESSES, MOST + 1)
    return next((n for n in numbers if found(effect, spread, n, alpha) >= power), math.inf)


def found(effect: float, spread: float, n: int, alpha: float) -> float:
    """Power of the two-sided t-test of n values, of any spread but 0.

    The chance that a normal mean passes a limit in units of the sampled spread, averaged over that
    spread. The noncentral t of the libraries gives no number where an effect is many spreads wide.
    """
    limit = stats.t.ppf(1 - alpha / 2, n - 1)
    spreads = np.sqrt(stats.chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, n - 1) / (n - 1))
    shift = abs(effect) / spread * math.sqrt(n)
    passed = stats.norm.cdf(shift - limit * spreads) + stats.norm.cdf(-shift - limit * spreads)
    return float(passed.mean())


def spread_of(pairs: pd.DataFrame) -> tuple[float, float]:
    """Mean of a paired difference and its standard deviation between replicates.

    Args:
        pairs: columns (replicate,) model, forget_size, seed, left, right.
    """
    pairs = pairs.assign(difference=pairs["left"].astype(float) - pairs["right"].astype(float))
    whole = [REPLICATE] if replicated(pairs) else []
    cells = pairs.groupby([*whole, "model", "forget_size"])["difference"].mean()
    if whole:
        each = cells.groupby(REPLICATE).mean()
        return each.mean(), each.std()
    models = cells.groupby("model").mean()
    return cells.mean(), models.std() / math.sqrt(len(models))


def main() -> None:
    """Print a line for each pair of methods and headline metric."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument(
        "--effect", type=float, help="size that is to be decided; default: observed"
    )
    parser.add_argument("--power", type=float, default=0.8, help="share of studies that find it")
    arguments = parser.parse_args()
    config = check(yaml.safe_load(arguments.config.read_text(encoding="utf-8")))
    runs = read_table(Path("results", config["run"], "tables", "per_run.csv"))
    tables, present = config["tables"], set(runs["unlearner"])
    methods = [
        (proposal, baseline)
        for proposal, baseline in product(tables["proposals"], tables["baselines"])
        if proposal != baseline and {proposal, baseline} <= present
    ]
    alpha = (1 - tables["confidence"]) / (len(methods) * len(HEADLINE))
    rows = []
    for metric, (proposal, baseline) in product(HEADLINE, methods):
        pairs = paired_values(runs, metric, proposal, baseline)
        if pairs.empty:
            continue
        mean, spread = spread_of(pairs)
        effect = mean if arguments.effect is None else arguments.effect
        needed = (
            replicates_needed(effect, spread, level, arguments.power)
            for level in (1 - tables["confidence"], alpha)
        )
        rows.append((metric, f"{proposal} - {baseline}", mean, spread, effect, *needed))
    columns = ["metric", "pair", "observed", "spread", "effect", "alone", "after_holm"]
    source = "measured" if replicated(runs) else "at least, as its models differ"
    print(
        f"{arguments.config}: replicates that find an effect in {arguments.power:.0%} of studies,"
        f" as one comparison alone and after Holm's correction over {len(rows)};"
        f" spread between replicates: {source}"
    )
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    run(main)
