"""Sequences of any length: what is measured of one does not depend on those beside it."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

from unlearning.attacks.target import Target, TargetSettings, attack_model
from unlearning.evaluation.measurement import measure
from unlearning.memorization.forgetting import Band
from unlearning.memorization.rows import Ragged, by_length, fitting, of_each, rows_of
from unlearning.memorization.scoring import extraction_likelihood, ma_and_loss
from unlearning.settings.measurement import MeasurementSettings
from unlearning.unlearners.driver import StopRule
from unlearning.unlearners.learner import BETAS, Learner
from unlearning.unlearners.request import Request

VOCABULARY = 30
LENGTHS = (8, 9, 8, 24, 13, 9, 24, 8)
HOW = MeasurementSettings(ngram=3, extraction_suffix=6, tasks={"text": "perplexity"})


def model(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, eos_token_id=None
    )
    return GPT2LMHeadModel(config).eval()


def table(lengths=LENGTHS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [rng.integers(VOCABULARY, size=length) for length in lengths]
    return pd.DataFrame({"sequence_id": [f"s{i}" for i in range(len(rows))], "tokens": rows})


@pytest.fixture(scope="module")
def knowing() -> GPT2LMHeadModel:
    """A model that knows every other sequence."""
    known = model()
    learner = Learner(known, 0.01, 4)
    for _ in range(25):
        learner.descend(rows_of(table())[::2])
    return known


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.data())
def test_every_row_is_run_once_with_those_of_its_length_and_comes_back_in_place(lengths, data):
    rows = Ragged(tuple(torch.arange(length) + 10 * i for i, length in enumerate(lengths)))
    groups = by_length(rows)
    assert sorted(i for chosen, _ in groups for i in chosen) == list(range(len(lengths)))
    for chosen, tokens in groups:
        for i, row in zip(chosen, tokens, strict=True):
            assert torch.equal(row, rows.rows[i])
    summed = of_each(rows, lambda _, tokens: pd.DataFrame({"sum": tokens.sum(dim=1).numpy()}))
    assert summed["sum"].tolist() == [int(row.sum()) for row in rows.rows]
    assert summed.index.tolist() == list(range(len(lengths)))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert [row[0] for row in rows[mask].rows] == [10 * i for i in np.flatnonzero(mask)]


def test_rows_of_one_length_stay_one_tensor():
    rows = rows_of(table((9, 9, 9)))
    assert isinstance(rows, torch.Tensor)
    ((chosen, tokens),) = by_length(rows)
    assert tokens is rows
    assert chosen.tolist() == [0, 1, 2]


def test_a_row_s_scores_do_not_depend_on_the_other_rows(knowing):
    sequences = table()
    together = measure(knowing, sequences, HOW).set_index("sequence_id")
    assert together.notna().all(axis=None)
    assert together["ma"].nunique() > 2
    for i in range(len(sequences)):
        alone = measure(knowing, sequences[i : i + 1], HOW).iloc[0]
        beside = together.loc[alone["sequence_id"]]
        for name in ("ma", "verbatim_run", "extracted"):
            assert beside[name] == alone[name]
        np.testing.assert_allclose(
            beside.to_numpy(float), alone.drop("sequence_id").to_numpy(float), rtol=1e-4, atol=1e-6
        )


def test_extraction_likelihood_is_measured_of_whom_it_is_asked_for(knowing):
    wanted = np.array([False, True] * 4)
    measured = measure(knowing, table(), HOW, wanted)
    whole = measure(knowing, table(), HOW)
    assert (measured["el"].notna() == wanted).all()
    np.testing.assert_allclose(measured["el"][wanted], whole["el"][wanted], rtol=1e-6)


@pytest.mark.parametrize(("asked", "length", "given"), [(16, 20, 10), (16, 32, 16), (16, 200, 16)])
def test_a_short_row_is_asked_for_half_of_itself(asked, length, given):
    assert fitting(asked, length) == given


@pytest.mark.parametrize("verb", ["ascend", "descend"])
def test_one_step_on_rows_of_several_lengths_is_one_step_on_the_mean_of_all_their_tokens(verb):
    """The reference runs row by row and sums the losses of all tokens itself."""
    rows = rows_of(table())
    stepped, expected = model(), model()
    getattr(Learner(stepped, 1e-3, 2), verb)(rows)
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-3, betas=BETAS)
    losses = [
        cross_entropy(expected(row[None]).logits[0, :-1], row[1:], reduction="sum")
        for row in rows.rows
    ]
    mean = sum(losses) / sum(len(row) - 1 for row in rows.rows)
    (mean if verb == "descend" else -mean).backward()
    optimizer.step()
    for mine, theirs in zip(stepped.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-6)


def test_the_stop_rule_takes_each_row_s_own_extraction_likelihood(knowing):
    rows = rows_of(table())
    el = np.array(
        [extraction_likelihood(knowing, row[None], fitting(6, len(row)))[0] for row in rows.rows]
    )
    g = ma_and_loss(knowing, rows)[0]
    for threshold, forgotten in ((el.mean() * 1.01, True), (el.mean() * 0.99, False)):
        asked = Request(rows, rows_of(table((9, 9))), 1.1, threshold, Band(0.0, 1.0))
        assert StopRule(metrics=("ma", "el"), ngram=6).met(knowing, asked, g) == forgotten


def test_attacks_on_a_row_do_not_depend_on_the_other_rows(knowing):
    """Those that train on the forget set aside, which are given it whole."""
    attacks = {"neighbour": {"rewrites": 3}, "prefix_perturbation": {}, "sampling": {}}
    attacks |= {"quantization": {}}
    shared = TargetSettings(attacks=attacks, suffix=6, learning_rate=1e-3, micro_batch=2)
    sequences = table()
    ids, rows = sequences["sequence_id"].tolist(), rows_of(sequences)
    forget = np.arange(len(ids)) % 2 == 0
    together = attack_model(Target(knowing, ids, rows, forget, shared))
    keys = ["attack", "variant", "measure"]
    assert together.groupby("sequence_id").size().nunique() == 1
    for i in range(len(ids)):
        alone = attack_model(Target(knowing, ids[i : i + 1], rows[[i]], forget[i : i + 1], shared))
        beside = together[together["sequence_id"] == ids[i]]
        pair = alone.merge(beside, on=keys, validate="1:1", suffixes=("_alone", ""))
        assert len(pair) == len(alone) == len(beside)
        np.testing.assert_allclose(pair["value_alone"], pair["value"], rtol=1e-3, atol=2e-5)


def test_relearning_takes_sets_of_several_lengths(knowing):
    shared = TargetSettings(
        attacks={"relearning": {"steps": [3]}}, suffix=6, learning_rate=3e-3, micro_batch=2
    )
    sequences = table()
    weights = [p.detach().clone() for p in knowing.parameters()]
    forget = np.arange(len(sequences)) % 2 == 1  # those that it does not know
    target = Target(knowing, sequences["sequence_id"].tolist(), rows_of(sequences), forget, shared)
    found = attack_model(target).pivot(index="sequence_id", columns="measure", values="value")
    assert found.notna().all(axis=None)
    assert len(found) == len(sequences)
    assert (found["loss_fall"] != 0).all()
    assert all(map(torch.equal, weights, knowing.parameters()))
