"""Reading the tables of a run: the rows of one model and list, and one value of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from unlearning.analysis.strictest import shown


class Results:
    """The tables of a run."""

    def __init__(self, **tables: pd.DataFrame):
        """Args: sequences, membership, thresholds, runs, per_run, candidates, effects."""
        self.tables = tables
        sequences = tables["sequences"]
        self.tokens = dict(zip(sequences["sequence_id"], sequences["tokens"], strict=True))

    def of(self, name: str, key: Mapping[str, Any], unlearner: str | None = None) -> pd.DataFrame:
        """Rows of a table for one model and list, and one unlearner."""
        table = self.tables[name]
        same = np.ones(len(table), dtype=bool)
        wanted = dict(key) | ({} if unlearner is None else {"unlearner": unlearner})
        for column, value in wanted.items():
            same &= (table[column] == value).to_numpy()
        return table[same]

    def membership(self, key: Mapping[str, Any], unlearner: str) -> pd.DataFrame | None:
        """Rows per sequence on one model; None where there is no such model."""
        rows = self.of("membership", key, unlearner)
        return rows if len(rows) else None

    def metric(self, key: Mapping[str, Any], unlearner: str, name: str) -> float | None:
        """A value of per_run.csv."""
        rows = self.of("per_run", key, unlearner)
        values = rows.loc[rows["metric"] == name, "value"]
        return number(values.iloc[0]) if len(values) else None

    def strictest(self, key: Mapping[str, Any], unlearner: str, name: str) -> str:
        """Whose value a metric is, in words; empty where it is no choice among attackers."""
        rows = self.of("per_run", key, unlearner)
        return shown("".join(rows.loc[rows["metric"] == name, "attacker"]))


def number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and np.isfinite(value) else None
