"""Choose each unlearner's settings from its grid: one criterion, on runs that are not reported."""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from unlearning.analysis.tuning import choose
from unlearning.jobs.console import run
from unlearning.jobs.files import replacing, write_csv, write_json
from unlearning.settings import read_settings, settings_class
from unlearning.settings.tuning import TuningSettings
from unlearning.unlearners.grid import at_point


@settings_class
class Settings:
    """What was tuned."""

    tuning: TuningSettings
    """The criterion's limits."""

    unlearners: dict[str, dict[str, Any]]
    """Label -> its block, as in the config."""


def main() -> None:
    """Read the runs of all jobs, rank, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="tables of runs")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--table", type=Path, required=True, help="table of all points to write")
    parser.add_argument(
        "--chosen", type=Path, required=True, help="folder to write each label's settings into"
    )
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    runs = pd.concat([pd.read_parquet(path) for path in arguments.runs], ignore_index=True)
    table = choose(runs, settings.tuning)
    write_csv(table, arguments.table)
    lines = []
    for row in table[table["chosen"]].itertuples():
        point = json.loads(row.settings)
        write_json({row.unlearner: point}, arguments.chosen / f"{row.unlearner}.json")
        block = at_point(row.unlearner, settings.unlearners[row.unlearner], point)
        lines.append(f"{row.unlearner}: {json.dumps(block)}\n")
    # YAML for the block `unlearners` of a config: of flow style, as JSON is
    with replacing(arguments.chosen / "unlearners.yaml") as scratch:
        scratch.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    run(main)
