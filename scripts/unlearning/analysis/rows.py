"""What all tables share: their keys and order, what they are made by, reading rows and tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.jobs.files import read_csv
from unlearning.names import DETERMINED, METRICS, method_order, model_order
from unlearning.settings import settings_class
from unlearning.settings.analysis import TableSettings

KEYS = ["model", "forget_size", "unlearner", "seed"]
CELL = ["model", "forget_size", "unlearner"]
ALL = "all"
DRAWS = "forget-set draws"
CELLS = "cells (model x forget size), each the mean over its draws"

TEXT = ("model", "unlearner", "metric", "proposal", "baseline", "better", "repetitions", "winner")
TEXT += ("runner_up", "tied", "feasible", "nearest", "side", "score", "split", "task")
TEXT += ("variant", "measure", "why", "also", "band", "sequence_id", "n_counts", "attacker")
TEXT += ("strictest",)


@settings_class
class TableJob(TableSettings):
    """`TableSettings`, the order of the models, and how runs stopped."""

    models: tuple[str, ...] = ()
    """Display order, smallest first; models left out follow in alphabetical order."""

    stops: dict[str, Literal["mean", "each", "none"]] = Field(default_factory=dict)
    """Label of a method -> its stop rule."""

    stop_metrics: tuple[str, ...] = ("ma",)
    """What stop rules look at: "ma", or "ma" and "el"."""

    def by_construction(self, label: str, metric: str) -> bool:
        """Whether a method's own stop rule brings about its value of a metric (`DETERMINED`)."""
        rule = self.stops.get(label, "none")
        if rule == "none":
            return False
        return metric in DETERMINED[rule] or (metric == "el" and "el" in self.stop_metrics)

    def marks(self, table: pd.DataFrame) -> list[bool]:
        """`by_construction` of every row of a table with the columns unlearner and metric."""
        return [
            self.by_construction(label, metric)
            for label, metric in zip(table["unlearner"], table["metric"], strict=True)
        ]

    def circular(self, metric: str) -> frozenset[str]:
        """Labels of the methods whose value of a metric is there by construction."""
        return frozenset(label for label in self.stops if self.by_construction(label, metric))


def arrange(table: pd.DataFrame, models: Sequence[str], then: Sequence[str] = ()) -> pd.DataFrame:
    """Sort rows by model, forget size, unlearner (display order) and further columns."""
    keys = [name for name in ("model", "forget_size", "unlearner", "seed") if name in table]
    orders = {
        "model": model_order(table["model"], models),
        "metric": list(METRICS),
    }
    if "unlearner" in table:
        orders["unlearner"] = method_order(table["unlearner"])

    def rank(column: pd.Series) -> pd.Series:
        order = orders.get(column.name)
        if order is None or not set(column) <= set(order):
            return column
        return column.map({label: i for i, label in enumerate(order)})

    return table.sort_values([*keys, *then], key=rank, kind="stable", ignore_index=True)


def require(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise InputError naming the first column that `table` lacks."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{name}: no column '{missing[0]}'; make the file again")


def read_rows(path: Path | str, may_be_empty: bool = False) -> pd.DataFrame:
    """Read a parquet file of rows, `model` and `unlearner` as text.

    Raises:
        InputError: the file cannot be read, or it has no rows and should.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as parquet ({error}); make it again") from None
    if table.empty and not may_be_empty:
        raise InputError(f"{path}: has no rows; make it again")
    for name in ("model", "unlearner"):
        if name in table:
            table[name] = table[name].astype(str)
    return table


def read_table(path: Path | str) -> pd.DataFrame:
    """Read one of the CSV tables: labels as text, empty where empty, other blanks as NaN.

    In gains.csv forget_size is text too, for its "all"; elsewhere it is a number.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        table = read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values="")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); make it again") from None
    for name in set(TEXT) & set(table.columns):
        table[name] = table[name].fillna("")
    if "proposal" in table:
        table["forget_size"] = table["forget_size"].astype(str)
    return table
