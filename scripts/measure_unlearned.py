"""Measure the unlearned models of a batch: memorization, membership scores, NLP suite."""

import pandas as pd

from unlearning.data.sequences import forget_set, read_sequences, roles
from unlearning.evaluation import evaluate
from unlearning.evaluation.measurement import asks_for_el, measure, suite_of
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_paths, limit_threads, model_job, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.parts import Made, fingerprint, work_through
from unlearning.jobs.sources import SCRIPTS, sources
from unlearning.models.loading import PRECISIONS, device_for, load_model, load_tokenizer
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings

INPUTS = {
    "checkpoints": "folder of models",
    "tokenizer": "folder of the tokenizer",
    "sequences": "table of sequences",
    "forget_sets": "table of forget sets",
    "tasks": "folder of the suite's files",
}
OUTPUTS = {"scores": "per-sequence table to write", "utility": "per-item table to write"}
ENGINE = SCRIPTS / "unlearning" / "evaluation" / "tasks"


@settings_class
class Settings(MeasurementSettings):
    """What to measure and how."""

    cells: tuple[Cell, ...]
    """The batch."""


def main() -> None:
    """Measure the cells one by one."""
    parser = model_job(__doc__, **INPUTS)
    add_paths(parser, **OUTPUTS)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    tokenizer = load_tokenizer(arguments.tokenizer)
    suite = suite_of(settings, arguments.tasks, tokenizer)

    def measured(cell: Cell) -> Made:
        folder = arguments.checkpoints / cell.name
        model = load_model(folder, device, PRECISIONS[settings.precision])
        part = roles(sequences, forget_set(forget_sets, cell.forget_size, cell.seed))
        if settings.limit is not None:
            retained = part["split"] == "retained"
            part = part[~retained | (retained.cumsum() <= settings.limit)]
        judged = sequences[sequences["sequence_id"].isin(part["sequence_id"])]
        with_el = asks_for_el(part, settings, unlearned=True)
        scores = part.merge(measure(model, judged, settings, with_el), on="sequence_id")
        utility = evaluate(suite, model, tokenizer, batch_size=settings.batch_size)
        keys = cell.keys(arguments.name)
        return Made({"scores": with_keys(scores, keys), "utility": with_keys(utility, keys)})

    inputs = [getattr(arguments, name) for name in INPUTS]
    key = fingerprint(arguments.settings, [*inputs, *sources("measure_unlearned.py"), ENGINE])
    cells = {cell.name: cell for cell in settings.cells}
    done = work_through(cells, measured, arguments.work, key, label=arguments.name)
    for table in OUTPUTS:
        write_parquet(done.read(table, cells), getattr(arguments, table))
    done.close()


def with_keys(table: pd.DataFrame, keys: dict[str, object]) -> pd.DataFrame:
    """The table with the keys of its cell as leading columns."""
    return pd.DataFrame(keys, index=table.index).join(table)


if __name__ == "__main__":
    run(main)
