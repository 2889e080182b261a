"""Draw the forget sets: one per size and seed, nested within a seed."""

import argparse
from pathlib import Path

from unlearning.data.sequences import draw_forget_sets, read_sequences
from unlearning.jobs.console import run
from unlearning.jobs.files import write_parquet
from unlearning.settings import read_settings, settings_class


@settings_class
class Settings:
    """Sizes and seeds of the forget sets."""

    sizes: tuple[int, ...]
    seeds: tuple[int, ...]


def main() -> None:
    """Read the pool, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=Path, required=True, help="table of sequences")
    parser.add_argument("--settings", required=True, help="JSON: sizes, seeds")
    parser.add_argument("--output", type=Path, required=True, help="table of forget sets")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    sequences = read_sequences(arguments.sequences)
    pool = sequences.query("split == 'planted'")["sequence_id"].tolist()
    write_parquet(draw_forget_sets(pool, settings.sizes, settings.seeds), arguments.output)


if __name__ == "__main__":
    run(main)
