"""Replicates: whole experiments, each made anew, and what they mean for a table.

A table of several replicates has the column `replicate`; a table without it holds one experiment.
What is told of single runs and sequences is told within a replicate (`per_replicate`), as models,
controls and thresholds are its own. Averages and differences are told over replicates: each is one
value, the mean over its draws (`units`), and over its cells where these are pooled
(`pooled_draws`). Replicates share nothing: wherever there are two or more, they are what n counts.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

REPLICATE = "replicate"
REPLICATES = "replicates, each the mean over its draws"
POOLED = "replicates, each the mean over its cells and draws"
CELL_KEYS = ["model", "forget_size"]


def replicated(table: pd.DataFrame) -> bool:
    """Whether a table holds several replicates."""
    return REPLICATE in table


def pair_of(table: pd.DataFrame) -> list[str]:
    """The columns that methods are paired by: their forget set, on the same original model."""
    return [*([REPLICATE] if replicated(table) else []), *CELL_KEYS, "seed"]


def per_replicate(make: Callable[..., pd.DataFrame], *tables: pd.DataFrame) -> pd.DataFrame:
    """A table made of each replicate by itself, one under the other.

    Args:
        make: takes the tables of one experiment.
        tables: of all replicates; the first says which there are.

    Returns:
        What `make` returns; of several replicates, with their column before the others.
    """
    if not replicated(tables[0]):
        return make(*tables)
    parts = []
    for number in list(tables[0][REPLICATE].unique()) or [0]:  # of no rows, the columns
        own = (t[t[REPLICATE] == number].drop(columns=REPLICATE) for t in tables)
        part = make(*own)
        part.insert(0, REPLICATE, number)
        parts.append(part)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def units(
    table: pd.DataFrame, by: Sequence[str], values: Sequence[str] = ("value",)
) -> pd.DataFrame:
    """What n counts in each group of `by`: the replicates, each the mean over its rows.

    Returns:
        Columns by, replicate, values; the table as it is where it holds one experiment.
    """
    if not replicated(table):
        return table
    groups = table.groupby([*by, REPLICATE], sort=False, dropna=False)[list(values)]
    return groups.mean().reset_index()


def pooled_draws(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """How the rows of several cells make one value a draw and replicate.

    A draw's value is the mean over the cells of its replicate; a cell without that draw (diverged)
    has its mean over the others there. So the mean over a replicate's draws is the mean of its
    cells' means, whatever is missing, and its draws can be resampled whole, as the same forget
    sets are unlearned from every model.

    Args:
        table: columns replicate, model, forget_size, seed; N rows, no two alike.

    Returns:
        Weights, (M, N), that take values of the rows to those of the M draws, and the replicate of
        each draw, (M,), ascending.
    """
    replicate = table[REPLICATE].to_numpy()
    cell = table.groupby([REPLICATE, *CELL_KEYS], sort=True).ngroup().to_numpy()
    draw = table.groupby([REPLICATE, "seed"], sort=True).ngroup().to_numpy()
    size = np.bincount(cell)  # draws of each cell
    cells = np.array([len(set(cell[replicate == number])) for number in replicate])  # of its own
    first = np.unique(draw, return_index=True)[1]
    present = np.zeros((len(first), len(size)), dtype=bool)
    present[draw, cell] = True
    own = draw == np.arange(len(first))[:, None]
    filled = (replicate == replicate[first][:, None]) & ~present[:, cell]
    return (own + filled / size[cell]) / cells, replicate[first]
