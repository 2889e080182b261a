"""A task's score from its items' values; needs neither torch nor the evaluation harness."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def aggregate(table: pd.DataFrame, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Score each task.

    Choice and last-word tasks are scored by mean accuracy, dialogue by mean F1 (all in 0..1,
    higher is better), perplexity by exp(sum of nats / sum of tokens) (1 and above, lower is
    better). An item that is NaN makes its task's score NaN.

    Args:
        table: columns task, kind, item, value, weight, as `suite.evaluate` returns them, and
            `keys`.
        keys: further columns that tell models or runs apart.

    Returns:
        Columns `keys`, task, kind, score, items (how many), in order of first appearance.
    """
    by = [*keys, "task", "kind"]
    groups = table.groupby(by, sort=False, observed=True, dropna=False)
    scores = groups.agg(items=("item", "size"), weight=("weight", "sum"))
    ratio = groups["value"].sum(skipna=False) / scores["weight"]
    is_perplexity = scores.index.get_level_values("kind") == "perplexity"
    with np.errstate(over="ignore"):  # a ruined model's perplexity may well be infinite
        scores["score"] = np.where(is_perplexity, np.exp(ratio), ratio)
    return scores.reset_index()[[*by, "score", "items"]]
