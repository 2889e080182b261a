"""Give your own sequences their parts: what is to be forgotten, what the models never saw."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from unlearning.data.corpus.tokens import APART
from unlearning.data.own.parts import prepare
from unlearning.jobs.console import PREPARED, add_paths, add_threads, limit_threads, run
from unlearning.jobs.files import write_json, write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.own import OwnSettings

# counts of `prepare` -> what to say where they are not 0
REMARKS = {
    "blank": "{} blank rows skipped",
    "dropped": "{} rows too short and dropped",
    "windowed": "{} rows cut into windows",
    "repeated": "{} windows that others equal left out",
    "special": "{} rows name a special token, read as the characters it is written with",
    "begun": "{} begun by the tokenizer's beginning-of-text token, which is not scored",
    "cut": "{} cut to the lengths of what is to be forgotten",
    "short": "{} much shorter than what is to be forgotten: give longer ones",
    "akin": f"{{}} share {APART} tokens in a row with a sequence that the models know; thresholds"
    " are too lax where these are many: choose others",
}


@settings_class
class Settings(OwnSettings):
    """The files, the forget sets and the tasks."""

    sizes: tuple[int, ...]
    """Forget-set sizes."""

    seeds: tuple[int, ...]
    """Draws of forget sets."""

    kinds: dict[str, str]
    """Name of each task -> its kind."""

    limit: int | None = None
    """For trials: at most so many retained sequences, and unseen ones of each half."""


def main() -> None:
    """Read the files and the models' tokenizers, then write the folder and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    add_paths(parser, **PREPARED, files="what was read, JSON to write")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    corpus, forget_sets, given = prepare(
        settings,
        {name_of(folder): folder for folder in arguments.models},
        settings.sizes,
        settings.seeds,
        settings.kinds,
        settings.limit,
    )
    for key, file in given.items():
        print("; ".join([f"own.{key}: {file['used']} used of {file['path']}", *remarks(file)]))
    corpus.save(arguments.corpus)
    write_json(given, arguments.files)
    write_parquet(forget_sets, arguments.forget_sets)
    write_parquet(corpus.sequences, arguments.sequences)


def remarks(file: dict[str, Any]) -> list[str]:
    """What a user should know of how a file was read, in words."""
    said = [text.format(file[key]) for key, text in REMARKS.items() if file.get(key)]
    if "lengths" in file:
        said.insert(0, "{} to {} tokens, median {}".format(*np.take(file["lengths"], (0, 2, 1))))
    return said


def name_of(folder: Path) -> str:
    """What messages call a model folder: models/mine is "mine", controls/mine its control."""
    return f"control of {folder.name}" if folder.parent.name == "controls" else folder.name


if __name__ == "__main__":
    run(main)
