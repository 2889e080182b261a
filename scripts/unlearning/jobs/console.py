"""What every entry point shares: options, threads, one-line errors.

Imports neither torch nor transformers, so `--help` and a wrong setting answer at once.
"""

import argparse
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from unlearning.jobs.errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_BLOCK, KEPT = 64 << 20, 512 << 20  # bytes


def run(main: Callable[[], None]) -> None:
    """Call an entry point; print an `InputError` as one line on stderr and leave with code 2."""
    keep_freed_memory()
    try:
        main()
    except InputError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of up to 64 MB for the next ones, half a gigabyte in all.

    The tables of a step are as large as those of the step before. By default their memory goes back
    to the system each time and is filled with zeros anew, page by page: up to two fifths of the
    time of a step on small models (`benchmarks/memory.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # others have none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def add_paths(parser: argparse.ArgumentParser, **paths: str) -> None:
    """Give a parser a required option for each path: name -> help; "a_b" becomes `--a-b`."""
    for name, text in paths.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True, help=text)


PREPARED = {
    "sequences": "table of sequences to write",
    "forget_sets": "table of forget sets to write",
    "corpus": "folder to write",
}
"""What every source of sequences writes."""


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option `--threads` (default 1: one thread a job, as many jobs as cores)."""
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads to compute with"
    )


def add_tuned(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option `--tuned`: files with the settings that tuning chose."""
    parser.add_argument(
        "--tuned", type=Path, nargs="*", default=[], help="chosen settings of tuned unlearners"
    )


def model_job(description: str, **paths: str) -> argparse.ArgumentParser:
    """The parser of a job on one model: its paths, and what all such jobs take.

    Args:
        description: of the entry point.
        paths: see `add_paths`; what comes beside them is the model's name, the settings, a side
            folder for finished parts, GPUs and threads.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", required=True, help="the model's name in the results")
    add_paths(parser, **paths)
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    add_paths(parser, work="side folder for finished parts, empty at the end")
    parser.add_argument("--gpus", type=int, default=0, help="0: on the CPU; 1: on a GPU")
    add_threads(parser)
    return parser


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
