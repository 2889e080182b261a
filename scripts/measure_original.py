"""Measure a model before unlearning, and its control, and set the forgetting thresholds."""

from pathlib import Path

import pandas as pd

from unlearning.data.sequences import read_sequences
from unlearning.evaluation import evaluate
from unlearning.evaluation.measurement import asks_for_el, measure, suite_of
from unlearning.jobs.console import add_paths, limit_threads, model_job, run
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.jobs.parts import Made, fingerprint, work_through
from unlearning.jobs.sources import SCRIPTS, sources
from unlearning.memorization.forgetting import about_band, thresholds
from unlearning.models.loading import PRECISIONS, device_for, load_model, load_tokenizer
from unlearning.settings import read_settings, settings_class
from unlearning.settings.measurement import MeasurementSettings

INPUTS = {
    "original": "folder of the model",
    "sequences": "table of sequences",
    "tasks": "folder of the suite's files",
}
OUTPUTS = {"scores": "per-sequence table to write", "utility": "per-item table to write"}
ENGINE = SCRIPTS / "unlearning" / "evaluation" / "tasks"


@settings_class
class Settings(MeasurementSettings):
    """How to measure."""

    band_quantiles: tuple[float, float]
    """The acceptable band's ends among unseen sequences."""


def main() -> None:
    """Measure original and control; take the thresholds from the original on unseen sequences."""
    parser = model_job(__doc__, **INPUTS)
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    add_paths(parser, **OUTPUTS, thresholds="thresholds to write")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    tokenizer = load_tokenizer(arguments.original)
    suite = suite_of(settings, arguments.tasks, tokenizer)

    def measured(role: str) -> Made:
        model = load_model(getattr(arguments, role), device, PRECISIONS[settings.precision])
        keys = {"model": arguments.name, "unlearner": role}
        with_el = asks_for_el(sequences, settings, unlearned=False)
        scores = measure(model, sequences, settings, with_el)
        items = evaluate(suite, model, tokenizer, batch_size=settings.batch_size)
        scores = scores.assign(**keys, half=sequences["half"].to_numpy())
        return Made({"scores": scores, "utility": items.assign(**keys)})

    roles = [role for role in ("original", "control") if getattr(arguments, role) is not None]
    inputs = [getattr(arguments, name) for name in dict.fromkeys([*INPUTS, *roles])]
    key = fingerprint(arguments.settings, [*inputs, *sources("measure_original.py"), ENGINE])
    done = work_through({role: role for role in roles}, measured, arguments.work, key)
    scores = done.read("scores", roles)
    unseen = scores[(scores["unlearner"] == "original") & (scores["half"] == "threshold")]
    limits = thresholds(unseen["ma"], unseen["el"], settings.band_quantiles)
    print(f"thresholds: {about_band(len(unseen), settings.band_quantiles)}", flush=True)
    write_csv(pd.DataFrame([{"model": arguments.name} | limits]), arguments.thresholds)
    write_parquet(scores, arguments.scores)
    write_parquet(done.read("utility", roles), arguments.utility)
    done.close()


if __name__ == "__main__":
    run(main)
