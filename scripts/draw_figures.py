"""Draw the figures from the tidy results and tables, each as SVG, PNG and PDF."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from unlearning.analysis.replicates import replicated
from unlearning.analysis.rows import read_rows, read_table
from unlearning.figures import FIGURES, OF_SHADOWS, FigureJob, save
from unlearning.jobs.console import add_threads, run
from unlearning.settings import read_settings

ROWS = ("sequences", "memorization", "membership", "history")
TABLES = (
    "thresholds", "per-run", "gains", "utility", "solution-space", "candidates", "cost",
    "attack-suite", "trust",
)  # fmt: skip


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ROWS:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} (parquet)")
    for name in TABLES:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} table (CSV)")
    parser.add_argument("--ulira", type=Path, help="ulira table (CSV), where there are shadows")
    parser.add_argument("--settings", default="{}", help="JSON, see the class FigureJob")
    choices = [*FIGURES, *OF_SHADOWS]
    parser.add_argument("--only", nargs="+", choices=choices, help="draw these figures alone")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    add_threads(parser)
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, FigureJob)
    results = {name: settings.shown_replicate(read_rows(getattr(arguments, name))) for name in ROWS}
    for name in TABLES:
        name = name.replace("-", "_")
        results[name] = read_table(getattr(arguments, name))
    results["thresholds"] = settings.shown_replicate(results["thresholds"])
    wanted = list(FIGURES)
    if arguments.ulira is not None:
        results["ulira"] = read_table(arguments.ulira)
        wanted += OF_SHADOWS
    settings = replace(settings, replicated=replicated(results["per_run"]))
    task = partial(draw, results, settings, arguments.output)
    with ProcessPoolExecutor(arguments.threads) as pool:
        list(pool.map(task, arguments.only or wanted))


def draw(results: dict[str, pd.DataFrame], settings: FigureJob, folder: Path, name: str) -> None:
    """Draw one figure and write it in every format."""
    save((FIGURES | OF_SHADOWS)[name](results, settings), folder, name)


if __name__ == "__main__":
    run(main)
