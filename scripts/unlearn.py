"""Unlearn a batch of cells on one model; a cell is one (forget size, unlearner, seed).

A model too large for one GPU is spread over several: start this with `torchrun`.
"""

import argparse
import shutil
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from unlearning import unlearners
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_paths, add_tuned, limit_threads, model_job, run
from unlearning.jobs.files import link, read_csv, replacing, write_parquet
from unlearning.jobs.parts import Made, fingerprint
from unlearning.jobs.sources import sources
from unlearning.models import sharding
from unlearning.models.loading import arithmetic, device_for, peak_memory_mb
from unlearning.models.lora import attach, save_merged
from unlearning.settings import read_settings, settings_class
from unlearning.settings.unlearning import UnlearningSettings
from unlearning.unlearners.driver import carry_out, phase_lengths
from unlearning.unlearners.grid import with_chosen
from unlearning.unlearners.request import request_of

INPUTS = {
    "model": "folder of the original model",
    "sequences": "table of sequences",
    "forget_sets": "table of forget sets",
    "background": "rows to retain, .npy",
    "thresholds": "the model's thresholds",
}
OUTPUTS = {
    "checkpoints": "folder of models to write",
    "history": "table of all epochs to write",
    "runs": "table of runs to write",
}


@settings_class
class Settings(UnlearningSettings):
    """Which cells to run, with which unlearners."""

    cells: tuple[Cell, ...]
    """The batch."""

    unlearners: dict[str, dict[str, Any]]
    """Label -> its block, as in the config."""

    ngram: int
    """n of EL_n."""


def unlearned(settings: Settings, arguments: argparse.Namespace, cell: Cell) -> Made:
    """Run one cell: its history, its record, the unlearned model."""
    size, label, seed = cell
    keys = cell.keys(arguments.name)
    device = device_for(arguments.gpus)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = sharding.load(arguments.model, device)
    adapter = attach(model, settings.lora, seed) if settings.lora else None
    ids = forget_set(pd.read_parquet(arguments.forget_sets), size, seed)
    request = request_of(
        read_sequences(arguments.sequences),
        ids,
        np.load(arguments.background),
        settings.retain,
        read_csv(arguments.thresholds).iloc[0],
        seed,
        device,
    )
    plan = unlearners.plan(label, settings.unlearners[label])
    start = time.perf_counter()
    outcome = carry_out(
        plan,
        model,
        request,
        settings,
        settings.ngram,
        f"{arguments.name} {size} {label} seed {seed}",
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
        "learning_rate": plan.rate(settings.learning_rate),
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
    record |= arithmetic()
    if adapter is not None:
        save = partial(save_merged, adapter)
    else:
        save = partial(model.save_pretrained, state_dict=sharding.whole_weights(model))
    return Made({"history": history, "run": pd.DataFrame([record])}, save)


def main() -> None:
    """Unlearn the cells one by one."""
    parser = model_job(__doc__, **INPUTS)
    add_paths(parser, **OUTPUTS)
    add_tuned(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    settings = replace(settings, unlearners=with_chosen(settings.unlearners, arguments.tuned))

    inputs = [*(getattr(arguments, name) for name in INPUTS), *arguments.tuned]
    methods = unlearners.modules(block["method"] for block in settings.unlearners.values())
    key = fingerprint(arguments.settings, [*inputs, *sources("unlearn.py", methods)])
    cells = {cell.name: cell for cell in settings.cells}
    done = sharding.work_together(
        cells,
        partial(unlearned, settings, arguments),
        arguments.work,
        key,
        label=arguments.name,
        device=device_for(arguments.gpus),
    )
    if done is None:
        return
    write_parquet(done.read("history", cells), arguments.history)
    write_parquet(done.read("run", cells), arguments.runs)
    with replacing(arguments.checkpoints) as scratch:
        # linked, not moved: a kill before the last line must leave the finished cells in place
        for name in cells:
            shutil.copytree(done.path(name), scratch / name, copy_function=link)
    done.close()


if __name__ == "__main__":
    run(main)
