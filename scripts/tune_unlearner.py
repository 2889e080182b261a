"""Try the points of an unlearner's grid on one model, on forget sets that are never reported.

A part is one run: a point on one forget set. A model too large for one GPU is spread over several:
start this with `torchrun`.
"""

import argparse
import json
import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from unlearning import unlearners
from unlearning.analysis.tuning import measures
from unlearning.data.sequences import draw_forget_sets, forget_set, read_sequences
from unlearning.evaluation.measurement import measure
from unlearning.jobs.console import add_paths, limit_threads, model_job, run
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import read_csv, write_parquet
from unlearning.jobs.parts import Made, fingerprint
from unlearning.jobs.sources import sources
from unlearning.memorization.scoring import ma_and_loss
from unlearning.models import sharding
from unlearning.models.loading import device_for
from unlearning.models.lora import attach
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings
from unlearning.settings.unlearning import UnlearningSettings
from unlearning.unlearners.driver import carry_out
from unlearning.unlearners.grid import at_point, points_of
from unlearning.unlearners.request import request_of

INPUTS = {
    "model": "folder of the original model",
    "sequences": "table of sequences",
    "background": "rows of ordinary text, .npy",
    "thresholds": "the model's thresholds",
}
JUDGED_ROWS = 128  # of ordinary text, on which its loss is measured and no method trains


@settings_class
class Settings:
    """One unlearner, its grid, and the forget sets to try it on."""

    label: str
    """Of the unlearner."""

    block: dict[str, Any]
    """Its block, as in the config."""

    grid: dict[str, tuple[Any, ...]]
    """Its grid, as in the config."""

    sizes: tuple[int, ...]
    """Sizes of the forget sets."""

    seeds: tuple[int, ...]
    """Their draws."""

    unlearning: UnlearningSettings
    """What all unlearners share on this model."""

    measurement: MeasurementSettings
    """How the scores of sequences are measured."""


class Trial(NamedTuple):
    """A point of the grid on one forget set."""

    point: int
    size: int
    seed: int


def tried(settings: Settings, arguments: argparse.Namespace, trial: Trial) -> Made:
    """Run one trial and measure what the criterion asks for."""
    _, size, seed = trial
    shared, device = settings.unlearning, device_for(arguments.gpus)
    point = points_of(settings.grid)[trial.point]
    sequences = read_sequences(arguments.sequences)
    pool = sequences.loc[sequences["split"] == "planted", "sequence_id"].tolist()
    ids = forget_set(draw_forget_sets(pool, [size], [seed], "tuning.sizes"), size, seed)
    limits = read_csv(arguments.thresholds).iloc[0]
    table = parts_of(sequences, ids, seed)
    background, generator = np.load(arguments.background), np.random.default_rng([seed, size])
    order = generator.permutation(len(background))
    judged, kept = np.split(order, [min(JUDGED_ROWS, len(order) // 2)])
    model = sharding.load(arguments.model, device)
    if shared.lora:
        attach(model, shared.lora, seed)
    request = request_of(table, ids, background[np.sort(kept)], shared.retain, limits, seed, device)
    text = torch.from_numpy(background[np.sort(judged)].astype(np.int64)).to(device)
    keys = {"model": arguments.name, "forget_size": size, "seed": seed}

    def measured(label: str) -> tuple[pd.DataFrame, float]:
        scores = measure(model, table, settings.measurement, np.zeros(len(table), dtype=bool))
        scores = table[["sequence_id", "split", "half"]].merge(scores, on="sequence_id")
        return scores.assign(**keys, unlearner=label), loss_of(model, text)

    membership, before = measured("original")
    plan = unlearners.plan(settings.label, at_point(settings.label, settings.block, point))
    start = time.perf_counter()
    outcome = carry_out(
        plan,
        model,
        request,
        shared,
        settings.measurement.ngram,
        f"{arguments.name} {size} {settings.label} {json.dumps(point)}",
    )
    seconds = time.perf_counter() - start
    scores, after = measured(settings.label)
    found = measures(pd.concat([membership, scores], ignore_index=True), before, after)
    if outcome.status == "diverged":
        found = dict.fromkeys(found, float("nan"))
    record = {
        "model": arguments.name,
        "forget_size": size,
        "unlearner": settings.label,
        "seed": seed,
        "point": trial.point,
        "settings": json.dumps(point),
        "learning_rate": plan.rate(shared.learning_rate),
        "status": outcome.status,
        "epochs": len(outcome.phases),
        **found,
        "calibration": int((table["half"] == "attack").sum()),
        "text_rows": len(text),
        "seconds": seconds,
    }
    return Made({"run": pd.DataFrame([record])})


def parts_of(sequences: pd.DataFrame, ids: list[str], seed: int) -> pd.DataFrame:
    """The forget set and the calibration sequences, and the parts that they play.

    The calibration sequences are those that set the thresholds; the reported attack is judged on
    others. Here they are halved again: the method may look at those called "threshold", the
    criterion compares with those called "attack".

    Returns:
        Rows of `sequences` with split "forget" or "unseen" and half "", "threshold" or "attack".

    Raises:
        InputError: there are fewer than four calibration sequences.
    """
    forget = sequences[sequences["sequence_id"].isin(ids)].assign(split="forget")
    calibration = sequences[(sequences["split"] == "unseen") & (sequences["half"] == "threshold")]
    if len(calibration) < 4:
        raise InputError(
            f"tuning: {len(calibration)} unseen sequences set the thresholds, and tuning halves"
            " them; give more, or leave out the tuning"
        )
    drawn = np.random.default_rng(seed).permutation(len(calibration))
    half = np.where(drawn < len(calibration) // 2, "threshold", "attack")
    return pd.concat([forget, calibration.assign(half=half)], ignore_index=True)


def loss_of(model: PreTrainedModel, rows: torch.Tensor) -> float:
    """Mean token loss of rows (N, T), nats; NaN where there are none."""
    return float(ma_and_loss(model, rows)[1].mean()) if len(rows) else float("nan")


def main() -> None:
    """Try all points, one by one."""
    parser = model_job(__doc__, **INPUTS)
    add_paths(parser, output="table of runs to write")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)

    inputs = [getattr(arguments, name) for name in INPUTS]
    methods = unlearners.modules([settings.block["method"]])
    key = fingerprint(arguments.settings, [*inputs, *sources("tune_unlearner.py", methods)])
    trials = [
        Trial(point, size, seed)
        for point in range(len(points_of(settings.grid)))
        for size in settings.sizes
        for seed in settings.seeds
    ]
    parts = {"-".join(map(str, trial)): trial for trial in trials}
    done = sharding.work_together(
        parts,
        partial(tried, settings, arguments),
        arguments.work,
        key,
        label=f"{arguments.name} {settings.label}",
        device=device_for(arguments.gpus),
    )
    if done is None:
        return
    write_parquet(done.read("run", parts), arguments.output)
    done.close()


if __name__ == "__main__":
    run(main)
