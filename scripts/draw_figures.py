"""Draw the figures from the tidy results and tables, each as SVG, PNG and PDF."""

import argparse
from pathlib import Path

from unlearning.console import read_settings, run
from unlearning.figures import FIGURES, FigureJob, save
from unlearning.tables import read_rows, read_table

ROWS = ("sequences", "memorization", "membership", "history")
TABLES = ("thresholds", "main", "gains", "utility", "solution-space", "attack-suite")


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ROWS:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} (parquet)")
    for name in TABLES:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} table (CSV)")
    parser.add_argument("--settings", default="{}", help="JSON, see the class FigureJob")
    parser.add_argument("--only", nargs="+", choices=FIGURES, help="draw these figures alone")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, FigureJob)
    results = {name: read_rows(getattr(arguments, name)) for name in ROWS}
    for name in TABLES:
        name = name.replace("-", "_")
        results[name] = read_table(getattr(arguments, name))
    for name in arguments.only or FIGURES:
        save(FIGURES[name](results, settings), arguments.output, name)


if __name__ == "__main__":
    run(main)
