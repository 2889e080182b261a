"""Draw what each shadow model is trained on, and what of that it is to forget."""

import argparse

from unlearning.data.sequences import read_sequences
from unlearning.data.shadows import draw_shadows
from unlearning.jobs.console import add_paths, run
from unlearning.jobs.files import write_parquet
from unlearning.settings import read_settings
from unlearning.settings.shadows import ShadowSettings


def main() -> None:
    """Read the sequences, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_paths(parser, sequences="table of sequences", output="design to write")
    parser.add_argument("--settings", required=True, help="JSON, see ShadowSettings")
    parser.add_argument("--seed", type=int, required=True, help="of the draw")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, ShadowSettings)
    sequences = read_sequences(arguments.sequences)
    write_parquet(draw_shadows(sequences, settings, arguments.seed), arguments.output)


if __name__ == "__main__":
    run(main)
