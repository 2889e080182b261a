"""Collect the tables of all jobs into one tidy table per stage.

The jobs are named, not their files: the paths of a large run are more than a command may hold.

The original model and its control are scored once; here their rows are repeated for each forget
set, so that a comparison with an unlearned model is a join on the keys.
"""

import argparse
from itertools import product
from pathlib import Path

import pandas as pd

from unlearning.data.sequences import forget_set, read_sequences, roles
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import read_csv, write_csv, write_parquet

KEYS = ["model", "forget_size", "unlearner", "seed"]
MEMORIZATION = [*KEYS, "sequence_id", "split", "ma", "el", "loss", "verbatim_run"]
MEMBERSHIP = [
    *KEYS, "sequence_id", "split", "half",
    "ma", "el", "loss", "suffix_loss", "verbatim_run", "min_k", "min_k_plus_plus", "extracted",
    "entropy", "entropy_spread", "log_prob_min", "log_prob_q10", "log_prob_q25", "log_prob_median",
    "log_prob_q75", "log_prob_q90", "log_prob_max", "log_prob_spread", "head_loss",
]  # fmt: skip
ATTACK_VALUES = [*KEYS, "attack", "variant", "measure", "sequence_id", "split", "value"]
HISTORY = [*KEYS, "epoch", "sequence_id", "ma", "loss"]
RUNS = [
    *KEYS, "status", "epochs", "learning_rate", "phase_epochs", "arithmetic_applied", "mean_ma",
    "max_ma", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "device", "dtype", "precision",
    "processes", "threads", "instructions",
]  # fmt: skip
UTILITY = [*KEYS, "task", "kind", "item", "value", "weight"]


def per_forget_set(
    original: pd.DataFrame, forget_sets: pd.DataFrame, sequences: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Repeat rows for each forget set; with `sequences`, add each sequence's part in that set."""
    copies = []
    for size, seed in forget_sets[["forget_size", "seed"]].drop_duplicates().to_numpy():
        copy = original.assign(forget_size=size, seed=seed)
        if sequences is not None:
            part = roles(sequences, forget_set(forget_sets, size, seed))
            copy = copy.drop(columns="half").merge(part, on="sequence_id")
        copies.append(copy)
    return pd.concat(copies, ignore_index=True)


def main() -> None:
    """Read every job's tables, concatenate, order by key, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--original", type=Path, required=True, help="folder of the originals'")
    parser.add_argument("--unlearned", type=Path, required=True, help="folder of the jobs' tables")
    parser.add_argument("--models", nargs="+", required=True, help="a folder in each of the two")
    parser.add_argument("--batches", nargs="*", default=[], help="unlearned/<model>/<batch>")
    parser.add_argument("--attacked", action="store_true", help="models were attacked")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)

    originals = [arguments.original / model for model in arguments.models]
    jobs = [
        arguments.unlearned / model / job
        for model, job in product(arguments.models, arguments.batches)
    ]

    def together(folders: list[Path], table: str, columns: list[str]) -> pd.DataFrame:
        paths = [folder / f"{table}.parquet" for folder in folders]
        for path in paths:
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file; remove the other tables beside it, then its job runs"
                    " again"
                )
        if not paths:  # nothing was unlearned
            return pd.DataFrame(columns=columns)
        return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)

    def with_originals(table: str, *part: pd.DataFrame) -> pd.DataFrame:
        before = per_forget_set(together(originals, table, []), forget_sets, *part)
        return pd.concat([before, together(jobs, table, [])], ignore_index=True)

    scores = with_originals("scores", sequences)
    utility = with_originals("utility")
    history = together(jobs, "history", HISTORY).sort_values([*KEYS, "epoch", "sequence_id"])
    runs = together(jobs, "runs", RUNS).sort_values(KEYS)
    values = pd.DataFrame(columns=ATTACK_VALUES)
    if arguments.attacked:
        values = together([*originals, *jobs], "attack_values", ATTACK_VALUES).sort_values(
            KEYS, kind="stable"
        )
    thresholds = pd.concat([read_csv(folder / "thresholds.csv") for folder in originals])

    scores = scores.sort_values([*KEYS, "sequence_id"], ignore_index=True)
    write_parquet(scores[MEMORIZATION], arguments.output / "memorization.parquet")
    write_parquet(
        scores.loc[scores["split"] != "retained", MEMBERSHIP],
        arguments.output / "membership.parquet",
    )
    write_parquet(
        utility[UTILITY].sort_values([*KEYS, "task", "item"]),
        arguments.output / "utility.parquet",
    )
    write_parquet(history, arguments.output / "history.parquet")
    write_parquet(runs, arguments.output / "runs.parquet")
    write_parquet(values, arguments.output / "attack_values.parquet")
    write_csv(thresholds.sort_values("model"), arguments.output / "thresholds.csv")


if __name__ == "__main__":
    run(main)
