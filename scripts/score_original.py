"""Score a model before unlearning, beside its control, and set its forgetting thresholds."""

import argparse
from pathlib import Path

import pandas as pd

from unlearning.data.sequences import read_sequences
from unlearning.evaluation import evaluate
from unlearning.evaluation.measurement import asks_for_el, measure, suite_of
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.memorization.forgetting import thresholds
from unlearning.models.loading import PRECISIONS, device_for, load_model, load_tokenizer
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings


@settings_class
class Settings(MeasurementSettings):
    """How to score."""

    band_quantiles: tuple[float, float]
    """The acceptable band's ends among unseen sequences."""


def main() -> None:
    """Measure original and control; take the thresholds from the original on unseen sequences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=Path, required=True, help="folder of the model")
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    parser.add_argument("--name", required=True, help="the model's name in the results")
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--tasks", type=Path, required=True, help="folder of the suite's files")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--scores", type=Path, required=True, help="per-sequence table to write")
    parser.add_argument("--utility", type=Path, required=True, help="per-item table to write")
    parser.add_argument("--thresholds", type=Path, required=True, help="thresholds to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: compute on the CPU")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    tokenizer = load_tokenizer(arguments.original)
    suite = suite_of(settings, arguments.tasks, tokenizer)

    scores, utility = [], []
    for role in ("original", "control"):
        folder = getattr(arguments, role)
        if folder is not None:
            model = load_model(folder, device, PRECISIONS[settings.precision])
            keys = {"model": arguments.name, "unlearner": role}
            with_el = asks_for_el(sequences, settings, unlearned=False)
            measured = measure(model, sequences, settings, with_el)
            scores.append(measured.assign(**keys, half=sequences["half"].to_numpy()))
            items = evaluate(suite, model, tokenizer, batch_size=settings.batch_size)
            utility.append(items.assign(**keys))

    unseen = scores[0][scores[0]["half"] == "threshold"]
    limits = thresholds(unseen["ma"], unseen["el"], settings.band_quantiles)
    write_csv(pd.DataFrame([{"model": arguments.name} | limits]), arguments.thresholds)
    write_parquet(pd.concat(scores, ignore_index=True), arguments.scores)
    write_parquet(pd.concat(utility, ignore_index=True), arguments.utility)


if __name__ == "__main__":
    run(main)
