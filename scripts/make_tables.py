"""Make every result table (CSV) from the tidy results.

per_run.csv holds one value per run and metric; main.csv, outliers.csv, attack.csv, utility.csv and
cost.csv average over forget-set draws; gains.csv compares methods in pairs; solution_space.csv
names the winner of each cell and candidates.csv ranks all methods there; original.csv says what the
models knew before. redrawn.parquet holds what per_run.csv would, had other unseen sequences set the
bands, for the bootstraps. All but cost.csv (wall time) are the same bytes for the same input.
"""

import argparse
from functools import partial
from pathlib import Path

import pandas as pd

from unlearning.analysis.attack_effects import learned_success
from unlearning.analysis.averages import (
    attack_table,
    cost_table,
    main_table,
    utility_table,
)
from unlearning.analysis.gains import gains_table
from unlearning.analysis.original import original_table
from unlearning.analysis.outliers import outlier_table, redrawn_values
from unlearning.analysis.per_run import per_run, task_values
from unlearning.analysis.replicates import per_replicate
from unlearning.analysis.rows import TableJob, read_rows, read_table
from unlearning.analysis.solution_space import candidates, solution_space
from unlearning.jobs.console import run
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import SolutionSettings


@settings_class
class Settings(TableJob, SolutionSettings):
    """How tables are made, and the rule of the solution space."""


def main() -> None:
    """Read the tidy results, compute, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("sequences", "memorization", "membership", "attack-runs", "utility", "runs")
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} (parquet)")
    parser.add_argument("--attack-effects", type=Path, required=True, help="effects of attacks")
    parser.add_argument("--thresholds", type=Path, required=True, help="thresholds per model")
    parser.add_argument("--settings", default="{}", help="JSON, see the class Settings")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    # runs are none where the models were only audited
    rows = {
        name: read_rows(getattr(arguments, name.replace("-", "_")), may_be_empty=name == "runs")
        for name in names
    }
    # empty where no attack of the suite is on
    attack_effects = pd.read_parquet(arguments.attack_effects)
    thresholds = read_table(arguments.thresholds)
    tasks = per_replicate(task_values, rows["utility"])
    memorization, membership = rows["memorization"], rows["membership"]
    learned = per_replicate(learned_success, attack_effects)
    attack_runs = pd.concat([rows["attack-runs"], learned], ignore_index=True)
    values = per_replicate(
        partial(per_run, settings=settings, attackers=settings.attackers),
        *(memorization, membership, attack_runs, attack_effects, tasks, rows["runs"], thresholds),
    )
    redrawn = redrawn_values(memorization, membership, thresholds)
    shown = {
        "models": settings.models,
        "confidence": settings.confidence,
        "circular": settings.circular(settings.outlier_metric),
        "redrawn": redrawn,
    }
    made = {
        "per_run": values,
        "main": main_table(values, settings),
        "outliers": outlier_table(memorization, membership, thresholds, settings),
        "attack": attack_table(attack_runs, settings),
        "utility": utility_table(tasks, settings),
        "gains": gains_table(values, settings, redrawn),
        "solution_space": solution_space(values, settings, **shown),
        "candidates": candidates(values, settings, **shown),
        "original": original_table(memorization, membership, rows["sequences"], settings),
        "cost": cost_table(rows["runs"], settings),
    }
    for name, table in made.items():
        write_csv(table, arguments.output / f"{name}.csv")
    write_parquet(redrawn.reset_index(), arguments.output / "redrawn.parquet")


if __name__ == "__main__":
    run(main)
