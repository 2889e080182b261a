"""Evaluate the unlearned models of a batch: memorization, membership scores, NLP suite."""

import argparse
from pathlib import Path

import pandas as pd

from unlearning.data.sequences import forget_set, read_sequences, roles
from unlearning.evaluation import evaluate
from unlearning.evaluation.measurement import asks_for_el, measure, suite_of
from unlearning.jobs import parts
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import replacing, write_parquet
from unlearning.jobs.locks import work_alone
from unlearning.jobs.progress import progress
from unlearning.jobs.sources import SCRIPTS, sources
from unlearning.models.loading import PRECISIONS, device_for, load_model, load_tokenizer
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings

ENGINE = SCRIPTS / "unlearning" / "evaluation" / "tasks"


@settings_class
class Settings(MeasurementSettings):
    """What to evaluate and how."""

    cells: tuple[Cell, ...]
    """The batch."""


def main() -> None:
    """Evaluate the cells one by one; finished ones wait in the side folder until all are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of models")
    parser.add_argument("--name", required=True, help="the model's name in the results")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--tasks", type=Path, required=True, help="folder of the suite's files")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--work", type=Path, required=True, help="side folder for finished cells")
    parser.add_argument("--scores", type=Path, required=True, help="per-sequence table to write")
    parser.add_argument("--utility", type=Path, required=True, help="per-item table to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: compute on the CPU")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    work_alone(arguments.work)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    tokenizer = load_tokenizer(arguments.tokenizer)
    suite = suite_of(settings, arguments.tasks, tokenizer)

    inputs = ("checkpoints", "tokenizer", "sequences", "forget_sets", "tasks")
    key = parts.fingerprint(
        arguments.settings,
        [*(getattr(arguments, name) for name in inputs), *sources("evaluate.py"), ENGINE],
    )
    done = parts.Parts(arguments.work, key)
    for cell in progress(settings.cells, desc=arguments.name, unit="cell"):
        if done.has(cell.name):
            continue
        keys, folder = cell.keys(arguments.name), arguments.checkpoints / cell.name
        model = load_model(folder, device, PRECISIONS[settings.precision])
        part = roles(sequences, forget_set(forget_sets, cell.forget_size, cell.seed))
        if settings.limit is not None:
            retained = part["split"] == "retained"
            part = part[~retained | (retained.cumsum() <= settings.limit)]
        judged = sequences[sequences["sequence_id"].isin(part["sequence_id"])]
        with_el = asks_for_el(part, settings, unlearned=True)
        scores = part.merge(measure(model, judged, settings, with_el), on="sequence_id")
        utility = evaluate(suite, model, tokenizer, batch_size=settings.batch_size)
        with replacing(done.path(cell.name)) as scratch:
            write_parquet(with_keys(scores, keys), scratch / "scores.parquet")
            write_parquet(with_keys(utility, keys), scratch / "utility.parquet")

    for table in ("scores", "utility"):
        read = [
            pd.read_parquet(done.path(cell.name) / f"{table}.parquet") for cell in settings.cells
        ]
        write_parquet(pd.concat(read, ignore_index=True), getattr(arguments, table))
    done.close()


def with_keys(table: pd.DataFrame, keys: dict[str, object]) -> pd.DataFrame:
    """The table with the keys of its cell as leading columns."""
    return pd.DataFrame(keys, index=table.index).join(table)


if __name__ == "__main__":
    run(main)
