"""What every entry point shares: threads, one-line errors.

Imports neither torch nor transformers, so `--help` and a wrong setting answer at once.
"""

import argparse
import os
import sys
from collections.abc import Callable

from unlearning.jobs.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Call an entry point; print an `InputError` as one line on stderr and leave with code 2."""
    try:
        main()
    except InputError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option `--threads` (default 1: one thread a job, as many jobs as cores)."""
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads to compute with"
    )


def limit_threads(threads: int) -> None:
    """Hold the numerical libraries to `threads` threads; call it before the first torch work.

    The variables reach libraries that are not loaded yet, the call reaches torch if it is.

    Raises:
        InputError: `threads` is below 1.
    """
    if threads < 1:
        raise InputError(f"--threads: {threads} is below 1; give at least one thread")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
