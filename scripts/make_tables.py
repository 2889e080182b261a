"""Make every result table (CSV) from the tidy results.

per_run.csv holds one value per run and metric; main.csv, outliers.csv, attack.csv, utility.csv and
cost.csv average over forget-set draws; gains.csv compares methods in pairs; solution_space.csv
names the winner of each cell and candidates.csv ranks all methods there; original.csv says what the
models knew before. All but cost.csv (wall time) are the same bytes for the same input.
"""

import argparse
from pathlib import Path

import pandas as pd

from unlearning.analysis import tables
from unlearning.analysis.attack_effects import learned_success
from unlearning.analysis.solution_space import candidates, solution_space
from unlearning.jobs.console import run
from unlearning.jobs.files import write_csv
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import SolutionSettings


@settings_class
class Settings(tables.TableJob, SolutionSettings):
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
    rows = {name: tables.read_rows(getattr(arguments, name.replace("-", "_"))) for name in names}
    attack_effects = pd.read_parquet(
        arguments.attack_effects
    )  # empty where no attack of the suite is on
    thresholds = tables.read_table(arguments.thresholds)
    tasks = tables.task_values(rows["utility"])
    memorization, membership = rows["memorization"], rows["membership"]
    learned = learned_success(attack_effects)
    attack_runs = pd.concat([rows["attack-runs"], learned], ignore_index=True)
    per_run = tables.per_run(
        memorization, membership, attack_runs, tasks, rows["runs"], thresholds, settings
    )
    made = {
        "per_run": per_run,
        "main": tables.main_table(per_run, settings),
        "outliers": tables.outlier_table(memorization, membership, thresholds, settings),
        "attack": tables.attack_table(attack_runs, settings),
        "utility": tables.utility_table(tasks, settings),
        "gains": tables.gains_table(per_run, settings),
        "solution_space": solution_space(per_run, settings, settings.models, settings.confidence),
        "candidates": candidates(per_run, settings, settings.models, settings.confidence),
        "original": tables.original_table(memorization, membership, rows["sequences"], settings),
        "cost": tables.cost_table(rows["runs"], settings),
    }
    for name, table in made.items():
        write_csv(table, arguments.output / f"{name}.csv")


if __name__ == "__main__":
    run(main)
