"""Collect the tables of all jobs into one tidy table per stage.

The jobs are named, not their files: the paths of a large run are more than a command may hold.

The original model and its control are scored once; here their rows are repeated for each forget
set, so that a comparison with an unlearned model is a join on the keys. Where there are several
replicates, each table has the key `replicate` before the others.
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


def collected(folder: Path, models: list[str], batches: list[str], attacked: bool) -> dict:
    """The tidy tables of one experiment by file stem, ordered by key.

    Args:
        folder: with sequences, forget sets and the jobs' tables: original/<model>,
            unlearned/<model>/<batch>.
        models: by name.
        batches: by name.
        attacked: whether models were attacked.

    Raises:
        InputError: a job's table is missing.
    """
    sequences = read_sequences(folder / "sequences.parquet")
    forget_sets = pd.read_parquet(folder / "forget_sets.parquet")
    originals = [folder / "original" / model for model in models]
    jobs = [folder / "unlearned" / model / job for model, job in product(models, batches)]

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
    scores = scores.sort_values([*KEYS, "sequence_id"], ignore_index=True)
    utility = with_originals("utility")
    history = together(jobs, "history", HISTORY).sort_values([*KEYS, "epoch", "sequence_id"])
    runs = together(jobs, "runs", RUNS).sort_values(KEYS)
    values = pd.DataFrame(columns=ATTACK_VALUES)
    if attacked:
        values = together([*originals, *jobs], "attack_values", ATTACK_VALUES).sort_values(
            KEYS, kind="stable"
        )
    thresholds = pd.concat([read_csv(folder / "thresholds.csv") for folder in originals])
    return {
        "sequences": sequences,
        "memorization": scores[MEMORIZATION],
        "membership": scores.loc[scores["split"] != "retained", MEMBERSHIP],
        "utility": utility[UTILITY].sort_values([*KEYS, "task", "item"]),
        "history": history,
        "runs": runs,
        "attack_values": values,
        "thresholds": thresholds.sort_values("model"),
    }


def main() -> None:
    """Collect each experiment, put the replicates under each other, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--models", nargs="+", required=True, help="names of the models")
    parser.add_argument("--batches", nargs="*", default=[], help="unlearned/<model>/<batch>")
    parser.add_argument("--attacked", action="store_true", help="models were attacked")
    parser.add_argument(
        "--replicates", nargs="+", type=int, help="a folder replicate-<number> of each; default:"
        " the run's folder holds the one experiment"
    )  # fmt: skip
    arguments = parser.parse_args()
    shared = arguments.models, arguments.batches, arguments.attacked
    if arguments.replicates:
        parts = [
            collected(arguments.results / f"replicate-{number}", *shared)
            for number in arguments.replicates
        ]
        tables = {
            name: pd.concat([part[name] for part in parts], keys=arguments.replicates)
            .reset_index(level=0, names="replicate")
            .astype({"replicate": int})
            for name in parts[0]
        }
    else:
        tables = collected(arguments.results, *shared)
        del tables["sequences"]  # stands there already
    for name, table in tables.items():
        if name == "thresholds":
            write_csv(table, arguments.results / "thresholds.csv")
        else:
            write_parquet(table, arguments.results / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
