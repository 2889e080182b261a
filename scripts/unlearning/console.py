"""What every entry point shares: settings from the command line, threads, one-line errors.

Imports neither torch nor transformers, so `--help` and a wrong setting answer at once.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unlearning.errors import InputError
from unlearning.settings import build

Settings = TypeVar("Settings")


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


def read_settings(text: str, settings_class: type[Settings]) -> Settings:
    """Read a settings class from inline JSON (text that starts with "{") or from a JSON file.

    Raises:
        InputError: no such file, not valid JSON, or values that do not fit (`settings.build`).
    """
    inline = text.lstrip().startswith("{")
    where = "--settings" if inline else text
    try:
        values = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a JSON file") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend it") from None
    return build(values, settings_class, where)
