"""Privacy attacks, one file each; the file's name is the attack's name in the config.

`membership` is the basic attack, always on. The others are the suite,
set by the config's block `attacks`, each by a sub-block of its name; `attack_analysis` says how the
success of all of them is told. A file of the suite holds

- `Settings`: what its sub-block may set;
- one of two functions. `attack(target, settings)` works on a model (`unlearning.attacks.target`:
  columns variant, measure, sequence_id, value); `PER_FORGET_SET` says whether the outcome depends
  on which sequences make up the forget set. `score(membership, settings)` works on the scores that
  are measured of every model anyway (the same columns, with the keys).
- `TITLE`, `HEADLINE` and `UNIT`: how the attack is called, which (measure, metric) of its first
  variant stands for it in figures, and in what unit;
- `REASONS`: measure -> why a sequence with a high value is exposed.

Every value is one sequence's, and the higher it is, the more of the sequence is given away. So one
analysis serves all attacks, and there is no list to keep: a new file is a new attack.

The config check reads `Settings`, and the analysis the rest, so these files import torch for type
checkers only, or inside their functions; and the analysis libraries inside their functions.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from unlearning.jobs.errors import InputError, nearest
from unlearning.settings import build

BASIC = "membership"
"""What the basic attack, by single scores, is called."""
BESIDE = {"__init__", "cross_fitting", BASIC, "target"}
"""Files that are no attack of the suite."""


class Reason(NamedTuple):
    """Why a sequence is exposed.

    Attributes:
        text: in words.
        least_spread: the standard deviation among unseen sequences counts as at least so much:
            where they hardly differ, a small difference is nothing to stand out by.
    """

    text: str
    least_spread: float = 0.0


def names() -> list[str]:
    """All attacks of the suite, by file name."""
    stems = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return sorted(stems - BESIDE)


def load(name: str) -> ModuleType:
    """The module of an attack.

    Raises:
        InputError: there is no such attack.
    """
    if name not in names():
        raise InputError(f"attacks: there is no attack '{name}'; {nearest(name, names())}")
    return importlib.import_module(f"unlearning.attacks.{name}")


def settings_of(name: str, values: dict[str, Any] | None) -> Any:
    """The `Settings` of an attack, filled from its sub-block (empty or null: all defaults).

    Raises:
        InputError: a key that the attack does not know, or a value of the wrong type.
    """
    return build({} if values is None else values, load(name).Settings, f"attacks.{name}")


def on_model(name: str) -> bool:
    """Whether an attack works on the model itself, not on scores that are measured anyway."""
    return hasattr(load(name), "attack")


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """Dotted names of attacks' files: what a result depends on beside what its script imports."""
    return tuple(f"unlearning.attacks.{name}" for name in sorted(names))
