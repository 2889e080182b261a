"""Analyse the shadows: how much an attacker finds who knows each sequence by itself.

Writes shadow_runs.parquet (how each run on a shadow ended), shadow_effects.parquet (success in each
replicate), tables/ulira.csv (over replicates) and tables/exposure.csv (of each sequence).
"""

import argparse
from functools import partial
from pathlib import Path

import pandas as pd

from unlearning.analysis.replicates import per_replicate
from unlearning.analysis.rows import TableJob
from unlearning.analysis.shadows import exposures, shadow_effects, stacked, ulira_table
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import AttackSettings


@settings_class
class Settings:
    """Which shadows there are, and how their attackers' success is told."""

    models: tuple[str, ...]
    """That have shadows."""

    count: int
    """Shadows of each."""

    analysis: AttackSettings = AttackSettings()
    """Resamples, intervals."""

    tables: TableJob = TableJob()
    """Order of the models."""


def read(folder: Path, settings: Settings, table: str) -> pd.DataFrame:
    """A table of all shadows of one experiment.

    Raises:
        InputError: a shadow's table is missing.
    """
    parts = []
    for model in settings.models:
        for shadow in range(settings.count):
            path = folder / "shadows" / model / str(shadow) / f"{table}.parquet"
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file; remove the other tables beside it, then its job runs"
                    " again"
                )
            parts.append(pd.read_parquet(path))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    """Read, analyse, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument(
        "--replicates", nargs="+", type=int, help="a folder replicate-<number> of each; default:"
        " the run's folder holds the one experiment"
    )  # fmt: skip
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    folders = {None: arguments.results}
    if arguments.replicates:
        folders = {n: arguments.results / f"replicate-{n}" for n in arguments.replicates}
    scores, runs = (
        stacked({number: read(folder, settings, name) for number, folder in folders.items()})
        for name in ("scores", "runs")
    )
    design = stacked(
        {n: pd.read_parquet(folder / "shadows/design.parquet") for n, folder in folders.items()}
    )
    effects = per_replicate(partial(shadow_effects, settings=settings.analysis), scores, design)
    write_parquet(runs, arguments.results / "shadow_runs.parquet")
    write_parquet(effects, arguments.results / "shadow_effects.parquet")
    tables = arguments.results / "tables"
    write_csv(ulira_table(effects, settings.tables), tables / "ulira.csv")
    write_csv(per_replicate(exposures, scores, design), tables / "exposure.csv")


if __name__ == "__main__":
    run(main)
