"""Tables of token sequences: reading them, checking them, drawing forget sets from them.

A table of sequences has one row per sequence: `sequence_id` (str), `split` ("planted": the pool
that forget sets are drawn from, or "unseen"), `repetitions` in the training text, `tokens` (T of
each row's own), `half` ("threshold" or "attack" for unseen sequences: those that set the
forgetting thresholds are never the attack's non-members) and `kind`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from unlearning.jobs.errors import InputError

COLUMNS = ("sequence_id", "split", "repetitions", "tokens", "half")


def table_of(
    planted: Mapping[str, np.ndarray],
    unseen: Mapping[str, np.ndarray],
    repetitions: Sequence[int],
    kinds: Sequence[str],
) -> pd.DataFrame:
    """A table of sequences.

    Args:
        planted: sequence_id -> tokens (T,).
        unseen: the same; the first half sets the thresholds, the second is the attack's. Of an odd
            number the attack has one more.
        repetitions: of each planted sequence.
        kinds: of all, planted before unseen.
    """
    half = len(unseen) // 2
    return pd.DataFrame(
        {
            "sequence_id": [*planted, *unseen],
            "split": ["planted"] * len(planted) + ["unseen"] * len(unseen),
            "repetitions": [*repetitions, *[0] * len(unseen)],
            "tokens": [row.astype(np.int32) for row in [*planted.values(), *unseen.values()]],
            "half": [""] * len(planted) + ["threshold"] * half + ["attack"] * (len(unseen) - half),
            "kind": [*kinds],
        }
    )


def read_sequences(path: Path | str) -> pd.DataFrame:
    """Read and check a table of sequences.

    Raises:
        InputError: a column is missing, an id occurs twice, a sequence has fewer than two tokens,
            one token row stands under two ids, or a split has no sequence.
    """
    table = pd.read_parquet(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: no column '{missing[0]}'; a table of sequences has {COLUMNS}")
    twice = table.loc[table["sequence_id"].duplicated(), "sequence_id"]
    if len(twice):
        raise InputError(f"{path}: sequence_id '{twice.iloc[0]}' occurs twice; make ids unique")
    for split in ("planted", "unseen"):
        if not (table["split"] == split).any():
            raise InputError(f"{path}: no sequence has split '{split}'; add some")
    lengths = table["tokens"].map(len)
    short = lengths < 2
    if short.any():
        raise InputError(
            f"{path}: sequence '{table.loc[short, 'sequence_id'].iloc[0]}' has"
            f" {lengths[short].iloc[0]} tokens; the first is never scored: give two at least"
        )
    same = table["tokens"].map(tuple).duplicated()
    if same.any():
        raise InputError(
            f"{path}: the tokens of '{table.loc[same, 'sequence_id'].iloc[0]}' stand under another"
            " id too; a sequence cannot be both forgotten and unseen: remove one"
        )
    return table


def draw_forget_sets(
    pool: Sequence[str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    where: str = "forget_sets.sizes",
) -> pd.DataFrame:
    """Draw one forget set per size and seed, nested within a seed as the published ones are.

    A seed fixes one order of the whole pool and the set of size s is its first s sequences, so
    results at two sizes differ by what was added. All seeds draw from one pool: the sets of
    different seeds overlap, and repetitions over seeds are not independent samples.

    Args:
        pool: ids of the sequences that may be forgotten.
        sizes: forget-set sizes.
        seeds: one repetition each.
        where: what to call the sizes in messages.

    Returns:
        Columns forget_size, seed, position, sequence_id.

    Raises:
        InputError: a size is larger than the pool.
    """
    if max(sizes) > len(pool):
        raise InputError(
            f"{where}: {max(sizes)} is larger than the pool of {len(pool)} planted"
            " sequences; lower it or plant more"
        )
    rows = []
    for seed in seeds:
        order = np.random.default_rng([seed, len(pool)]).permutation(sorted(pool))
        for size in sizes:
            rows += [(size, seed, position, order[position]) for position in range(size)]
    return pd.DataFrame(rows, columns=["forget_size", "seed", "position", "sequence_id"])


def forget_set(forget_sets: pd.DataFrame, size: int, seed: int) -> list[str]:
    """Ids of one forget set, in the order of their positions."""
    chosen = forget_sets.query("forget_size == @size and seed == @seed")
    return chosen.sort_values("position")["sequence_id"].tolist()


def roles(sequences: pd.DataFrame, forget: Sequence[str]) -> pd.DataFrame:
    """The part each sequence plays for one forget set.

    Returns:
        Columns sequence_id, split ("forget", "retained": planted but not to be forgotten, or
        "unseen") and half, in the order of `sequences`.
    """
    split = sequences["split"].where(sequences["split"] == "unseen", "retained")
    split = split.mask(sequences["sequence_id"].isin(forget), "forget")
    return pd.DataFrame(
        {"sequence_id": sequences["sequence_id"], "split": split, "half": sequences["half"]}
    )
