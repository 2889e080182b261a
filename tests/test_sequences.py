"""Tables of sequences and the forget sets drawn from them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearning.data.sequences import draw_forget_sets, forget_set, read_sequences, roles
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_parquet
from unlearning.memorization.rows import tokens_of


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sequence_id": ["p0", "p1", "p2", "u0", "u1"],
            "split": ["planted"] * 3 + ["unseen"] * 2,
            "repetitions": [4, 8, 8, 0, 0],
            "tokens": [[i, i + 1, i + 2] for i in range(5)],
            "half": ["", "", "", "threshold", "attack"],
        }
    )


def test_a_good_table_is_read_as_it_is(tmp_path):
    write_parquet(table(), tmp_path / "s.parquet")
    read = read_sequences(tmp_path / "s.parquet")
    assert read["sequence_id"].tolist() == table()["sequence_id"].tolist()
    np.testing.assert_array_equal(tokens_of(read)[1], [1, 2, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="tokens"), "no column 'tokens'"),
        (lambda t: t.assign(sequence_id="p0"), "'p0' occurs twice"),
        (lambda t: t.assign(split="planted"), "no sequence has split 'unseen'"),
        (lambda t: t.assign(tokens=[[1], *t["tokens"][1:]]), "'p0' has 1 tokens; .* give two at"),
        (lambda t: t.assign(tokens=[t["tokens"][4], *t["tokens"][1:]]), "under another id"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path, change, message):
    write_parquet(change(table()), tmp_path / "s.parquet")
    with pytest.raises(InputError, match=message) as caught:
        read_sequences(tmp_path / "s.parquet")
    assert "\n" not in str(caught.value)


@given(st.integers(3, 40), st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 9))
def test_forget_sets_are_nested_and_without_repeats(pool_size, sizes, seed):
    pool = [f"p{i}" for i in range(pool_size)]
    sizes = sorted({min(size, pool_size) for size in sizes})
    sets = draw_forget_sets(pool, sizes, [seed])
    for size in sizes:
        chosen = forget_set(sets, size, seed)
        assert len(set(chosen)) == size
        assert (
            chosen
            == forget_set(draw_forget_sets(pool, [pool_size], [seed]), pool_size, seed)[:size]
        )


def test_seeds_draw_different_sets_and_the_order_of_the_pool_does_not_matter():
    pool = [f"p{i}" for i in range(30)]
    sets = draw_forget_sets(pool, [8], [0, 1])
    assert forget_set(sets, 8, 0) != forget_set(sets, 8, 1)
    pd.testing.assert_frame_equal(sets, draw_forget_sets(pool[::-1], [8], [0, 1]))


def test_a_forget_size_above_the_pool_is_refused():
    with pytest.raises(InputError, match="9 is larger than the pool of 3"):
        draw_forget_sets(["a", "b", "c"], [2, 9], [0])


def test_roles_follow_the_forget_set():
    assert roles(table(), ["p1"])["split"].tolist() == [
        "retained",
        "forget",
        "retained",
        "unseen",
        "unseen",
    ]
