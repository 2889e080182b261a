"""Give the extraction challenge's sequences their parts; convert the published NLP suite."""

import argparse
from dataclasses import replace

import pandas as pd

from unlearning.data.challenge.parts import prepare
from unlearning.jobs.console import PREPARED, add_paths, add_threads, limit_threads, run
from unlearning.jobs.files import write_parquet
from unlearning.settings import read_settings, settings_class
from unlearning.settings.challenge import ChallengeSettings


@settings_class
class Settings(ChallengeSettings):
    """The parts, the forget sets and the tasks."""

    sizes: tuple[int, ...]
    """Forget-set sizes."""

    seeds: tuple[int, ...]
    """Draws of forget sets."""

    tasks: tuple[str, ...]
    """Published tasks to convert."""

    limit: int | None = None
    """For trials: at most so many retained sequences, and unseen ones of each half."""


def main() -> None:
    """Read mirror or network, then write the folder and the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    add_paths(parser, published_sets="table: seed, position, doc_id", **PREPARED)
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    if settings.limit is not None:
        settings = replace(
            settings,
            retained=min(settings.retained, settings.limit),
            unseen=min(settings.unseen, 2 * settings.limit),
        )
    corpus, forget_sets = prepare(
        settings,
        pd.read_csv(arguments.published_sets),
        settings.sizes,
        settings.seeds,
        settings.tasks,
    )
    corpus.save(arguments.corpus)
    write_parquet(forget_sets, arguments.forget_sets)
    write_parquet(corpus.sequences, arguments.sequences)


if __name__ == "__main__":
    run(main)
