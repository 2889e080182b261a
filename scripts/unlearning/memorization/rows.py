"""Token rows of a table of sequences, as arrays that a model can be run on."""

import numpy as np
import pandas as pd


def tokens_of(table: pd.DataFrame) -> np.ndarray:
    """Token ids of a table of sequences, (N, T) int64."""
    return np.stack([np.asarray(row, dtype=np.int64) for row in table["tokens"]])
