"""What every entry point shares: settings from the command line, threads, one-line errors.

Imports neither torch nor transformers, so `--help` and a wrong setting answer at once.
"""

import argparse
import dataclasses
import difflib
import json
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from unlearning.errors import InputError

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
    """Read a settings dataclass from inline JSON (text that starts with "{") or from a JSON file.

    Keys left out keep the dataclass's defaults; a JSON list becomes a tuple.

    Raises:
        InputError: no such file, not a JSON object, an unknown or missing key, or a value of the
            wrong type. The dataclass's own checks (`__post_init__`) may raise it as well.
    """
    inline = text.lstrip().startswith("{")
    where = "--settings" if inline else text
    try:
        values = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a JSON file") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend it") from None
    return build_settings(values, settings_class, where)


def build_settings(values: Any, settings_class: type[Settings], where: str) -> Settings:
    """Make a settings dataclass of a mapping; `where` names its origin in error messages.

    Raises:
        InputError: as `read_settings`.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: settings are a JSON object, not {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    hints = typing.get_type_hints(settings_class)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            advice = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(fields)}"
            raise InputError(f"{where}: unknown key '{key}'; {advice}")
    for name, field in fields.items():
        unset = (dataclasses.MISSING, dataclasses.MISSING)
        if name not in values and (field.default, field.default_factory) == unset:
            raise InputError(f"{where}: key '{name}' is missing; add it")
    return settings_class(
        **{key: _convert(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    )


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Hold a JSON value to a type hint made of scalars, tuples, dicts and unions of them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _convert(value, option, where)
            except InputError:
                continue
    elif origin is typing.Literal:
        if value in arguments:
            return value
        raise InputError(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
    elif origin in (tuple, list) or hint in (tuple, list):
        if isinstance(value, list | tuple):
            one_hint = len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis)
            if not arguments or one_hint:
                hints = [arguments[0] if arguments else Any] * len(value)
            else:
                hints = list(arguments)
            if len(hints) == len(value):
                items = zip(value, hints, strict=True)
                return (origin or hint)(
                    _convert(item, each, f"{where}[{i}]") for i, (item, each) in enumerate(items)
                )
    elif origin is dict or hint is dict:
        if isinstance(value, dict):
            inner = arguments[1] if arguments else Any
            return {key: _convert(item, inner, f"{where}.{key}") for key, item in value.items()}
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint in (type(None), None):
        if value is None:
            return None
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise InputError(f"{where}: expected {expected}, found {value!r}; correct the value")
