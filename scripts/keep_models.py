"""Keep the unlearned models of a batch: a model folder each, with tokenizer and model card."""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from unlearning.analysis.replicates import REPLICATE
from unlearning.analysis.rows import KEYS
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import run
from unlearning.jobs.files import link, replacing
from unlearning.models.cards import card
from unlearning.settings import read_settings, settings_class


@settings_class
class Settings:
    """What the cards say beside the results."""

    unlearners: dict[str, dict[str, object]]
    """Label -> block of the config."""

    origin: str
    """Where the original model comes from."""


def main() -> None:
    """Link weights and tokenizer, write the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of models")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the original")
    parser.add_argument("--runs", type=Path, required=True, help="runs of this batch")
    parser.add_argument("--per-run", type=Path, required=True, help="table per_run.csv")
    parser.add_argument("--exposed", type=Path, required=True, help="attack_exposed.csv")
    parser.add_argument("--replicate", type=int, help="that they are of, where there are several")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--output", type=Path, required=True, help="folder of models to write")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    per_run, exposed = pd.read_csv(arguments.per_run), pd.read_csv(arguments.exposed)
    if arguments.replicate is not None:
        per_run, exposed = (t[t[REPLICATE] == arguments.replicate] for t in (per_run, exposed))
    with replacing(arguments.output) as scratch:
        for _, row in pd.read_parquet(arguments.runs).iterrows():
            cell = row[KEYS].to_dict()
            mine = per_run[cell_of(per_run, cell, ("original", cell["unlearner"]))]
            text = card(
                cell,
                row,
                settings.unlearners[cell["unlearner"]],
                settings.origin,
                mine,
                exposed[cell_of(exposed, cell, (cell["unlearner"],))],
            )
            name = Cell(*(cell[key] for key in Cell._fields)).name
            folder = scratch / name
            shutil.copytree(arguments.checkpoints / name, folder, copy_function=link)
            for table in folder.glob("*.parquet"):
                table.unlink()
            for file in arguments.tokenizer.iterdir():
                if file.suffix != ".safetensors" and not (folder / file.name).exists():
                    shutil.copy(file, folder / file.name)
            (folder / "README.md").write_text(text, encoding="utf-8")


def cell_of(table: pd.DataFrame, cell: dict[str, object], labels: tuple[str, ...]) -> pd.Series:
    """Which rows belong to a cell, for these unlearners."""
    same = [table[key] == cell[key] for key in KEYS if key != "unlearner"]
    return same[0] & same[1] & same[2] & table["unlearner"].isin(labels)


if __name__ == "__main__":
    run(main)
