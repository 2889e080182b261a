"""Attack the unlearned models of a batch: the attacks of the suite that need the model itself."""

import argparse
from pathlib import Path

import pandas as pd

from unlearning.attacks.target import Knowledge, ProbeSettings, keyed, probe, target_of
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs import parts
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.locks import work_alone
from unlearning.jobs.progress import progress
from unlearning.jobs.sources import sources
from unlearning.models.loading import device_for, load_model
from unlearning.settings import read_settings, settings_class


@settings_class
class Settings(ProbeSettings):
    """Which models to attack and how."""

    cells: tuple[Cell, ...]
    """The batch."""


def main() -> None:
    """Attack the cells one by one; finished ones wait in the side folder until all are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of models")
    parser.add_argument("--name", required=True, help="the model's name in the results")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--background", type=Path, help="rows of other text, .npy")
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--work", type=Path, required=True, help="side folder for finished cells")
    parser.add_argument("--output", type=Path, required=True, help="per-sequence table to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: compute on the CPU")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    work_alone(arguments.work)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    knowledge = Knowledge(sequences, device, arguments.background, arguments.control)

    inputs = ("checkpoints", "tokenizer", "sequences", "forget_sets", "background", "control")
    given = [path for name in inputs if (path := getattr(arguments, name)) is not None]
    modules = tuple(f"unlearning.attacks.{name}" for name in settings.attacks)
    key = parts.fingerprint(arguments.settings, [*given, *sources("probe.py", modules)])
    done = parts.Parts(arguments.work, key)
    for cell in progress(settings.cells, desc=arguments.name, unit="cell"):
        if done.has(cell.name):
            continue
        forget = forget_set(forget_sets, cell.forget_size, cell.seed)
        model = load_model(arguments.checkpoints / cell.name, device)
        target = target_of(model, sequences, forget, settings, arguments.tokenizer, knowledge)
        rows = keyed(probe(target), target.ids, forget, cell.keys(arguments.name))
        write_parquet(rows, done.path(cell.name))
    table = [pd.read_parquet(done.path(cell.name)) for cell in settings.cells]
    write_parquet(pd.concat(table, ignore_index=True), arguments.output)
    done.close()


if __name__ == "__main__":
    run(main)
