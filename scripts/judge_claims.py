"""Judge each claim by its rule, and tell how near our method comes to its goals.

Writes claims.json, claims.md and reach.csv.
"""

import argparse
from pathlib import Path

from unlearning.analysis.claims import ClaimSettings, as_json, as_markdown, judge
from unlearning.analysis.claims.reach import reach, reach_markdown
from unlearning.analysis.outliers import indexed
from unlearning.analysis.replicates import replicated
from unlearning.analysis.rows import read_rows, read_table
from unlearning.jobs.console import run
from unlearning.jobs.files import replacing, write_csv, write_json
from unlearning.settings import read_settings


def main() -> None:
    """Read the tables, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("per-run", "original", "gains", "solution-space"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} table (CSV)")
    parser.add_argument("--redrawn", type=Path, required=True, help="values under redrawn bands")
    parser.add_argument("--settings", default="{}", help="JSON, see the class ClaimSettings")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, ClaimSettings)
    runs = read_table(arguments.per_run)
    verdicts = judge(
        runs,
        read_table(arguments.original),
        read_table(arguments.gains),
        read_table(arguments.solution_space),
        settings,
        indexed(read_rows(arguments.redrawn)),
    )
    write_json(as_json(verdicts), arguments.output / "claims.json")
    goals = reach(runs, settings)
    write_csv(goals, arguments.output / "reach.csv")
    with replacing(arguments.output / "claims.md") as scratch:
        page = as_markdown(verdicts, replicated(runs)) + reach_markdown(goals)
        scratch.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run(main)
