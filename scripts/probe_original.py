"""Attack a model before unlearning, and its control: what the suite finds there is compared with.

An attack whose outcome does not depend on the forget set runs once for all of them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from unlearning.attacks.target import Knowledge, ProbeSettings, keyed, probe, target_of
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs import parts
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.locks import work_alone
from unlearning.jobs.sources import sources
from unlearning.models.loading import device_for, load_model
from unlearning.settings import read_settings


def rows_of(
    folder: Path, role: str, arguments: argparse.Namespace, settings: ProbeSettings
) -> Iterator[pd.DataFrame]:
    """The rows of one model, set by set."""
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    planted = sequences.loc[sequences["split"] == "planted", "sequence_id"].tolist()
    model = load_model(folder, device_for(arguments.gpus))
    knowledge = Knowledge(sequences, model.device, arguments.background, arguments.control)
    target = target_of(model, sequences, planted, settings, arguments.tokenizer, knowledge)
    once = probe(target, per_forget_set=False)
    for size, seed in forget_sets[["forget_size", "seed"]].drop_duplicates().to_numpy().tolist():
        forget = forget_set(forget_sets, size, seed)
        target = target_of(model, sequences, forget, settings, arguments.tokenizer, knowledge)
        keys = {"model": arguments.name, "forget_size": size, "unlearner": role, "seed": seed}
        anew = probe(target, per_forget_set=True)
        for rows in (once, anew):
            if len(rows):
                yield keyed(rows, target.ids, forget, keys)


def main() -> None:
    """Attack the original and the control; a finished one waits in the side folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=Path, required=True, help="folder of the model")
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    parser.add_argument("--name", required=True, help="the model's name in the results")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--background", type=Path, help="rows of other text, .npy")
    parser.add_argument("--settings", required=True, help="JSON, see the class ProbeSettings")
    parser.add_argument("--work", type=Path, required=True, help="side folder for finished models")
    parser.add_argument("--output", type=Path, required=True, help="per-sequence table to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: compute on the CPU")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    work_alone(arguments.work)
    settings = read_settings(arguments.settings, ProbeSettings)

    folders = {"original": arguments.original, "control": arguments.control}
    folders = {role: folder for role, folder in folders.items() if folder is not None}
    modules = tuple(f"unlearning.attacks.{name}" for name in settings.attacks)
    inputs = (*folders.values(), arguments.tokenizer, arguments.sequences, arguments.forget_sets)
    inputs += (arguments.background,) if arguments.background else ()
    key = parts.fingerprint(arguments.settings, [*inputs, *sources("probe_original.py", modules)])
    done = parts.Parts(arguments.work, key)
    for role, folder in folders.items():
        if not done.has(role):
            rows = list(rows_of(folder, role, arguments, settings))
            write_parquet(pd.concat(rows, ignore_index=True), done.path(role))
    table = pd.concat([pd.read_parquet(done.path(role)) for role in folders], ignore_index=True)
    write_parquet(table, arguments.output)
    done.close()


if __name__ == "__main__":
    run(main)
