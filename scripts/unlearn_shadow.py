"""Make one shadow model forget its own forget set, by each method, and score all sequences.

The scores before unlearning stand beside those after it; the unlearned models are not kept.
"""

import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from unlearning import unlearners
from unlearning.data.sequences import read_sequences
from unlearning.evaluation.measurement import measure
from unlearning.jobs.console import add_paths, add_tuned, limit_threads, model_job, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.parts import Made, fingerprint, work_through
from unlearning.jobs.sources import sources
from unlearning.memorization.forgetting import thresholds
from unlearning.models.loading import PRECISIONS, arithmetic, device_for, load_model
from unlearning.models.lora import attach
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings
from unlearning.settings.unlearning import UnlearningSettings
from unlearning.unlearners.driver import carry_out
from unlearning.unlearners.grid import with_chosen
from unlearning.unlearners.request import request_of

INPUTS = {
    "model": "folder of the shadow model",
    "sequences": "table of sequences",
    "design": "design of the shadows",
    "background": "rows to retain, .npy",
}
OUTPUTS = {"scores": "per-sequence table to write", "runs": "table of runs to write"}
ORIGINAL = "original"
SCORES = ["sequence_id", "ma", "loss", "min_k"]


@settings_class
class Settings:
    """What to unlearn with, and how to measure."""

    unlearners: dict[str, dict[str, Any]]
    """Label -> its block, as in the config."""

    unlearning: UnlearningSettings
    """What all of them share, the model's own learning rate included."""

    measurement: MeasurementSettings
    """How to measure."""

    band_quantiles: tuple[float, float]
    """The acceptable band's ends among unseen sequences."""


def main() -> None:
    """Score the shadow, then unlearn by the methods one by one, each from the shadow as trained."""
    parser = model_job(__doc__, **INPUTS)
    parser.add_argument("--shadow", type=int, required=True, help="its number in the design")
    add_paths(parser, **OUTPUTS)
    add_tuned(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    settings = replace(settings, unlearners=with_chosen(settings.unlearners, arguments.tuned))
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    design = pd.read_parquet(arguments.design).query("shadow == @arguments.shadow")
    ids = design.query("split == 'planted' and role == 'forget'")["sequence_id"].tolist()
    background = np.load(arguments.background)
    keys = {"model": arguments.name, "shadow": arguments.shadow}

    def measured(model, with_el: np.ndarray) -> pd.DataFrame:
        model = model.to(PRECISIONS[settings.measurement.precision])
        return measure(model, sequences, settings.measurement, with_el)

    @cache
    def limits() -> dict[str, float]:
        # the costly EL only where a stop rule asks for it; without, no one reads its threshold
        fixed = (sequences["half"] == "threshold").to_numpy()
        with_el = fixed & ("el" in settings.unlearning.stop_metrics)
        unseen = measured(load_model(arguments.model, device), with_el)[fixed]
        return thresholds(unseen["ma"], unseen["el"].fillna(0.0), settings.band_quantiles)

    def made(label: str) -> Made:
        model = load_model(arguments.model, device)
        record = keys | {"unlearner": label, "status": "trained", "epochs": 0, "seconds": 0.0}
        if label != ORIGINAL:
            shared, plan = settings.unlearning, unlearners.plan(label, settings.unlearners[label])
            if shared.lora:
                attach(model, shared.lora, arguments.shadow)
            request = request_of(
                sequences, ids, background, shared.retain, limits(), arguments.shadow, device
            )
            start = time.perf_counter()
            name = f"{arguments.name} shadow {arguments.shadow} {label}"
            outcome = carry_out(plan, model, request, shared, settings.measurement.ngram, name)
            record |= {"status": outcome.status, "epochs": len(outcome.phases)}
            record["seconds"] = time.perf_counter() - start
        scores = measured(model, np.zeros(len(sequences), dtype=bool))[SCORES]
        scores = scores.assign(**keys, unlearner=label)
        return Made({"scores": scores, "run": pd.DataFrame([record | arithmetic()])})

    labels = [ORIGINAL, *settings.unlearners]
    methods = unlearners.modules(block["method"] for block in settings.unlearners.values())
    inputs = [*(getattr(arguments, name) for name in INPUTS), *arguments.tuned]
    inputs += sources("unlearn_shadow.py", methods)
    key = fingerprint([arguments.settings, arguments.shadow], inputs)
    parts = {label: label for label in labels}
    name = f"{arguments.name} shadow {arguments.shadow}"
    done = work_through(parts, made, arguments.work, key, label=name)
    write_parquet(done.read("scores", labels), arguments.scores)
    write_parquet(done.read("run", labels), arguments.runs)
    done.close()


if __name__ == "__main__":
    run(main)
