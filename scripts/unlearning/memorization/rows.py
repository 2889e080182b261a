"""Token rows of a table of sequences, as tensors that a model can be run on.

A model runs on rows of one length, as there is no padding. Rows of several lengths are run length
by length and what is measured put back in order, so that a row's numbers do not depend on which
other rows, of whatever length, stand beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """Token rows of different lengths: what an (N, T) tensor is to rows of one length.

    Attributes:
        rows: (T,) int64 each, N of them.
    """

    rows: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray | slice) -> "Ragged":
        """Some of the rows: by positions, a mask (N,) or a slice."""
        return Ragged(tuple(self.rows[i] for i in np.arange(len(self))[chosen]))

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.rows[0].device


TokenRows = Tensor | Ragged
"""Token rows: an (N, T) int64 tensor where all have one length, as published."""


def tokens_of(table: pd.DataFrame) -> np.ndarray:
    """Token ids of a table of sequences of one length, (N, T) int64."""
    return np.stack([np.asarray(row, dtype=np.int64) for row in table["tokens"]])


def rows_of(table: pd.DataFrame, device: torch.device | str = "cpu") -> TokenRows:
    """Token rows of a table of sequences, in its order."""
    if table["tokens"].map(len).nunique() == 1:
        return torch.from_numpy(tokens_of(table)).to(device)
    rows = [torch.from_numpy(np.array(row, dtype=np.int64)) for row in table["tokens"]]
    return Ragged(tuple(row.to(device) for row in rows))


def by_length(rows: TokenRows) -> list[tuple[np.ndarray, Tensor]]:
    """The rows of each length: their positions (n,), ascending, and their tokens (n, T).

    Shorter rows come first. Rows of one length are a single group, the tensor itself.
    """
    if isinstance(rows, Tensor):
        return [(np.arange(len(rows)), rows)]
    lengths = np.array([len(row) for row in rows.rows])
    groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    return [(chosen, torch.stack([rows.rows[i] for i in chosen])) for chosen in groups]


def of_each(rows: TokenRows, measure: Callable[[np.ndarray, Tensor], pd.DataFrame]) -> pd.DataFrame:
    """What is measured of each row, length by length, in the order of the rows.

    Args:
        rows: N of them.
        measure: from positions (n,) and tokens (n, T) to a table of n lines in their order.

    Returns:
        A table of N lines.
    """
    groups = by_length(rows)
    if len(groups) == 1:
        return measure(*groups[0])
    tables = [measure(chosen, tokens) for chosen, tokens in groups]
    order = np.argsort(np.concatenate([chosen for chosen, _ in groups]))
    return pd.concat(tables, ignore_index=True).iloc[order].reset_index(drop=True)


def fitting(tokens: int, length: int) -> int:
    """So many tokens, or half of a sequence of `length` that has fewer than twice as many.

    What is asked of an end of a sequence or of its n-grams is asked of a short one in proportion:
    a suffix of 16 tokens is the half of a row of 20.
    """
    return min(tokens, length // 2)
