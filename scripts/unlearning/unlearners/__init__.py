"""The unlearners, one file each; the file's name is the method's name in the config.

A file holds a class `Settings` (what its config block may set) and a generator
function `unlearn(learner, request, settings)`. The generator changes the model through `learner`
and yields after every step (one step = one epoch, the whole forget set being one batch) the name
of the phase that the step belonged to; the first yield, before any step, names "before". What
comes back from each yield is g, the memorization of every forget-set sequence as just measured:
(F,) array, in the order of `request.forget`. The driver decides when to stop. A method with an end
of its own declares `ENDS = True` and *returns* the phase of its last step instead of yielding it.

There is no list to keep: a new file is a new method. The config check reads `Settings` of the
methods in use before anything runs, so these files import torch for type checkers only, or inside
their functions.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from unlearning.jobs.errors import InputError, nearest
from unlearning.settings import build

BESIDE = {"__init__", "driver", "learner", "pairing", "readings", "request"}
"""Files that are no method: what a method may do to a model and read of it, how sequences are
paired, what is asked of a method, who drives it."""


def names() -> list[str]:
    """All methods, by file name."""
    return sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - BESIDE)


def load(method: str) -> ModuleType:
    """The module of a method.

    Raises:
        InputError: there is no such method.
    """
    if method not in names():
        raise InputError(f"unlearners: there is no method '{method}'; {nearest(method, names())}")
    return importlib.import_module(f"unlearning.unlearners.{method}")


def ends(method: str) -> bool:
    """Whether a method has an end of its own."""
    return getattr(load(method), "ENDS", False)


def settings_of(method: str, label: str, values: dict[str, Any]) -> Any:
    """The `Settings` of a method filled from the config block named `label`.

    Raises:
        InputError: a key that the method does not know, one that it needs and is not there, or a
            value of the wrong type.
    """
    return build(values, load(method).Settings, f"unlearners.{label}")


def modules(methods: Iterable[str]) -> tuple[str, ...]:
    """Dotted names of methods' files: what a result depends on beside what its script imports."""
    return tuple(f"unlearning.unlearners.{method}" for method in sorted(set(methods)))
