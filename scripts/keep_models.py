"""Keep the unlearned models of a batch: a model folder each, with tokenizer and model card.

Unlearning computes in float32. What is kept has the precision of the original, and where that is
another one, memorization is measured again on what is kept: rounding may bring some of it back.
"""

import argparse
import math
import shutil
from pathlib import Path
from typing import Literal

import pandas as pd

from unlearning.analysis.rows import KEYS
from unlearning.data.sequences import forget_set
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import link, replacing, write_json
from unlearning.models.cards import card
from unlearning.models.files import precision_of
from unlearning.settings import read_settings, settings_class


@settings_class
class Settings:
    """What the cards say beside the results."""

    unlearners: dict[str, dict[str, object]]
    """Label -> block of the config."""

    origin: str
    """Where the original model comes from."""

    precision: Literal["original", "float32"]
    """Of the weights that are kept."""


def main() -> None:
    """Link or round the weights, copy the tokenizer, write the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of models")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the original")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--runs", type=Path, required=True, help="runs of this batch")
    parser.add_argument("--per-run", type=Path, required=True, help="table per_run.csv")
    parser.add_argument("--exposed", type=Path, required=True, help="attack_exposed.csv")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--output", type=Path, required=True, help="folder of models to write")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    per_run, exposed = pd.read_csv(arguments.per_run), pd.read_csv(arguments.exposed)
    precision = "float32"
    if settings.precision == "original":
        precision = precision_of(arguments.tokenizer)
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
            made = Cell(*(cell[key] for key in Cell._fields))
            name = made.name
            folder = scratch / name
            shutil.copytree(arguments.checkpoints / name, folder, copy_function=link)
            for table in folder.glob("*.parquet"):
                table.unlink()
            for file in arguments.tokenizer.iterdir():
                # the index of a sharded original names files that are not here
                weights = file.name.endswith((".safetensors", ".safetensors.index.json"))
                if not weights and not (folder / file.name).exists():
                    shutil.copy(file, folder / file.name)
            if precision != "float32":
                text += rounded(folder, precision, made, arguments)
            (folder / "README.md").write_text(text, encoding="utf-8")


def rounded(folder: Path, precision: str, cell: Cell, arguments: argparse.Namespace) -> str:
    """Round the weights of a folder; what the card says of them then."""
    import torch  # slow to import, and float32 does without

    from unlearning.memorization.rows import rows_of
    from unlearning.memorization.scoring import ma_and_loss
    from unlearning.models.loading import load_model, recast

    recast(folder, precision)
    sequences = pd.read_parquet(arguments.sequences).set_index("sequence_id")
    ids = forget_set(pd.read_parquet(arguments.forget_sets), cell.forget_size, cell.seed)
    ma, _ = ma_and_loss(load_model(folder, torch.device("cpu")), rows_of(sequences.loc[ids]))
    measured = {"precision": precision, "mean_ma": float(ma.mean()), "max_ma": float(ma.max())}
    write_json({key: none_if_nan(value) for key, value in measured.items()}, folder / "kept.json")
    return (
        f"\nStored as {precision}, as the original is. Measured again after rounding: mean"
        f" memorization accuracy of the forget set {ma.mean():.3f}, highest {ma.max():.3f}.\n"
    )


def none_if_nan(value: object) -> object:
    """What JSON can hold; a diverged model has no number."""
    return None if isinstance(value, float) and math.isnan(value) else value


def cell_of(table: pd.DataFrame, cell: dict[str, object], labels: tuple[str, ...]) -> pd.Series:
    """Which rows belong to a cell, for these unlearners."""
    same = [table[key] == cell[key] for key in KEYS if key != "unlearner"]
    return same[0] & same[1] & same[2] & table["unlearner"].isin(labels)


if __name__ == "__main__":
    run(main)
