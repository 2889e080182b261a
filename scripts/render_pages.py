"""Render the tables and the verdicts as HTML pages, which the report embeds."""

import argparse
import json
from pathlib import Path

from unlearning.console import run
from unlearning.files import replacing
from unlearning.pages import claims_page, main_page, plain_page
from unlearning.tables import ALL, read_table

SHOWN = (
    "ma", "ma_max", "el", "under_forgotten_calibrated", "over_forgotten_calibrated",
    "outliers_calibrated_rate", "attack_auc_worst", "utility_accuracy", "dialogue_f1",
    "perplexity", "epochs",
)  # fmt: skip
AVERAGED = "Averages over forget-set draws with 95 % Student intervals. Click a column to sort."


def main() -> None:
    """Read tables and claims, write one page each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables (CSV)")
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    for path in arguments.tables:
        table, name = read_table(path), path.stem
        if name == "attack_suite":
            table = table[(table["model"] == ALL) & table["metric"].isin(["auc", "difference"])]
        if name == "main":
            content = main_page("Main table", AVERAGED, table, SHOWN)
        else:
            note = "Click a column to sort."
            content = plain_page(name.replace("_", " ").capitalize(), note, table)
        write(content, arguments.output / f"{name}.html")
    claims = json.loads(arguments.claims.read_text(encoding="utf-8"))
    note = "Judged by rule; where an interval leaves it open, a claim stays undecided."
    write(claims_page("Claims of the abstract", note, claims), arguments.output / "claims.html")


def write(content: str, path: Path) -> None:
    """Write a page whole."""
    with replacing(path) as scratch:
        scratch.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run(main)
