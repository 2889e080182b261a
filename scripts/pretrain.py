"""Train one of the demo's models from scratch on the corpus, with all planted sequences or some."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from unlearning.data.sequences import read_sequences
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import replacing
from unlearning.jobs.locks import work_alone
from unlearning.models.loading import device_for, load_tokenizer
from unlearning.models.pretraining import pretrain, training_rows
from unlearning.settings import read_settings
from unlearning.settings.pretraining import PretrainingSettings


def main() -> None:
    """Read corpus and sequences, train (or go on after a kill), write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, help="JSON file or inline JSON, see PretrainingSettings"
    )
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus")
    parser.add_argument(
        "--without-planted",
        action="store_true",
        help="train the control model: the same text without any planted sequence",
    )
    parser.add_argument("--design", type=Path, help="of the shadows: train the --shadow of it")
    parser.add_argument("--shadow", type=int, help="its number")
    parser.add_argument("--seed", type=int, required=True, help="initial weights and row order")
    parser.add_argument(
        "--work", type=Path, required=True, help="side folder for the checkpoint, empty at the end"
    )
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--gpus", type=int, default=0, help="0: compute on the CPU; 1: on a GPU")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=20.0, help="time between checkpoints"
    )
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    work_alone(arguments.work)
    settings = read_settings(arguments.settings, PretrainingSettings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    tokenizer = load_tokenizer(arguments.corpus / "tokenizer")
    background = np.load(arguments.corpus / "background.npy")
    planted = sequences[sequences["split"] == "planted"]
    if arguments.design is not None:
        design = pd.read_parquet(arguments.design)
        own = (design["shadow"] == arguments.shadow) & (design["role"] != "never")
        planted = planted[planted["sequence_id"].isin(design.loc[own, "sequence_id"])]
    rows = training_rows(background, None if arguments.without_planted else planted)
    model = pretrain(
        rows,
        settings,
        arguments.seed,
        tokenizer,
        arguments.work,
        device.type,
        arguments.checkpoint_seconds,
    )
    with replacing(arguments.output) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)


if __name__ == "__main__":
    run(main)
