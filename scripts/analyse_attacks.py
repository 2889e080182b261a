"""Analyse all attacks: from one value a sequence to success and effects, beside the control's.

Writes attack_runs.parquet (success of single scores per run), attack_score_values.parquet (values
of the attacks that work on scores; attack_values.parquet holds those on models),
attack_effects.parquet (effects per run), attack_exposed.csv, tables/attack_suite.csv
and tables/trust.csv.
"""

import argparse
from functools import partial
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
from unlearning.analysis.replicates import REPLICATE, per_replicate
from unlearning.analysis.rows import TableJob, read_rows, read_table
from unlearning.analysis.trust import trust_table
from unlearning.attacks.membership import attack_all
from unlearning.jobs.console import add_paths, run
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import AttackSettings


@settings_class
class Settings:
    """The attacks and how their effects are told."""

    attacks: dict[str, dict[str, Any]]
    """Settings of each attack by its name."""

    analysis: AttackSettings = AttackSettings()
    """Resamples, intervals, how many exposed sequences."""

    tables: TableJob = TableJob()
    """Order of the models."""


def main() -> None:
    """Read, analyse, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_paths(
        parser,
        membership="scores per run and sequence, parquet",
        values="values of the attacks on models, parquet",
        thresholds="thresholds per model",
        output="folder to write into",
    )
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    membership = read_rows(arguments.membership)
    thresholds = read_table(arguments.thresholds)

    def write(table: pd.DataFrame, name: str) -> None:
        path: Path = arguments.output / name
        (write_csv if path.suffix == ".csv" else write_parquet)(table, path)

    write(
        per_replicate(partial(attack_all, settings=settings.analysis), membership),
        "attack_runs.parquet",
    )
    scores = per_replicate(partial(scored, blocks=settings.attacks), membership)
    write(
        scores.drop(columns=[n for n in scores if n not in (REPLICATE, *ROW_COLUMNS)]),
        "attack_score_values.parquet",
    )
    rows = together([scores, pd.read_parquet(arguments.values)])
    runs = per_replicate(partial(effects, settings=settings.analysis), rows)
    write(runs, "attack_effects.parquet")
    write(suite_table(runs, settings.tables), "tables/attack_suite.csv")
    write(trust_table(membership, rows, settings.tables), "tables/trust.csv")
    most = partial(exposed, settings=settings.analysis)
    write(per_replicate(most, membership, rows, thresholds), "attack_exposed.csv")


if __name__ == "__main__":
    run(main)
