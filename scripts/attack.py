"""Attack every model: from scores per sequence to attack success, with intervals.

Writes attack_runs.parquet: success per run, score and side.
"""

import argparse
from pathlib import Path

import pandas as pd

from unlearning.analysis.rows import read_rows
from unlearning.attacks.membership import attack_all
from unlearning.jobs.console import run
from unlearning.jobs.files import write_parquet
from unlearning.settings import read_settings
from unlearning.settings.analysis import AttackSettings


def main() -> None:
    """Read membership scores, attack, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--membership", type=Path, nargs="+", required=True, help="scores per run and sequence"
    )
    parser.add_argument("--settings", default="{}", help="JSON, see the class AttackSettings")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, AttackSettings)
    membership = pd.concat(map(read_rows, arguments.membership), ignore_index=True)
    write_parquet(attack_all(membership, settings), arguments.output / "attack_runs.parquet")


if __name__ == "__main__":
    run(main)
