"""The grid of settings that a method is tuned on, and what of it was chosen.

A point is a dict from keys of a config block to values; "retain.weight" is `weight` in `retain`.
"""

import copy
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearning import unlearners
from unlearning.jobs.errors import InputError

FIXED = {"method", "stop", "settings"}
"""Keys that no grid may set: what the method is and when it ends is told by its block."""


def points_of(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All points of a grid: keys in alphabetical order, the last running fastest."""
    keys = sorted(grid)
    every = itertools.product(*(grid[key] for key in keys))
    return [dict(zip(keys, values, strict=True)) for values in every]


def at_point(label: str, block: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """The block of the unlearner `label` with the settings of a point.

    Raises:
        InputError: a key that no grid may set, or one below a key that the block has not.
    """
    made = {key: copy.deepcopy(value) for key, value in block.items() if key != "settings"}
    published = unlearners.plan(label, made).retain
    if published is not None and "retain" not in made:
        made["retain"] = asdict(published)
    for key, value in point.items():
        *parents, last = key.split(".")
        inner = made
        for parent in parents:
            inner = inner.get(parent)
            if not isinstance(inner, dict):
                raise InputError(
                    f"tuning.grids.{label}: '{key}': the block has no '{parent}'; give it to"
                    f" unlearners.{label}"
                )
        if key in FIXED:
            raise InputError(
                f"tuning.grids.{label}: '{key}' is no setting to tune; make another label of it"
            )
        inner[last] = value
    return made


def with_chosen(blocks: Mapping[str, dict[str, Any]], files: Iterable[Path]) -> dict[str, Any]:
    """Blocks of unlearners, by label, with the points in the `files` that tuning chose.

    Raises:
        InputError: a block says `settings: tuned` and no file tells its point.
    """
    chosen = {}
    for file in files:
        chosen |= json.loads(file.read_text(encoding="utf-8"))
    for label, block in blocks.items():
        if block.get("settings") == "tuned" and label not in chosen:
            raise InputError(
                f"unlearners.{label}: its settings are tuned, and no file tells the chosen ones;"
                " give it with --tuned"
            )
    return {
        label: at_point(label, block, chosen[label]) if label in chosen else block
        for label, block in blocks.items()
    }
