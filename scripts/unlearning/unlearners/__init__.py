"""The unlearners, one file each; the file's name is the method's name in the config.

A file holds a class `Settings` (what its config block may set) and a generator
function `unlearn(learner, request, settings)`. The generator changes the model through `learner`
and yields after every step (one step = one epoch, the whole forget set being one batch) the name
of the phase that the step belonged to; the first yield, before any step, names "before". What
comes back from each yield is g, the memorization of every forget-set sequence as just measured:
(F,) array, in the order of `request.forget`. The driver decides when to stop. A method with an end
of its own declares `ENDS = True` and *returns* the phase of its last step instead of yielding it;
where no stop rule judges it, g may be a few steps old.

A file may also hold `RETAIN`, the published term on text to keep (`RetainSettings`), which every
step adds unless the config says otherwise; `RETAIN_KINDS`, if not every kind of that term goes with
the method; `NEEDS_RETAIN = True`, if the method itself trains on rows to retain;
`ONE_LENGTH = True`, if it steps on sequences of one length alone; and `ALL_WEIGHTS = True`, if a
low-rank adapter would not do. A method that ends has `steps` among its settings.

For the plan of a run's cost a file may say `PASSES`, forward passes over the forget set that a step
of its own comes to (3 if not said: forward and backward; 4 where token statistics are read before
slopes go back), and `ROWS_BESIDE`, the settings that say how many other rows a step takes.

There is no list to keep: a new file is a new method. The config check reads `Settings` of the
methods in use before anything runs, so these files import torch for type checkers only, or inside
their functions.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from unlearning.jobs.errors import InputError, nearest
from unlearning.settings import build
from unlearning.settings.unlearning import RetainSettings, UnlearnerSettings

BESIDE = {"__init__", "driver", "grid", "learner", "pairing", "readings", "request", "retain"}
"""Files that are no method: what a method may do to a model and read of it, how sequences are
paired, what is asked of a method, the term on text to keep, the grid it is tuned on, who drives
it."""

SELDOM = 5
"""Epochs between measurements where no rule judges: each costs a sixth of a step of twin."""


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


@dataclass(frozen=True)
class Plan:
    """A block under `unlearners` of the config, checked.

    Attributes:
        method: name of the unlearner.
        settings: its `Settings`.
        stop: the stop rule: "mean", "each", or "none" for a method with an end of its own.
        learning_rate: the block's own, or None.
        relative_rate: the learning rate as a multiple of the shared one, or None.
        retain: the term that every step adds on text to keep, or None.
        needs_retain: whether there must be rows to retain.
        all_weights: whether it changes more than an adapter of the model could hold.
    """

    method: str
    settings: Any
    stop: str
    learning_rate: float | None
    relative_rate: float | None
    retain: RetainSettings | None
    needs_retain: bool
    all_weights: bool

    def rate(self, shared: float) -> float:
        """The learning rate of a run, where all share `shared`."""
        return self.learning_rate or shared * (self.relative_rate or 1)


def plan(label: str, block: dict[str, Any]) -> Plan:
    """Read the config block named `label`.

    Raises:
        InputError: a key or a value that does not fit, in what all methods share or in the
            method's own settings; two learning rates; a term on text to keep that does not go with
            the method.
    """
    where = f"unlearners.{label}"
    every = UnlearnerSettings.__dataclass_fields__
    shared = build({key: block[key] for key in every if key in block}, UnlearnerSettings, where)
    module, rules = load(shared.method), ["mean", "each"]
    if getattr(module, "ENDS", False):
        rules.append("none")
    stop = shared.stop or ("none" if "none" in rules else "mean")
    if stop not in rules:
        raise InputError(
            f"{where}.stop: '{stop}' is no stop rule"
            f"{'' if 'none' in rules else ' for a method without an end of its own'}; choose"
            f" {', '.join(map(repr, rules[:-1]))} or '{rules[-1]}'"
        )
    if shared.learning_rate and shared.relative_rate:
        raise InputError(
            f"{where}: gives learning_rate and relative_rate; one says it all, remove the other"
        )
    retain = shared.retain if "retain" in block else getattr(module, "RETAIN", None)
    kinds = getattr(module, "RETAIN_KINDS", ("kl", "nll"))
    if retain is not None and retain.kind not in kinds:
        raise InputError(
            f"{where}.retain.kind: '{retain.kind}' does not go with {shared.method}; choose"
            f" {' or '.join(kinds)}"
        )
    return Plan(
        method=shared.method,
        settings=settings_of(
            shared.method, label, {key: block[key] for key in block if key not in every}
        ),
        stop=stop,
        learning_rate=shared.learning_rate,
        relative_rate=shared.relative_rate,
        retain=retain,
        needs_retain=retain is not None or getattr(module, "NEEDS_RETAIN", False),
        all_weights=getattr(module, "ALL_WEIGHTS", False),
    )
