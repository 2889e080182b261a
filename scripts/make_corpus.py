"""Generate the demo's corpus: background text, planted and unseen sequences, mini tasks."""

import argparse
from pathlib import Path

from unlearning.data.corpus import generate
from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.files import write_parquet
from unlearning.settings import read_settings
from unlearning.settings.corpus import CorpusSettings


def main() -> None:
    """Generate everything from the settings, then write the folder and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, help="JSON file or inline JSON, see CorpusSettings"
    )
    parser.add_argument(
        "--sequences", type=Path, required=True, help="table of sequences to write (parquet)"
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder to write: tokenizer, text, tasks"
    )
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    corpus = generate(read_settings(arguments.settings, CorpusSettings))
    corpus.save(arguments.corpus)
    write_parquet(corpus.sequences, arguments.sequences)


if __name__ == "__main__":
    run(main)
