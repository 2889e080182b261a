"""Analyse the attack suite: effects per run and method beside the control's, the most exposed.

Writes attack_suite_scores.parquet (values per sequence of the attacks that work on scores;
probes.parquet holds the others), attack_suite_runs.parquet (effects per run), attack_exposed.csv,
tables/attack_suite.csv and tables/trust.csv.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from unlearning.analysis.attack_effects import (
    ROW_COLUMNS,
    effects,
    exposed,
    scored,
    suite_table,
    together,
)
from unlearning.analysis.tables import TableJob, read_rows, read_table
from unlearning.analysis.trust import trust_table
from unlearning.jobs.console import run
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import AttackSettings


@settings_class
class Settings:
    """The attacks and how their effects are told."""

    attacks: dict[str, dict[str, Any]]
    """Settings of each attack by its name."""

    attack: AttackSettings = AttackSettings()
    """Resamples, intervals, how many exposed sequences."""

    tables: TableJob = TableJob()
    """Order of the models."""


def main() -> None:
    """Read, attack, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--membership", type=Path, required=True, help="scores, parquet")
    parser.add_argument("--probes", type=Path, required=True, help="values of probing attacks")
    parser.add_argument("--thresholds", type=Path, required=True, help="thresholds per model")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    membership = read_rows(arguments.membership)
    thresholds = read_table(arguments.thresholds)

    scores = scored(membership, settings.attacks)
    write_parquet(scores[ROW_COLUMNS], arguments.output / "attack_suite_scores.parquet")
    rows = together([scores, pd.read_parquet(arguments.probes)])
    runs = effects(rows, settings.attack)
    write_parquet(runs, arguments.output / "attack_suite_runs.parquet")
    table = suite_table(runs, settings.tables)
    write_csv(table, arguments.output / "tables" / "attack_suite.csv")
    trust = trust_table(membership, rows, settings.tables)
    write_csv(trust, arguments.output / "tables" / "trust.csv")
    found = exposed(membership, rows, thresholds, settings.attack)
    write_csv(found, arguments.output / "attack_exposed.csv")


if __name__ == "__main__":
    run(main)
