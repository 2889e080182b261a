"""Attack the unlearned models of a batch: one value a sequence for each attack on the model."""

from pathlib import Path

import pandas as pd

from unlearning import attacks
from unlearning.attacks.target import Knowledge, TargetSettings, attack_model, keyed, target_of
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_paths, limit_threads, model_job, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.parts import Made, fingerprint, work_through
from unlearning.jobs.sources import sources
from unlearning.models.loading import device_for, load_model
from unlearning.settings import read_settings, settings_class

INPUTS = {
    "checkpoints": "folder of models",
    "tokenizer": "folder of the tokenizer",
    "sequences": "table of sequences",
    "forget_sets": "table of forget sets",
    "background": "rows of other text, .npy",
}


@settings_class
class Settings(TargetSettings):
    """Which models to attack and how."""

    cells: tuple[Cell, ...]
    """The batch."""


def main() -> None:
    """Attack the cells one by one."""
    parser = model_job(__doc__, **INPUTS)
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    add_paths(parser, output="per-sequence table to write")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    knowledge = Knowledge(sequences, device, arguments.background, arguments.control)

    def attacked(cell: Cell) -> Made:
        forget = forget_set(forget_sets, cell.forget_size, cell.seed)
        model = load_model(arguments.checkpoints / cell.name, device)
        target = target_of(model, sequences, forget, settings, arguments.tokenizer, knowledge)
        rows = keyed(attack_model(target), target.ids, forget, cell.keys(arguments.name))
        return Made({"values": rows})

    inputs = [getattr(arguments, name) for name in INPUTS]
    inputs += [arguments.control] if arguments.control else []
    code = sources("attack_unlearned.py", attacks.modules(settings.attacks))
    key = fingerprint(arguments.settings, [*inputs, *code])
    cells = {cell.name: cell for cell in settings.cells}
    done = work_through(cells, attacked, arguments.work, key, label=arguments.name)
    write_parquet(done.read("values", cells), arguments.output)
    done.close()


if __name__ == "__main__":
    run(main)
