"""Unlearn a batch of cells on one model; a cell is one (forget size, unlearner, seed).

A model too large for one GPU is spread over several: start this with `torchrun`.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from unlearning import unlearners
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs import parts
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import link, replacing, write_parquet
from unlearning.jobs.locks import work_alone
from unlearning.jobs.sources import sources
from unlearning.memorization.forgetting import Band
from unlearning.memorization.rows import tokens_of
from unlearning.models import sharding
from unlearning.models.loading import device_for, load_model, peak_memory_mb
from unlearning.settings import read_settings, settings_class
from unlearning.settings.unlearning import UnlearningSettings
from unlearning.unlearners.driver import StopRule, phase_lengths, unlearn
from unlearning.unlearners.request import Request


@settings_class
class Settings(UnlearningSettings):
    """Which cells to run, with which unlearners."""

    cells: tuple[Cell, ...]
    """The batch."""

    unlearners: dict[str, dict[str, Any]]
    """Label -> its block, as in the config."""

    ngram: int
    """n of EL_n."""


def unlearn_cell(
    cell: Cell, settings: Settings, arguments: argparse.Namespace
) -> tuple[Any, pd.DataFrame, dict[str, Any]]:
    """Run one cell: the unlearned model, its history and its record."""
    size, label, seed = cell
    keys = cell.keys(arguments.name)
    device = device_for(arguments.gpus)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = sharding.shard(load_model(arguments.model, device))
    sequences = read_sequences(arguments.sequences).set_index("sequence_id", drop=False)
    ids = forget_set(pd.read_parquet(arguments.forget_sets), size, seed)
    limits = pd.read_csv(arguments.thresholds).iloc[0]
    unseen = sequences[(sequences["split"] == "unseen") & (sequences["half"] == "threshold")]
    background = np.load(arguments.background)
    kept = np.random.default_rng([seed, size]).permutation(len(background))[: settings.retain]
    request = Request(
        forget=torch.from_numpy(tokens_of(sequences.loc[ids])).to(device),
        retain=torch.from_numpy(background[np.sort(kept)].astype(np.int64)).to(device),
        threshold=limits["ma_mean"],
        el_threshold=limits["el_mean"],
        band=Band(limits["calibrated_low"], limits["calibrated_high"]),
        unseen=torch.from_numpy(tokens_of(unseen)).to(device),
        seed=seed,
    )
    plan = unlearners.plan(label, settings.unlearners[label])
    learning_rate = plan.learning_rate or settings.learning_rate
    torch.manual_seed(seed)
    start = time.perf_counter()
    outcome = unlearn(
        model,
        request,
        plan.method,
        plan.settings,
        StopRule(plan.stop, settings.stop_metrics, settings.ngram),
        learning_rate=learning_rate,
        micro_batch=settings.micro_batch,
        max_epochs=settings.max_epochs,
        precision=settings.precision,
        checkpointing=settings.checkpointing,
        retain=plan.retain,
        label=f"{arguments.name} {size} {label} seed {seed}",
    )
    seconds = time.perf_counter() - start
    history = outcome.history
    history.insert(1, "sequence_id", [ids[position] for position in history.pop("position")])
    for column, value in reversed(keys.items()):
        history.insert(0, column, value)
    last = history.query("epoch == epoch.max()")["ma"]
    record = keys | {
        "status": outcome.status,
        "epochs": len(outcome.phases),
        "learning_rate": learning_rate,
        "phase_epochs": phase_lengths(outcome.phases),
        "arithmetic_applied": "arithmetic" in outcome.phases,
        "mean_ma": float(last.mean()),
        "max_ma": float(last.max()),
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "peak_gpu_memory_mb": (
            torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else 0.0
        ),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "dtype": str(model.dtype).removeprefix("torch."),
        "precision": settings.precision,
        "processes": sharding.processes(),
    }
    return model, history, record


def main() -> None:
    """Run the cells one by one; finished ones wait in the side folder until all are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the original model")
    parser.add_argument("--name", required=True, help="the model's name in the results")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--forget-sets", type=Path, required=True, help="table of forget sets")
    parser.add_argument("--background", type=Path, required=True, help="rows to retain, .npy")
    parser.add_argument("--thresholds", type=Path, required=True, help="the model's thresholds")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--work", type=Path, required=True, help="side folder for finished cells")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of models to write")
    parser.add_argument("--history", type=Path, required=True, help="table of all epochs to write")
    parser.add_argument("--runs", type=Path, required=True, help="table of runs to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: on the CPU; 1: on a GPU")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    first = sharding.rank() == 0
    if first:
        work_alone(arguments.work)
    settings = read_settings(arguments.settings, Settings)

    inputs = ("model", "sequences", "forget_sets", "background", "thresholds")
    methods = {block["method"] for block in settings.unlearners.values()}
    code = sources("unlearn.py", tuple(f"unlearning.unlearners.{name}" for name in methods))
    key = parts.fingerprint(
        arguments.settings, [*(getattr(arguments, name) for name in inputs), *code]
    )
    sharding.join(device_for(arguments.gpus))
    if not first:  # the first process clears away what is of other inputs
        sharding.wait()
    done = parts.Parts(arguments.work, key)
    if first:
        sharding.wait()
    for cell in settings.cells:
        finished = done.has(cell.name)
        sharding.wait()  # all have looked before the first writes
        if not finished:
            model, history, record = unlearn_cell(cell, settings, arguments)
            weights = sharding.whole_weights(model)
            if first:
                with replacing(done.path(cell.name)) as scratch:
                    model.save_pretrained(scratch, state_dict=weights)
                    write_parquet(history, scratch / "history.parquet")
                    write_parquet(pd.DataFrame([record]), scratch / "run.parquet")
        sharding.wait()
    sharding.leave()
    if not first:
        return

    folders = [done.path(cell.name) for cell in settings.cells]
    for table, path in (("history", arguments.history), ("run", arguments.runs)):
        read = [pd.read_parquet(folder / f"{table}.parquet") for folder in folders]
        write_parquet(pd.concat(read, ignore_index=True), path)
    with replacing(arguments.checkpoints) as scratch:
        # linked, not moved: a kill before the last line must leave the finished cells in place
        for folder in folders:
            shutil.copytree(folder, scratch / folder.name, copy_function=link)
    done.close()


if __name__ == "__main__":
    run(main)
